"""TLS between roles is switched on while a cluster serves: hosts of each mode beside one another."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from perdure.base.clock import SystemClock
from perdure.base.entropy import SystemEntropy
from perdure.base.errors import Unavailable
from perdure.cluster.members import Member, MemberState, Role, View
from perdure.server.cluster import Options, ground
from perdure.server.composed import OfCluster
from perdure.server.config_security import AuditSection, InternodeTlsSection, TlsSection
from perdure.server.options import ServingOptions
from perdure.server.security import Security
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from tests.unit.rpc.certificates import Folder

Mode = Literal["strict", "switch", "prepare"]


def host_of(store: MemoryStore, folder: Folder, mode: Mode | None) -> OfCluster:
    """A history host; without a mode it has no certificates."""
    clock = SystemClock()
    security = None
    if mode is not None:
        files = folder.server("role", "perdure.internal")
        internode = InternodeTlsSection(
            certificate=files.certificate,
            key=files.key,
            authority=folder.ca,
            server_name="perdure.internal",
            mode=mode,
        )
        security = Security(TlsSection(internode=internode), None, AuditSection(), clock)
    stands = ground(store, clock, SystemEntropy(), Options(shards=ShardOptions(shards=2)))
    return OfCluster(stands, ServingOptions(roles=(Role.HISTORY,)), security)


async def reaches(one: OfCluster, other: OfCluster) -> bool:
    """Whether a call gets through."""
    await one.membership.refresh(other.membership.view.version)
    try:
        await one._host.rings.shard_host(other.membership.host).list_shards()
    except Unavailable:
        return False
    return True


@pytest.mark.parametrize(("before", "after"), [(None, "prepare"), ("prepare", "switch"), ("switch", "strict")])
async def test_hosts_of_two_modes_that_follow_one_another_reach_each_other(
    before: Mode | None, after: Mode, tmp_path: Path
) -> None:
    store, folder = MemoryStore(is_shared=True), Folder(tmp_path)
    hosts = [host_of(store, folder, mode) for mode in (before, after)]
    try:
        for host in hosts:
            await host.listen()
            await host.start(0)
        assert await reaches(*hosts)
        assert await reaches(*reversed(hosts))
        assert [bool(host.membership.view.plain_addresses()) for host in hosts] == [before != "switch"] * 2
    finally:
        await asyncio.gather(*(host.stop() for host in hosts))


async def test_a_strict_host_speaks_to_nobody_in_plain_text(tmp_path: Path) -> None:
    store, folder = MemoryStore(is_shared=True), Folder(tmp_path)
    plain, strict = host_of(store, folder, "prepare"), host_of(store, folder, "strict")
    try:
        for host in (plain, strict):
            await host.listen()
            await host.start(0)
        assert await reaches(plain, strict)
        assert not await reaches(strict, plain)
    finally:
        await asyncio.gather(plain.stop(), strict.stop())


def test_the_newest_host_at_an_address_says_how_it_is_spoken_to() -> None:
    members = (
        Member("a", {Role.HISTORY: "10.0.0.1:7234"}, MemberState.SERVING, started_ns=2, tls=True),
        Member("b", {Role.HISTORY: "10.0.0.1:7234"}, MemberState.SERVING, started_ns=1),
        Member("c", {Role.HISTORY: "10.0.0.2:7234"}, MemberState.SERVING, started_ns=1),
    )
    assert View(1, members).plain_addresses() == {"10.0.0.2:7234"}
