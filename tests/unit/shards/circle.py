"""Hosts that know each other: who should have which shard is told to each, and they ask one another."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from perdure.base.errors import HostUnreachable
from perdure.shards.acquire import create_shards
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import ShardMap, ShardRow
from perdure.store.memory import MemoryStore
from perdure.testing.loop import VirtualClock, running_loop
from perdure.testing.store_faults import Faults
from tests.unit.shards.fakes import Host


class Line:
    """`Neighbours` of one host. `before`, `after`: what happens on the way there and back. `is_cut`: nobody is reached
    from there.
    """

    def __init__(self, circle: "Circle", host: Host) -> None:
        self._circle = circle
        self._host = host
        self.asked: list[tuple[str, int, int]] = []
        self.before: Callable[[], Awaitable[None]] = _at_once
        self.after: Callable[[], Awaitable[None]] = _at_once
        self.is_cut = False

    def is_member(self, host: str) -> bool:
        return any(id_of(other) == host for other in self._circle.hosts.values())

    async def ask(self, host: str, shard: str, epoch: int, view: int) -> None:
        self.asked.append((shard, epoch, view))
        for other in self._circle.hosts.values():
            if id_of(other) == host and not (self.is_cut or self._circle.lines[other].is_cut):
                await self.before()
                await other.shards.let_go(host, shard, epoch, view)
                if self._circle.lines[other].is_cut:
                    await asyncio.get_running_loop().create_future()  # it died meanwhile
                await self.after()
                return
        raise HostUnreachable("Connection refused.", host)

    async def refresh(self, view: int) -> None:
        if not self.is_cut:
            self._circle.tell(self._host)


class Circle:
    """`hosts` by name; the store they share. `version` of what should be. Shards are named by their place among all."""

    def __init__(self, shards: int = 1, faults: Faults | None = None, **options: float) -> None:
        self.store = MemoryStore(VirtualClock(running_loop()), is_shared=True)
        self.options = ShardOptions(shards=shards, **options)  # type: ignore[arg-type]  # of whatever type they are
        self.faults = faults
        self.hosts: dict[str, Host] = {}
        self.lines: dict[Host, Line] = {}
        self.version = 0
        self.map_version = 1
        self.owners: dict[str, str] = {}
        self.rows: list[ShardRow] = []

    async def add(self, name: str) -> Host:
        """A host that is not started, and should have nothing."""
        host = Host(self.store, name, self.options, self.faults)
        self.rows = self.rows or await create_shards(host.world)
        self.hosts[name] = host
        line = self.lines[host] = Line(self, host)
        host.shards.neighbours = line
        self.tell(host)
        return host

    async def start(self, *names: str) -> list[Host]:
        """Hosts that serve: the first one has all shards."""
        for name in names:
            await self.add(name)
        self.give(dict.fromkeys(range(len(self.rows)), names[0]))
        for host in self.hosts.values():
            await host.shards.start()
        self.give({})  # their ids are known from now on
        return list(self.hosts.values())

    def give(self, owners: Mapping[int, str], *heard: Host) -> None:
        """From now on these should have them; told to `heard`, or to all."""
        self.version += 1
        self.owners = {**self.owners, **{self.rows[place].shard: name for place, name in owners.items()}}
        for host in heard or tuple(self.hosts.values()):
            self.tell(host)

    def tell(self, host: Host) -> None:
        """Tell a host what should be."""
        name = next(name for name, other in self.hosts.items() if other is host)
        wanted = {shard for shard, owner in self.owners.items() if owner == name}
        shards = ShardMap(self.map_version, tuple((row.slots.first, row.shard) for row in self.rows))
        owners = {shard: id_of(self.hosts[owner]) for shard, owner in self.owners.items() if owner in self.hosts}
        host.shards.assign(wanted, self.version, shards, lambda shard: owners.get(shard, ""))

    def kill(self, name: str) -> None:
        """It does nothing any more that anybody would see, and has no lease."""
        host = self.hosts.pop(name)
        self.lines[host].is_cut = True
        host.faults.cut(name)

    def gone(self, name: str) -> None:
        """A host that has ended in good order is no member any more."""
        del self.hosts[name]


def id_of(host: Host) -> str:
    """The id of its lease."""
    return host.shards._world.tenure.host


def has(host: Host, place: int = 0) -> OwnedShard | None:
    """The shard if it is there."""
    return next((shard for shard in host.shards.owned() if shard.slots.first == _first(host, place)), None)


def _first(host: Host, place: int) -> int:
    return place * (65_536 // host.options.shards)


async def _at_once() -> None:
    """Nothing happens."""


async def until(is_so: Callable[[], bool], most_s: float = 30.0) -> float:
    """Wait for it; after how many seconds it was so."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while not is_so():
        assert loop.time() - begun < most_s
        done = loop.create_future()
        loop.call_later(0.001, done.set_result, None)
        await done
    return loop.time() - begun
