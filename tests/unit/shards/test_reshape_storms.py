"""Splits and merges among hosts that take shards from one another, stand still and die: nothing is lost or doubled."""

import hashlib
from itertools import pairwise

import pytest

from perdure.base.errors import HostUnreachable, PerdureError
from perdure.base.slots import ChainKey
from perdure.base.tasks import Background
from perdure.shards.options import ShardOptions
from perdure.shards.retired import remove_retired
from perdure.shards.shard import OwnedShard
from perdure.store.memory import MemoryStore
from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import running_loop
from perdure.testing.store_faults import FaultPlan, Faults
from tests.unit.shards.circle import id_of
from tests.unit.shards.fakes import QUEUE, Host, key, offer, passes, virtual
from tests.unit.shards.keepers import shared

BAD = FaultPlan(lost=0.01, done=0.01, late=0.01, torn=0.01, slow=0.02, unfinished=0.01, refused=0.002, slow_s_max=1.0)
OPTIONS = ShardOptions(
    shards=2, checkpoint_age_s=0.3, lease_s=2, lease_renewal_s=0.6, lease_poll_s=0.1, hand_over_s=1, stop_timeout_s=3
)
CHAINS = [f"wf{number}" for number in range(16)]


class _Town:
    """Hosts, and a ring that changes. Each reads the map once a second."""

    def __init__(self, store: MemoryStore, faults: Faults, entropy: SeededEntropy) -> None:
        self.store = store
        self.faults = faults
        self.entropy = entropy
        self.hosts: list[Host] = []
        self.view = 1
        self.background = Background(self._failed)
        self.errors: list[BaseException] = []
        self.acknowledged: dict[ChainKey, list[int]] = {key(name): [] for name in CHAINS}
        self.splits = self.merges = self.deaths = 0

    def _failed(self, error: BaseException) -> None:
        self.errors.append(error)

    async def add(self) -> None:
        """Another host, at the end of the line."""
        host = Host(self.store, f"host {self.view}", OPTIONS, self.faults)
        host.shards.neighbours = self
        for _ in range(50):
            try:
                await self.tell(host)
                await host.shards.start()
                break
            except PerdureError:
                await passes(0.1)
        self.hosts.append(host)
        self.view += 1

    def die(self, host: Host) -> None:
        """It reaches nothing any more, and nobody reaches it."""
        self.hosts.remove(host)
        self.faults.cut(_name(host))
        self.view += 1
        self.deaths += 1

    def is_member(self, host: str) -> bool:
        return any(id_of(other) == host for other in self.hosts)

    async def ask(self, host: str, shard: str, epoch: int, view: int) -> None:
        for other in self.hosts:
            if id_of(other) == host:
                await other.shards.let_go(host, shard, epoch, view)
                return
        raise HostUnreachable("It is gone.", host)

    async def refresh(self, view: int) -> None:
        for host in self.hosts:
            await self.tell(host)

    def owner(self, shard: str) -> Host | None:
        """By the ring of this view."""
        if not self.hosts:
            return None
        digest = hashlib.sha256(f"{shard}{self.view // 3}".encode()).digest()
        return self.hosts[digest[0] % len(self.hosts)]

    async def tell(self, host: Host) -> None:
        """What a host would read of members and map."""
        standing = await self.store.shards.read_map()
        if standing is None:
            host.shards.assign(frozenset(), self.view, None, lambda _: "")
            return
        owners = {shard: self.owner(shard) for _, shard in standing.shards}
        ids = {shard: id_of(owner) for shard, owner in owners.items() if owner is not None}
        wanted = {shard for shard, owner in owners.items() if owner is host}
        host.shards.assign(wanted, self.view, standing, lambda shard: ids.get(shard, ""))

    async def look(self) -> None:
        """Once a second everybody reads."""
        while True:
            await passes(1)
            for host in list(self.hosts):
                await self.tell(host)

    async def turn(self) -> None:
        """The ring moves."""
        while True:
            await passes(2 + 3 * self.entropy.fraction())
            self.view += 1

    async def reshape(self) -> None:
        while True:
            await passes(self.entropy.fraction())
            host = self.hosts[self.entropy.below(len(self.hosts))]
            owned = host.shards.owned()
            try:
                if owned and self.entropy.fraction() < 0.5:
                    await host.shards.split(owned[self.entropy.below(len(owned))].shard_id, 2)
                    self.splits += 1
                else:
                    pairs = [(one, other) for one, other in pairwise(owned) if one.slots.end == other.slots.first]
                    if pairs:
                        one, other = pairs[self.entropy.below(len(pairs))]
                        await host.shards.merge([one.shard_id, other.shard_id])
                        self.merges += 1
            except PerdureError:
                continue

    def shard_of(self, chain: ChainKey) -> tuple[Host, OwnedShard] | None:
        for host in self.hosts:
            try:
                return host, host.shards.by_slot(chain.slot)
            except PerdureError:
                continue
        return None

    async def write(self, chain: ChainKey, base: int) -> None:
        """Add numbers, each once; those of unknown outcome are not tried again."""
        number = base
        while True:
            await passes(0.05 + 0.2 * self.entropy.fraction())
            found = self.shard_of(chain)
            if found is None:
                continue
            host, shard = found
            number += 1
            try:
                await host.role.values(shard, chain)
                await host.role.add(shard, chain, number, offer(number, chain.workflow_id, time_ns=number))
            except PerdureError:
                continue
            self.acknowledged[chain].append(number)


def _name(host: Host) -> str:
    return host.store.log._host


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_or_doubled_whoever_splits_takes_or_dies(seed: int) -> None:
    async def work() -> None:
        loop = running_loop()
        store = shared()
        faults = Faults(loop.entropy.fork("faults"), BAD)
        town = _Town(store, faults, loop.entropy.fork("town"))
        for _ in range(3):
            await town.add()
        jobs = [town.look(), town.turn(), town.reshape()]
        jobs += [town.write(key(name), 1_000_000 * at) for at, name in enumerate(CHAINS, 1)]
        for job in jobs:
            town.background.spawn(job)
        for _ in range(4):
            await passes(12)
            if town.entropy.fraction() < 0.7:
                town.die(town.hosts[town.entropy.below(len(town.hosts))])
                await town.add()
        faults.heal()
        for name in [_name(host) for host in town.hosts]:
            faults.mend(name)
        await passes(5)
        await town.background.close()
        assert town.errors == []
        assert town.splits + town.merges > 3
        await _verify(town, store)

    virtual(work(), seed)


async def _verify(town: _Town, store: MemoryStore) -> None:
    """One more host takes over, and finds all there is, once."""
    for host in list(town.hosts):
        town.die(host)
    await town.add()
    [host] = town.hosts
    # What was on its way still lands; the others' leases run out.
    for _ in range(60):
        await passes(1)
        await town.tell(host)
    rows = await store.shards.list_shards()
    assert [row.slots.first for row in rows] == [0, *(row.slots.end for row in rows[:-1])]
    assert [shard.shard_id for shard in host.shards.owned()] == [row.shard for row in rows]
    for chain, values in town.acknowledged.items():
        found = await host.role.values(host.shards.by_slot(chain.slot), chain)
        assert len(set(found)) == len(found)
        assert set(values) <= set(found)
        assert len(values) > 20
        offers, backlog = await host.shards.by_slot(chain.slot).read_offers(QUEUE, None, 100_000)
        own = [one for one in offers if one.key == chain]
        assert [one.scheduled_event_id for one in own] == found
        assert backlog.count == len(offers)
    await remove_retired(host.world)
    assert await store.shards.list_unnamed() == []
    await host.shards.stop()
