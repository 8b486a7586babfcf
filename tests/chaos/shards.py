"""Shards moved, split and merged from outside: by the calls that hosts have for one another, and by pins.

Invariant: what is refused because shards move just now is asked again, within a bound; what comes of it is what the
hosts say afterwards.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from perdure.base.errors import PerdureError
from perdure.cluster.members import KEY, KIND, Role, View, from_document, to_document
from perdure.cluster.shard_host import ShardState, ShardView
from perdure.rpc.peers import Peers
from perdure.store.contract import Documents
from tests.chaos.layout import Site, store_of
from tests.e2e.clusters import passes

_PAUSE_S = 0.5
_TRIES = 40


class Shards:
    """The shards of a site. `refused`: what was asked in vain for a while."""

    def __init__(self, site: Site, peers: Peers, documents: Documents) -> None:
        self.refused: list[str] = []
        self._site = site
        self._peers = peers
        self._documents = documents

    async def owned(self) -> dict[str, list[ShardView]]:
        """The shards that serve, in order, by the address of their host; hosts that don't answer have none."""
        found = {}
        for process in self._site.of("history"):
            address = process.address_of("history")
            try:
                async with asyncio.timeout(5):
                    views = await self._peers.shard_host(address).list_shards()
            except (TimeoutError, PerdureError):
                continue
            found[address] = [view for view in views if view.state is ShardState.SERVING and view.slots is not None]
        return found

    async def ranges(self) -> dict[str, tuple[int, int]]:
        """First slot and end of each shard that serves, by its id."""
        views = [view for owned in (await self.owned()).values() for view in owned]
        return {view.shard: (view.slots.first, view.slots.end) for view in views if view.slots is not None}

    async def whole(self, seconds: float) -> bool:
        """Whether, within that time, the shards that serve have every slot, once."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            bounds = sorted((await self.ranges()).values())
            ends = [0, *(end for _, end in bounds)]
            if [first for first, _ in bounds] == ends[:-1] and ends[-1] == 65_536:
                return True
            if asyncio.get_running_loop().time() > deadline:
                return False
            await passes(_PAUSE_S)

    async def split(self, shard: str, parts: int) -> bool:
        """Split a shard, wherever it is."""
        for _ in range(_TRIES):
            address = await self._address_of(shard)
            if address and await self._try(f"split {shard}", self._peers.shard_host(address).split(shard, parts)):
                return True
            await passes(_PAUSE_S)
        return False

    async def merge(self, shards: Sequence[str]) -> bool:
        """Merge neighbours; they are brought together first."""
        hosts = await self._hosts()
        if not hosts:
            return False
        home = next(iter(hosts))
        for _ in range(_TRIES):
            owned = {address: {view.shard for view in views} for address, views in (await self.owned()).items()}
            if set(shards) <= owned.get(home, set()):
                if await self._try(f"merge {shards}", self._peers.shard_host(home).merge(shards)):
                    return True
            else:
                await self.pin(dict.fromkeys(shards, hosts[home]))
            await passes(_PAUSE_S)
        return False

    async def move_some(self, chance: random.Random, count: int) -> int:
        """Pin so many shards to hosts other than their own; how many were."""
        hosts = await self._hosts()
        owned = [(address, view.shard) for address, views in (await self.owned()).items() for view in views]
        moves = {}
        for address, shard in chance.sample(owned, min(count, len(owned))):
            others = [host for at, host in hosts.items() if at != address]
            if others:
                moves[shard] = chance.choice(others)
        await self.pin(moves)
        return len(moves)

    async def pin(self, pins: Mapping[str, str]) -> None:
        """Move shards to hosts, by their ids; "" = where the ring says."""
        while pins:
            view = await self._view()
            wanted = view
            for shard, host in pins.items():
                wanted = wanted.with_pin(shard, host)
            if wanted == view:
                return
            wanted = View(view.version + 1, wanted.members, wanted.pins)
            try:
                if await self._documents.replace_document(to_document(wanted)):
                    return
            except PerdureError as error:
                self.refused.append(f"pin: {error}")
            await passes(_PAUSE_S)

    async def unpin(self) -> None:
        """Let each shard go where the ring says."""
        await self.pin(dict.fromkeys((await self._view()).pins, ""))

    async def groups(self, size: int) -> list[list[str]]:
        """Neighbours, so many together, in the order of their slots."""
        ordered = sorted((slots, shard) for shard, slots in (await self.ranges()).items())
        found: dict[int, list[str]] = defaultdict(list)
        for at, (_, shard) in enumerate(ordered):
            found[at // size].append(shard)
        return [group for group in found.values() if len(group) == size]

    async def _view(self) -> View:
        while True:
            try:
                return from_document(await self._documents.read_document(KIND, KEY))
            except PerdureError as error:
                self.refused.append(f"members: {error}")
                await passes(_PAUSE_S)

    async def _hosts(self) -> dict[str, str]:
        """The ids of history hosts, by address."""
        view = await self._view()
        return {view.address(host, Role.HISTORY): host for host in view.serving(Role.HISTORY)}

    async def _address_of(self, shard: str) -> str:
        owned = await self.owned()
        return next((at for at, views in owned.items() if any(view.shard == shard for view in views)), "")

    async def _try(self, what: str, work: object) -> bool:
        try:
            async with asyncio.timeout(30):
                await work  # type: ignore[misc]  # one of two coroutines
        except (TimeoutError, PerdureError) as error:
            self.refused.append(f"{what}: {type(error).__name__}: {error}")
            return False
        return True


@asynccontextmanager
async def shards_of(site: Site) -> AsyncIterator[Shards]:
    """The shards of a site that serves."""
    store = await store_of([node.options.address for node in site.nodes.nodes])
    peers = Peers(lambda address: None)
    try:
        yield Shards(site, peers, store.documents)
    finally:
        await peers.close()
        await store.close()
