"""The ground every room stands on: ids, the error tree, clock and entropy, limits.

It imports no other room and performs no input or output beyond reading the machine's clock and entropy.
"""
