"""Versioned schemas of the databases, one package per kind, applied by the server itself at start under a lock. No
logic.
"""
