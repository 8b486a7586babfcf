"""Statements of the tests themselves, by the driver and beside the store under test."""

import contextlib
import re
from collections.abc import Iterator

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import WhiteListRoundRobinPolicy
from tests.cassandra.addresses import CQL_PORT

_RECORD = "installation"
_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


@contextlib.contextmanager
def session(host: str, port: int = CQL_PORT) -> Iterator[Session]:
    """A session with this node, and no other. Raises cassandra.cluster.NoHostAvailable."""
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([host]),
        consistency_level=ConsistencyLevel.QUORUM,
        request_timeout=60,
    )
    cluster = Cluster([host], port=port, execution_profiles={EXEC_PROFILE_DEFAULT: profile}, protocol_version=5)
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def rows(
    host: str, cql: str, consistency: int = ConsistencyLevel.QUORUM, port: int = CQL_PORT
) -> list[tuple[object, ...]]:
    """The rows of one statement. Raises cassandra.DriverException, NoHostAvailable."""
    with session(host, port) as opened:
        statement = opened.prepare(cql)
        statement.consistency_level = consistency
        return [tuple(row) for row in opened.execute(statement)]


def drop_keyspace(host: str, name: str, port: int = CQL_PORT) -> None:
    """Drop a keyspace, if it is there."""
    assert _PLAIN_NAME.fullmatch(name), name
    with session(host, port) as opened:
        opened.execute(f"DROP KEYSPACE IF EXISTS {name}")


def empty_keyspace(host: str, name: str, port: int = CQL_PORT) -> None:
    """Truncate every table that holds something, but for the schema's own record."""
    with session(host, port) as opened:
        listed = opened.execute("SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (name,))
        for table in sorted(row.table_name for row in listed if row.table_name != _RECORD):
            if opened.execute(f"SELECT * FROM {name}.{table} LIMIT 1").one() is not None:
                opened.execute(f"TRUNCATE {name}.{table}")
