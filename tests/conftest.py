"""What all suites share: a Cassandra for those that need one. Other fixtures live beside the tests that use them."""

pytest_plugins = ["tests.cassandra.fixtures"]
