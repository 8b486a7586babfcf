"""The lines between the processes of a simulated cluster: who reaches whom, and what befalls calls on their way.

Invariant: a call to an address goes to the process that is there when it is made; where there is none it is refused,
and nothing was done. Over a line that is cut nothing comes through, in that direction: what was asked over it is not
done, what was to be answered over it is, and nobody hears of it. Refuses to know what a call means.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar, cast

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import HostUnreachable, Unavailable
from perdure.cluster.roles import HistoryRole, MatchingRole
from perdure.cluster.shard_host import ShardHost, ShardView
from perdure.testing.entropy import SeededEntropy
from perdure.testing.network import Calling, Network, RemoteHistory, RemoteMatching

T = TypeVar("T")
# A connection that doesn't come about, and one that has gone silent, are given up by then; in virtual seconds.
_SILENT_S = 5.0


class Station(Protocol):
    """A process that calls others, and is called. The roles: None where it hasn't any, and before it has begun."""

    place: int
    history_role: HistoryRole | None
    matching_role: MatchingRole | None
    shard_host: ShardHost | None

    async def serve(self, name: str, do: Callable[[], Awaitable[T]], workflow_id: str = "") -> T:
        """Do what another asks."""
        ...

    def refused(self, address: str) -> None:
        """Nobody was at this address."""
        ...


class Lines:
    """All lines. `station_at`: who is at an address now."""

    def __init__(
        self, entropy: SeededEntropy, clock: Clock, network: Network, station_at: Callable[[str], Station | None]
    ) -> None:
        self.network = network
        self._entropy = entropy
        self._clock = clock
        self.station_at = station_at
        self._cut: set[tuple[int, int]] = set()
        self._asked: dict[str, tuple[int, int]] = {}  # by the name of a call: the place, and when

    def last_asked(self, name: str, within_s: float) -> int | None:
        """The place that made a call of this name last; None if that is longer ago."""
        place, at_ns = self._asked.get(name, (None, 0))
        return place if self._clock.monotonic_ns() - at_ns <= within_s * SECOND_NS else None

    def cut(self, source: int, target: int) -> None:
        """Let nothing through from one place to another."""
        self._cut.add((source, target))

    def mend(self, source: int, target: int) -> None:
        """Let it through again."""
        self._cut.discard((source, target))

    def heal(self) -> None:
        """Let everything through."""
        self._cut.clear()

    async def call(
        self, source: Station, address: str, name: str, do: Callable[[], Awaitable[T]], workflow_id: str = ""
    ) -> T:
        """One call of `source` to whoever is at an address. Raises HostUnreachable: nothing was done; Unavailable."""
        self._asked[name] = (source.place, self._clock.monotonic_ns())
        target = self.station_at(address)
        if target is None:
            source.refused(address)
            raise HostUnreachable(f"Connection to {address} refused.", address)
        if (source.place, target.place) in self._cut:
            await asyncio.sleep(self._entropy.fraction() * _SILENT_S)
            if self._entropy.fraction() < 0.5:
                source.refused(address)
                raise HostUnreachable(f"There is no connection to {address}.", address)
            raise Unavailable(f"Injected: {address} was not reached.")
        reply = await self.network.call(name, lambda: target.serve(name, do), workflow_id)
        if (target.place, source.place) in self._cut:
            self.network.replies_lost.append((workflow_id, self._clock.now_ns()))
            await asyncio.sleep(self._entropy.fraction() * _SILENT_S)
            raise Unavailable(f"Injected: the reply of {address} was lost.")
        return reply


class LinesOf:
    """`perdure.server.host.ClosableConnections` of one process."""

    def __init__(self, lines: Lines, source: Station) -> None:
        self._lines = lines
        self._source = source

    def history(self, address: str) -> HistoryRole:
        """The history role there."""
        there: Any = _There(lambda: RemoteHistory(self._role("history_role", address), self._calling(address)))
        return cast(HistoryRole, there)

    def matching(self, address: str) -> MatchingRole:
        """The matching role there."""
        there: Any = _There(lambda: RemoteMatching(self._role("matching_role", address), self._calling(address)))
        return cast(MatchingRole, there)

    def shard_host(self, address: str) -> ShardHost:
        """The owner of shards there."""
        there: Any = _There(lambda: RemoteShardHost(self._role("shard_host", address), self._calling(address)))
        return cast(ShardHost, there)

    async def close(self) -> None:
        """There is nothing to close."""

    def _calling(self, address: str) -> Calling:
        return partial(self._lines.call, self._source, address)

    def _role(self, kind: str, address: str) -> Any:
        """The role; None where nobody is: it is not called then."""
        return getattr(self._lines.station_at(address), kind, None)


class _There:
    """A role of whoever is at an address when it is called."""

    def __init__(self, role: Callable[[], Any]) -> None:
        self._role = role

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            return getattr(self._role(), name)(*arguments)

        return call


class RemoteShardHost:
    """`ShardHost` over a network."""

    def __init__(self, role: ShardHost, call: Calling) -> None:
        self._role = role
        self._call = call

    async def let_go(self, host: str, shard: str, epoch: int, view: int) -> None:
        await self._call("let_go", lambda: self._role.let_go(host, shard, epoch, view))

    async def list_shards(self) -> list[ShardView]:
        return await self._call("list_shards", self._role.list_shards)

    async def split(self, shard: str, parts: int) -> list[str]:
        return await self._call("split", lambda: self._role.split(shard, parts))

    async def merge(self, shards: Sequence[str]) -> str:
        return await self._call("merge", lambda: self._role.merge(shards))
