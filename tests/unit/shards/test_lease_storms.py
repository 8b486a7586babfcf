"""Rule L11 in storms: hosts that share a store lose it, stop, die and come back, while all of it may go wrong."""

import asyncio

import pytest

from perdure.base.errors import PerdureError, Unavailable
from perdure.base.tasks import Background
from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import running_loop
from perdure.testing.store_faults import FaultPlan, Faults
from tests.unit.shards.circle import Circle
from tests.unit.shards.fakes import Host, key, passes, virtual

STORMY = FaultPlan(
    lost=0.03, done=0.03, late=0.03, raised=0.02, unfinished=0.03, slow=0.2, refused=0.005, slow_s_max=0.3
)


class Storm:
    """Hosts over one store. `acknowledged`: values with the time at which they were."""

    def __init__(self) -> None:
        loop = running_loop()
        self.faults = Faults(loop.entropy.fork("faults"), STORMY)
        self.chance: SeededEntropy = loop.entropy.fork("storm")
        self.circle = Circle(faults=self.faults, segment_bytes=200, checkpoint_age_s=0.2)
        self.hosts: list[Host] = []
        self.acknowledged: list[int] = []
        self.tried = 0
        self.read = 0
        self.refused = 0
        self.background = Background(self._failed)
        self.errors: list[str] = []

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, PerdureError):
            self.errors.append(repr(error))

    async def add_host(self) -> None:
        name = f"host-{len(self.hosts)}"
        host = await self.circle.add(name)
        self.hosts.append(host)
        self.circle.give({0: name}, host)
        self.background.spawn(host.shards.start(), "start")
        self.background.spawn(self.write(host), "writer")
        self.background.spawn(self.look(host), "reader")

    async def write(self, host: Host) -> None:
        while True:
            await passes(0.2 * self.chance.fraction())
            self.tried += 1
            value = self.tried
            try:
                await host.role.add(host.shards.by_slot(0), key(), value)
                self.acknowledged.append(value)
            except PerdureError:
                continue

    async def look(self, host: Host) -> None:
        """Reads with a rest between reading and answering, as a paused process has."""
        while True:
            await passes(0.2 * self.chance.fraction())
            known = set(self.acknowledged)
            try:
                shard = host.shards.by_slot(0)
                values = set(await host.role.values(shard, key()))
                await passes(self.chance.fraction() ** 8 * 10)
                await shard.durable(shard.log.committed)
            except Unavailable:
                self.refused += 1
                continue
            self.read += 1
            if not known <= values:
                self.errors.append(f"stale at {running_loop().time():.3f} s: no {known - values}")

    async def watch(self) -> None:
        """No two hosts may answer for the shard at the same time."""
        while True:
            await passes(0.003)
            ready = [host for host in self.hosts if any(shard.can_answer for shard in host.shards.owned())]
            if len(ready) > 1:
                self.errors.append(f"{len(ready)} owners at {running_loop().time():.3f} s")

    async def rage(self, until_s: float) -> None:
        """Cut hosts off from the store and from one another, stop them in good order, let new ones come, and tell some
        whose the shard should be.
        """
        while running_loop().time() < until_s:
            await passes(3 * self.chance.fraction())
            host = self.hosts[self.chance.below(len(self.hosts))]
            name = host.store.log._host
            dice = self.chance.fraction()
            if dice < 0.35:
                self.faults.cut(name)
            elif dice < 0.75:
                self.faults.mend(name)
            elif dice < 0.85 and len(self.hosts) < 8:
                await self.add_host()
            elif dice < 0.9:
                self.background.spawn(host.shards.stop(), "stop")
            elif dice < 0.97:
                self.circle.give({0: name}, self.hosts[self.chance.below(len(self.hosts))])
            self.circle.lines[host].is_cut = self.chance.fraction() < 0.3


@pytest.mark.parametrize("seed", range(16))
def test_no_read_is_older_than_what_was_acknowledged_before_it_began(seed: int) -> None:
    async def work() -> None:
        storm = Storm()
        for _ in range(3):
            await storm.add_host()
            await passes(2 * storm.chance.fraction())
        storm.background.spawn(storm.watch(), "watch")
        await storm.rage(100)
        storm.faults.heal()
        await storm.faults.land()
        for line in storm.circle.lines.values():
            line.is_cut = False
        await storm.add_host()
        storm.circle.give({})
        await passes(30)
        assert sum(len(host.shards.owned()) for host in storm.hosts) == 1
        await storm.background.close()
        assert storm.errors == []
        assert len(storm.acknowledged) > 30
        assert storm.read > 30
        assert storm.refused > 0
        assert any(line.asked for line in storm.circle.lines.values())
        owner = next(host for host in storm.hosts if host.shards.owned())
        values = await owner.role.values(owner.shards.by_slot(0), key())
        assert set(storm.acknowledged) <= set(values)
        assert len(values) == len(set(values))
        await asyncio.wait_for(owner.shards.stop(), 60)

    virtual(work(), seed)
