"""The frontend role: validate, resolve the namespace, limit, route, shape the answer.

Knows no shard and no execution.
"""
