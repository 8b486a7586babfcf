"""How roles find one another: the roles as Protocols, slots to shards to hosts, namespaces. Knows no workflow and no
task.
"""
