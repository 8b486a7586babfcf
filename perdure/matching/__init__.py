"""The matching role: pairs references to outstanding tasks with the workers that wait for them.

Nothing here is durable: whatever is lost is offered again by the shards that own it. Knows no execution's state and no
store.
"""
