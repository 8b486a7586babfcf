"""The node in a container, where Docker runs: whoever has Docker and no Java tests on it."""

import pytest

from tests.cassandra.cql import rows
from tests.cassandra.docker import CassandraContainer
from tests.cassandra.jars import CassandraMissing


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first time it fetches or makes a base image
def test_a_container_serves_cassandra() -> None:
    try:
        container = CassandraContainer()
    except CassandraMissing as missing:
        pytest.skip(f"no container: {missing}")
    with container:
        host, port = container.contact
        assert rows(host, "SELECT cluster_name FROM system.local", port=port) == [("perdure",)]
