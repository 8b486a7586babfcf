"""Fixtures of every suite that needs Cassandra: one node for the session, and a keyspace of its own for each module.

The node is one that runs already (`--cassandra HOST`), else one from Maven's jars, else a container. Where none of
these can be, the tests are skipped, and say what is missing.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cassandra.addresses import CQL_PORT, free_addresses
from tests.cassandra.cluster import CassandraCluster
from tests.cassandra.cql import drop_keyspace, empty_keyspace
from tests.cassandra.docker import CassandraContainer
from tests.cassandra.jars import CassandraMissing
from tests.cassandra.node import CassandraNode, NodeOptions


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a node listens."""

    host: str
    port: int = CQL_PORT


@dataclass(frozen=True, slots=True)
class Keyspace:
    """A name for a keyspace, and the node that has it; whoever opens a store there makes it."""

    contact: Contact
    name: str

    @property
    def url(self) -> str:
        """What `perdure dev --store` takes."""
        return f"cassandra://{self.contact.host}:{self.contact.port}/{self.name}"

    def empty(self) -> None:
        """Truncate every table that holds something; only the schema's own row is left."""
        empty_keyspace(self.contact.host, self.name, self.contact.port)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suites that need Cassandra."""
    group = parser.getgroup("cassandra")
    group.addoption("--cassandra", metavar="HOST[:PORT]", help="a Cassandra that runs already, to test on")


@contextlib.contextmanager
def _own_node(folder: Path) -> Iterator[Contact]:
    """A node of the session's own, as a process or as a container. Raises CassandraMissing."""
    try:
        node = CassandraNode(folder, NodeOptions(free_addresses(1)[0]))
    except CassandraMissing as no_process:
        try:
            container = CassandraContainer()
        except CassandraMissing as no_container:
            raise CassandraMissing(f"{no_process}; and instead of a process, {no_container}") from None
        with container:
            yield Contact(*container.contact)
        return
    try:
        node.start()
        yield Contact(node.options.address)
    finally:
        node.discard()
        # Hundreds of megabytes, which pytest would keep for three sessions.
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cassandra(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Contact]:
    """A node for the session."""
    given = request.config.getoption("--cassandra")
    if given:
        host, _, port = given.partition(":")
        yield Contact(host, int(port or CQL_PORT))
        return
    with contextlib.ExitStack() as stack:
        try:
            contact = stack.enter_context(_own_node(tmp_path_factory.mktemp("cassandra")))
        except CassandraMissing as missing:
            pytest.skip(f"no Cassandra: {missing}")
        yield contact


@pytest.fixture(scope="module")
def keyspace(request: pytest.FixtureRequest, cassandra: Contact) -> Iterator[Keyspace]:
    """A keyspace for a module, dropped after it."""
    module = request.module.__name__.rpartition(".")[2].removeprefix("test_")
    made = Keyspace(cassandra, f"test_{module}_{os.getpid()}"[:48])
    yield made
    drop_keyspace(cassandra.host, made.name, cassandra.port)


@pytest.fixture(scope="module")
def cassandra_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CassandraCluster]:
    """Three nodes for a module."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        cluster = CassandraCluster(folder, free_addresses(3))
    except CassandraMissing as missing:
        pytest.skip(f"no Cassandra cluster: {missing}")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.discard()
        shutil.rmtree(folder, ignore_errors=True)
