"""The history role: the five steps around every decision (find, load, decide, commit, answer), and the cache of chains.

The role knows when things happen, the core (`perdure.workflow`) what happens. Between `decide` and `Shard.append`
nothing is awaited, so a chain needs no lock: two requests of one chain are decided one after the other, each on the
state the other left.
"""
