"""A cluster whose roles are processes of their own, on virtual time: members, leases and rings as in a real one.

Each place has its roles and its address; a process that has died there is followed by another. Invariant: whoever takes
part is found by the members' document and by nothing else. At any moment at most one process answers for a slot: that
is looked at all the time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from perdure.base.errors import Unavailable
from perdure.base.slots import SLOTS
from perdure.base.tasks import Background
from perdure.cluster.members import Member, Role
from perdure.cluster.membership import MembershipOptions
from perdure.cluster.roles import HistoryRole, MatchingRole
from perdure.cluster.shard_host import ShardHost
from perdure.cluster.watching import WatchOptions
from perdure.frontend.frontend import Frontend
from perdure.frontend.services import FrontendOptions
from perdure.server.cluster import ground
from perdure.server.host import Host
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import ShardMap
from perdure.testing.cluster import ClusterOptions, SimCluster
from perdure.testing.entropy import SeededEntropy
from perdure.testing.lines import Lines, LinesOf
from perdure.testing.loop import VirtualLoop
from perdure.testing.oplog import OpLog
from perdure.testing.running import Running

T = TypeVar("T")
_SETTLED_S = 120.0
_LOOK_S = 0.1
# A process stops in bounded time: so long is more than that.
_STOP_S = 60.0
_REST_S = 0.5


class Process(Running):
    """Some roles. `is_leaving`: it was told to stop, callers are sent elsewhere."""

    def __init__(self, name: str, place: int, cluster: "SimProcesses", roles: Sequence[Role]) -> None:
        entropy = cluster.entropy.fork(name)
        super().__init__(name, place, cluster.clock_of(entropy), entropy, cluster.store.seen_by(name))
        options = cluster.options.roles
        stands = ground(self.store, self.clock, entropy, options)
        self.roles = tuple(roles)
        self.is_leaving = False
        self.host = Host(stands, roles, LinesOf(cluster.lines, self), membership_options(options.shards))
        self.history = self.host.history
        self.history_role: HistoryRole | None = self.host.history_for_others
        self.matching_role: MatchingRole | None = self.host.matching_for_others
        self.shard_host: ShardHost | None = None
        if self.history is not None:
            self.shard_host = self.host.shard_host
            self.history.service.callbacks.sender = cluster.outside
        self.frontend = None
        if Role.FRONTEND in roles:
            settings = FrontendOptions(limits=options.limits, throttled=False, list_throttled=False)
            self.frontend = Frontend(
                stands.namespaces, self.host.directory, self.store.visibility, self.clock, entropy, settings
            )

    async def begin(self) -> None:
        """See `Running.begin`."""
        await self.host.join(Member("", {role: address_of(self.place) for role in self.roles}, name=self.name))
        await self.host.serve()

    async def end(self) -> None:
        """See `Running.end`."""
        self.is_leaving = True
        if self.frontend is not None:
            await self.frontend.drain()
        await self.host.leave()
        await self.host.stop()

    async def serve(self, name: str, do: Callable[[], Awaitable[T]], workflow_id: str = "") -> T:
        """See `Running.serve`. Who gives up waits no longer, be the process stopped."""
        if self.is_dead:
            raise Unavailable("Connection refused.")

        async def work() -> T:
            return await do()

        task = self.spawn(work(), name)
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            task.cancel()
            raise
        if task.cancelled():
            raise Unavailable("Connection lost.")
        return task.result()

    def refused(self, address: str) -> None:
        """See `perdure.testing.lines.Station.refused`."""
        self.host.rings.suspect_address(address)

    def answering(self) -> list[OwnedShard]:
        """The shards for which it would answer now."""
        if self.history is None:
            return []
        lease = self.host.lease
        return [
            shard
            for shard in self.history.shards.owned()
            if not shard.is_leaving
            and not shard.is_lost
            and lease.is_valid()
            and not lease.is_revoked(shard.shard_id, shard.epoch)
        ]


def address_of(place: int) -> str:
    """Where a place's process is reached."""
    return f"place-{place}"


def membership_options(shards: ShardOptions) -> MembershipOptions:
    """What suits the shards' leases."""
    lease_s = shards.lease_s
    watch = WatchOptions(
        lease_s=lease_s, late_s=0.6 * lease_s, look_s=lease_s / 5, hurry_s=lease_s / 20, call_s=0.3 * lease_s
    )
    return MembershipOptions(watch=watch)


class SimProcesses(SimCluster):
    """The store, the lines, and the processes by their places."""

    steps_max = 4_000_000

    def __init__(self, loop: VirtualLoop, entropy: SeededEntropy, log: OpLog, options: ClusterOptions) -> None:
        super().__init__(loop, entropy, log, options)
        self.lines = Lines(entropy.fork("lines"), loop.clock, self.network, self._at)
        self.roles = list(options.processes)
        self._callers = entropy.fork("callers")
        self._watch = Background(self._unexpected)

    # ------------------------------------------------------------------------------------------------ who is there

    @property
    def processes(self) -> list[Process]:
        """Who lives, by place."""
        return [process for process in self.hosts if isinstance(process, Process)]

    def histories(self) -> list[Process]:
        """Who may have shards, and isn't about to stop."""
        return [process for process in self.processes if process.history is not None and not process.is_leaving]

    def holder(self, shard: str) -> Process | None:
        """Who has a shard now."""
        for process in self.processes:
            if any(owned.shard_id == shard for owned in process.answering()):
                return process
        return None

    async def read_map(self) -> ShardMap:
        """The map as it is stored, whatever befalls the processes' store."""
        found = await self.store.shards.read_map()
        assert found is not None
        return found

    def _at(self, address: str) -> Process | None:
        return next((process for process in self.processes if address_of(process.place) == address), None)

    async def reachable(self, *, lingers: bool = False) -> Running:
        """A frontend; one that stands still too, for a while. Raises Unavailable while there is none."""
        frontends = [process for process in self.processes if process.frontend is not None and not process.is_leaving]
        if not frontends:
            raise Unavailable("Connection refused.")
        return frontends[self._callers.below(len(frontends))]

    # ------------------------------------------------------------------------------------------------ coming and going

    def made(self, name: str, place: int) -> Running:
        """See `SimCluster.made`."""
        return Process(name, place, self, self.roles[place])

    async def start(self, place: int = 0) -> None:
        """Bring up a process; it takes its time, and dies if it can't begin."""
        self._incarnations += 1
        process = self.made(f"host-{self._incarnations}", place)
        self.log.note(f"{process.name} starts")
        self.hosts[place] = process

        def begun(starting: asyncio.Task[None]) -> None:
            if not starting.cancelled() and starting.exception() is not None:
                self.crash(process, "not begun")

        process.spawn(process.begin(), "start").add_done_callback(begun)

    async def join(self, roles: Sequence[Role]) -> None:
        """Bring up a process at a new place."""
        self.fired["join"] += 1
        self.roles.append(tuple(roles))
        self.hosts.append(None)
        await self.start(len(self.hosts) - 1)

    async def come_back(self) -> None:
        """See `SimCluster.come_back`."""
        if not len(self._watch):
            self._watch.spawn(self._look(), "who answers")
        await self.start_missing()
        self.alarms += [f"after a start: {what}" for what in await self.ending()]

    def pause(self, host: Running | None) -> None:
        """Stop a process where it stands; nobody takes its place."""
        if host is not None:
            self.log.note(f"{host.name} is stopped")
            self.fired["pause"] += 1
            host.held = []
            self.zombies.append(host)

    def go_on(self, host: Running) -> None:
        """See `SimCluster.go_on`."""
        super().go_on(host)
        if host in self.zombies:
            self.zombies.remove(host)

    async def release(self, host: Running | None) -> None:
        """Tell a process to leave in good order: it answers others until all that it has was taken."""
        if host is None or host.is_dead:
            return
        self.log.note(f"{host.name} is told to stop")
        stopping = host.spawn(host.end(), "stop")
        _, pending = await asyncio.wait((stopping,), timeout=_STOP_S)
        if pending and host.held is None:
            self.alarms.append(f"{host.name} does not stop")
        self.crash(host, "release")

    # ------------------------------------------------------------------------------------------------ what must hold

    async def _look(self) -> None:
        """No slot is answered for by two, at any moment."""
        while True:
            await asyncio.sleep(_LOOK_S)
            answering = [(owned.slots, owned.shard_id, at.name) for at in self.processes for owned in at.answering()]
            answering.sort()
            for (slots, shard, host), (others, other, another) in pairwise(answering):
                if others.first < slots.end:
                    self.doubled.append(f"{host} answers for {shard} of {slots}, {another} for {other} of {others}")

    def _unsettled(self) -> list[str]:
        """Who lacks what it should have, or doesn't know who is there."""
        there = {process.host.membership.host for process in self.processes}
        return [
            f"{process.name} has not what it should have"
            for process in self.processes
            if {member.host for member in process.host.membership.view.members} != there
            or not process.host.is_settled()
        ]

    async def ending(self) -> list[str]:
        """See `SimCluster.ending`."""
        until = self.loop.time() + _SETTLED_S
        while True:
            found = [*self._unsettled(), *await self._misplaced()]
            if not found or self.loop.time() > until:
                return found
            await asyncio.sleep(_REST_S)

    async def _misplaced(self) -> list[str]:
        standing = await self.store.shards.read_map()
        if standing is None:
            return ["there is no map of shards"]
        shards = standing.shards
        rows = {row.shard: row for row in await self.store.shards.list_shards()}
        found = [f"shard {shard} of the map has no row" for _, shard in shards if shard not in rows]
        if found:
            return found
        first = 0
        for _, shard in shards:
            row = rows[shard]
            if row.slots.first != first:
                found.append(f"shard {shard} begins with slot {row.slots.first}, not {first}")
            first = row.slots.end
            if row.inherits:
                found.append(f"shard {shard} still inherits")
            if self.holder(shard) is None:
                found.append(f"nobody serves shard {shard}")
        if first != SLOTS:
            found.append(f"nobody has the slots from {first}")
        named = {shard for _, shard in shards}
        return found + [f"shard {shard} is retired, but its row is there" for shard in rows if shard not in named]
