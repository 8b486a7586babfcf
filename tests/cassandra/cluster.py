"""Nodes on addresses of their own that start at once: three, unless told otherwise, for keyspaces of three replicas."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cassandra import ConsistencyLevel, DriverException
from cassandra.cluster import NoHostAvailable
from tests.cassandra.cql import rows
from tests.cassandra.node import CassandraNode, NodeOptions

_RING = 2**64
_SETTLE_SECONDS = 60.0
_REPLICAS = 3  # of the keyspace that `settle` reads
_PARTS = 4  # places of each node on the ring


def ring_tokens(nodes: int) -> list[tuple[int, ...]]:
    """For each node its places: all are as far from one another, and neighbours belong to different nodes."""
    places = [part * _RING // (nodes * _PARTS) - 2**63 for part in range(nodes * _PARTS)]
    return [tuple(places[node::nodes]) for node in range(nodes)]


class CassandraCluster:
    """As many nodes as `addresses`; `said` are the addresses that clients are told, if those aren't the nodes' own."""

    def __init__(self, folder: Path, addresses: Sequence[str], said: Sequence[str] = (), heap_mb: int = 384) -> None:
        tokens = ring_tokens(len(addresses))
        self.nodes = [
            CassandraNode(
                folder / str(number),
                NodeOptions(
                    address,
                    seeds=tuple(addresses),
                    tokens=tokens[number],
                    said_address=said[number] if said else "",
                    heap_mb=heap_mb,
                ),
            )
            for number, address in enumerate(addresses)
        ]

    @property
    def addresses(self) -> list[str]:
        """host:port of each."""
        return [node.address for node in self.nodes]

    def start(self) -> None:
        """Start all at once, and wait until each sees all."""
        try:
            for node in self.nodes:
                node.begin()
            for node in self.nodes:
                node.wait()
            self.settle()
        except BaseException:
            self.discard()
            raise

    def settle(self) -> None:
        """Wait until each node reaches the replicas on all three. Raises AssertionError after a minute."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        waiting = [node.options.address for node in self.nodes if len(self.nodes) >= _REPLICAS]
        while waiting:
            try:
                # A keyspace of Cassandra's own with three replicas, whatever the cluster is used for.
                rows(waiting[0], "SELECT * FROM system_distributed.view_build_status", ConsistencyLevel.ALL)
            except (DriverException, NoHostAvailable) as failed:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{waiting} don't see all nodes: {failed}") from failed
            else:
                waiting.pop(0)

    def stop(self) -> None:
        """Stop all."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(CassandraNode.stop, self.nodes))

    def discard(self) -> None:
        """End all at once; their data is not needed any more."""
        for node in self.nodes:
            node.discard()
