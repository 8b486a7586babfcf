"""Perdure on a Cassandra that loses answers, whose nodes die or fall silent: nothing is lost, nothing is done twice."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cassandra.cluster import CassandraCluster
from tests.cassandra.fixtures import Keyspace
from tests.cassandra.node import CassandraNode
from tests.cassandra.proxy import Fate, Faults, Proxy
from tests.e2e.killing import Campaign, judged
from tests.e2e.probing import NAMESPACE, PASSING, Probe
from tests.e2e.processes import ServerProcess, free_port

pytestmark = pytest.mark.slow


@asynccontextmanager
async def started(store: str, folder: Path) -> AsyncIterator[ServerProcess]:
    server = ServerProcess(store, free_port(), "--namespace", NAMESPACE, log=folder / "perdure.log")
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.mark.timeout(400)
async def test_conditional_writes_whose_answers_are_lost_happen_once(keyspace: Keyspace, tmp_path: Path) -> None:
    proxy = Proxy((keyspace.contact.host, keyspace.contact.port), 11, Faults())
    await proxy.start("127.0.0.1", 0)
    store = f"cassandra://{proxy.address}/{keyspace.name}?conditional_timeout=0.5"
    try:
        async with started(store, tmp_path) as server:
            proxy.faults.dropped, proxy.faults.lost = 0.2, 0.02
            run = Campaign(server, 30, 2, seed=5)
            wrong = await judged(run, in_flight=30, patience_seconds=300)
            proxy.faults = Faults()
            assert not wrong, "\n".join(wrong)
            assert run.server.kills == 2
            assert proxy.met(Fate.DROPPED, conditional=True) > 50
            assert not proxy.unreadable
    finally:
        await proxy.stop()


async def _beyond(probe: Probe, count: int) -> None:
    """Wait until so many more calls were acknowledged."""
    wanted = len(probe.started) + count
    while len(probe.started) < wanted:
        moment = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, moment.set)
        await moment.wait()


async def _lose_one(cluster: CassandraCluster, node: CassandraNode, probe: Probe) -> None:
    """Kill a node while calls go on, and start it again."""
    await asyncio.to_thread(node.kill)
    await _beyond(probe, 30)
    await asyncio.to_thread(node.start)
    # The next one is killed once this one is back for everybody: of three copies one may be away.
    await asyncio.to_thread(cluster.settle)
    await _beyond(probe, 10)


@pytest.mark.timeout(600)
async def test_nodes_that_die_and_fall_silent_are_not_noticed(
    cassandra_cluster: CassandraCluster, tmp_path: Path
) -> None:
    nodes = cassandra_cluster.nodes
    hosts = ",".join(node.options.address for node in nodes)
    async with (
        started(f"cassandra://{hosts}/perdure?replication=3", tmp_path) as server,
        Probe(server.address) as probe,
    ):
        run = Campaign(server, 80, 0, seed=3)
        load = asyncio.create_task(judged(run, in_flight=4, patience_seconds=500))
        await _beyond(probe, 10)
        for node in nodes:
            await _lose_one(cassandra_cluster, node, probe)
        await asyncio.to_thread(nodes[1].freeze)
        await _beyond(probe, 50)
        wrong = await load
        assert not wrong, "\n".join(wrong)
        assert not await probe.lost()
        assert set(probe.errors) <= PASSING, probe.told
        assert probe.longest_seconds < 10, (probe.errors, probe.told)
        # One node is still silent while a server starts.
        await server.kill()
        begin = time.monotonic()
        await server.start()
        await _beyond(probe, 1)
        assert time.monotonic() - begin < 30
        await asyncio.to_thread(nodes[1].thaw)
