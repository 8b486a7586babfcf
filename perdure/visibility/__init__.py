"""The list-filter language: parsed into a small tree and evaluated; store adapters translate the tree.

Knows no database.
"""
