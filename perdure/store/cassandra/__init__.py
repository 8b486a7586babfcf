"""A store in Cassandra, for many processes and machines: the production store.

Invariant: what was acknowledged is on a quorum of the replicas of a datacenter. No other module than `driver` knows the
driver. Knows no rule of the product.
"""
