"""What befalls the processes of a cluster, and what its operators do with it meanwhile.

Invariant: what was planned happens, if need be later: `finish` returns when it has, or its time is over. Knows who is
there and who has what, and nothing of what is done with it.
"""

import asyncio
from collections.abc import Coroutine
from itertools import pairwise
from typing import Any

from perdure.base.errors import PerdureError
from perdure.base.tasks import Background
from perdure.cluster.members import Role
from perdure.testing.entropy import SeededEntropy
from perdure.testing.processes import Process, SimProcesses
from perdure.testing.scenario import HostTrouble

_TRIES = 300
_PAUSE_S = 0.3
_FINISH_S = 90.0
_SHARDS_MAX = 12
_BRANCH_TRIES = 60
_LATELY_S = 3.0


class Nemesis:
    """Of one cluster."""

    def __init__(self, cluster: SimProcesses, chance: SeededEntropy) -> None:
        self._cluster = cluster
        self._chance = chance
        self._background = Background(lambda error: cluster.alarms.append(repr(error)))

    def befall(self, trouble: HostTrouble) -> None:
        """Begin it."""
        work = {
            HostTrouble.CRASH: self._crash,
            HostTrouble.RELEASE: self._release,
            HostTrouble.PAUSE: self._pause,
            HostTrouble.CUT: self._cut,
            HostTrouble.CLOCK: self._set_clock,
            HostTrouble.APART: self._part,
            HostTrouble.ONE_WAY: self._part_one_way,
            HostTrouble.ALONE: self._leave_alone,
            HostTrouble.HALVES: self._halve,
            HostTrouble.CLOG: self._clog,
            HostTrouble.STORM: self._storm,
            HostTrouble.OUTAGE: self._end_all,
            HostTrouble.BRANCH: self._strike_branch,
            HostTrouble.JOIN: self._join,
            HostTrouble.MOVE: self._move,
            HostTrouble.SPLIT: self._split,
            HostTrouble.MERGE: self._merge,
        }[trouble]
        self._background.spawn(work(), str(trouble))

    async def finish(self) -> None:
        """Wait for what was begun."""
        until = asyncio.get_running_loop().time() + _FINISH_S
        while asyncio.get_running_loop().time() < until:
            if not len(self._background):
                break
            await asyncio.sleep(_PAUSE_S)
        await self._background.close()
        self._cluster.lines.heal()

    # ------------------------------------------------------------------------------------------------ what befalls one

    async def _victim(self) -> Process:
        """One that lives and does what it should."""
        while True:
            steady = [process for process in self._cluster.processes if process.held is None and not process.is_leaving]
            if steady:
                return steady[self._chance.below(len(steady))]
            await asyncio.sleep(_PAUSE_S)

    async def _crash(self) -> None:
        self._cluster.crash(await self._victim())

    async def _release(self) -> None:
        """In half of the cases all of them, one after the other."""
        if self._chance.fraction() < 0.5:
            for place in [process.place for process in self._cluster.processes]:
                await self._cluster.release(self._cluster.hosts[place])
                await asyncio.sleep(self._chance.fraction())
        before = self._cluster.fired["release"]
        for _ in range(_TRIES):  # it may die before it has left
            await self._cluster.release(await self._victim())
            if self._cluster.fired["release"] > before:
                return

    async def _pause(self) -> None:
        await self._stop_for_long(await self._victim())

    async def _stop_for_long(self, host: Process) -> None:
        """About as long as its lease, or longer."""
        self._cluster.pause(host)
        lease_s = self._cluster.options.roles.shards.lease_s
        await asyncio.sleep(lease_s * (0.5 + self._chance.fraction()) + 2 * self._chance.fraction())
        if self._chance.fraction() < 0.4:
            self._cluster.faults.without_leases.add(host.name)
        self._cluster.go_on(host)
        await asyncio.sleep(2 + 3 * self._chance.fraction())
        self._cluster.faults.without_leases.discard(host.name)

    async def _cut(self) -> None:
        await self._cluster.cut(await self._victim(), 0.2 + 8 * self._chance.fraction())

    async def _set_clock(self) -> None:
        self._cluster.set_clock(await self._victim(), self._chance.fraction())

    async def _part(self) -> None:
        one, other = (await self._victim()).place, (await self._victim()).place
        await self._cut_lines("apart", [(one, other), (other, one)])

    async def _part_one_way(self) -> None:
        await self._cut_lines("one way", [((await self._victim()).place, (await self._victim()).place)])

    async def _leave_alone(self) -> None:
        await self._cut_lines("alone", self._lines_of((await self._victim()).place))

    async def _halve(self) -> None:
        places = range(len(self._cluster.hosts))
        one = {place for place in places if self._chance.fraction() < 0.5}
        await self._cut_lines("halves", [(a, b) for a in places for b in places if (a in one) != (b in one)])

    async def _clog(self) -> None:
        """Three, if there are as many."""
        self._cluster.fired["clog"] += 1
        clogged: list[int] = []
        for _ in range(3):
            clogged.append((await self._victim()).place)
            self._cluster.log.note(f"clogged: {clogged}")
            for line in self._lines_of(clogged[-1]):
                self._cluster.lines.cut(*line)
            await asyncio.sleep(2 * self._chance.fraction())
        while clogged:
            for line in self._lines_of(clogged.pop(self._chance.below(len(clogged)))):
                self._cluster.lines.mend(*line)
            await asyncio.sleep(2 * self._chance.fraction())

    async def _storm(self) -> None:
        await self._cluster.storm(0.5 + 6 * self._chance.fraction())

    async def _end_all(self) -> None:
        """In half of the cases, or all that have shards."""
        self._cluster.fired["outage"] += 1
        everybody = self._chance.fraction() < 0.5
        for process in self._cluster.processes:
            if everybody or process.history is not None:
                self._cluster.crash(process)

    async def _strike_branch(self) -> None:
        """Where a branch is that asks its root for tasks; nothing happens if there is none for long."""
        for _ in range(_BRANCH_TRIES):
            asked = self._cluster.lines.last_asked("lend", _LATELY_S)
            host = self._cluster.hosts[asked] if asked is not None else None
            if isinstance(host, Process) and host.held is None and not host.is_dead and not host.is_leaving:
                self._cluster.fired["branch"] += 1
                self._cluster.log.note(f"a branch is at {host.name}")
                chance = self._chance.fraction()
                if chance < 0.4:
                    self._cluster.crash(host)
                elif chance < 0.7:
                    await self._cut_lines("alone", self._lines_of(host.place))
                else:
                    await self._stop_for_long(host)
                return
            await asyncio.sleep(_PAUSE_S)

    def _lines_of(self, place: int) -> list[tuple[int, int]]:
        """Those that end or begin there."""
        others = [other for other in range(len(self._cluster.hosts)) if other != place]
        return [line for other in others for line in ((place, other), (other, place))]

    async def _cut_lines(self, kind: str, cut: list[tuple[int, int]]) -> None:
        self._cluster.fired[kind] += 1
        self._cluster.log.note(f"{kind}: {cut}")
        for line in cut:
            self._cluster.lines.cut(*line)
        await asyncio.sleep(0.5 + 8 * self._chance.fraction())
        for line in cut:
            self._cluster.lines.mend(*line)

    # ------------------------------------------------------------------------------------------------ what operators do

    async def _join(self) -> None:
        choices = [(role,) for role in Role] + [(Role.HISTORY,), tuple(Role)]
        await self._cluster.join(choices[self._chance.below(len(choices))])

    async def _move(self) -> None:
        """Pin a shard to one that doesn't have it."""
        for _ in range(_TRIES):
            shards = [shard for _, shard in (await self._cluster.read_map()).shards]
            shard = shards[self._chance.below(len(shards))]
            holder = self._cluster.holder(shard)
            others = [to for to in self._cluster.histories() if to is not holder and to.host.membership.host]
            if holder is not None and others:
                to = others[self._chance.below(len(others))]
                if await self._pin(to, shard):
                    self._cluster.fired["move"] += 1
                    return
            elif len(self._cluster.histories()) < 2 and self._chance.fraction() < 0.1:
                await self._cluster.join((Role.HISTORY,))
            await asyncio.sleep(_PAUSE_S)

    async def _pin(self, to: Process, shard: str) -> bool:
        membership, host = to.host.membership, to.host.membership.host
        self._cluster.log.note(f"shard {shard} is to move to {to.name}")
        return await self._in(to, membership.change(lambda view: view.with_pin(shard, host)))

    async def _split(self) -> None:
        for _ in range(_TRIES):
            shards = [shard for _, shard in (await self._cluster.read_map()).shards]
            shard = shards[self._chance.below(len(shards))]
            holder = self._cluster.holder(shard)
            if holder is not None and holder.shard_host is not None:
                if len(shards) >= _SHARDS_MAX:
                    await self._merge()
                self._cluster.log.note(f"shard {shard} is to be split")
                done = await self._in(holder, holder.shard_host.split(shard, 2 + self._chance.below(2)))
                if done:
                    self._cluster.fired["split"] += 1
                    return
            await asyncio.sleep(_PAUSE_S)

    async def _merge(self) -> None:
        """Two neighbours, brought together first."""
        for _ in range(_TRIES):
            shards = [shard for _, shard in (await self._cluster.read_map()).shards]
            if len(shards) < 2:
                await self._split()
                continue
            pairs = list(pairwise(shards))
            both = pairs[self._chance.below(len(pairs))]
            holder, other = map(self._cluster.holder, both)
            if holder is not None and holder is other and holder.shard_host is not None:
                self._cluster.log.note(f"shards {both} are to be merged")
                done = await self._in(holder, holder.shard_host.merge(both))
                if done:
                    self._cluster.fired["merge"] += 1
                    return
            elif holder is not None and holder.host.membership.host:
                await self._pin(holder, both[0])
                await self._pin(holder, both[1])
                await asyncio.sleep(1.0)
            await asyncio.sleep(_PAUSE_S)

    async def _in(self, process: Process, work: Coroutine[Any, Any, object]) -> bool:
        """Do it there; whether it is known to be done."""
        task = process.spawn(work, "operator")
        await asyncio.wait((task,))
        if task.cancelled():
            return False
        error = task.exception()
        if error is not None and not isinstance(error, PerdureError):
            raise error
        return error is None
