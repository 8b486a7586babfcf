"""Ownership of hash ranges, fencing, the shard log and its group commit, checkpoints, timers, and the pumps that act
on committed tasks. Knows nothing of what a task means: that is `Executions`, which the room above provides.
"""
