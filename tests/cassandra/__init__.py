"""A real Cassandra for the tests: one node or three, from Maven's jars, and a proxy that loses what it answers."""
