"""The shipped test kit: virtual time, seeded chance, faulty stores, the store contract. Nothing in production imports
it.
"""
