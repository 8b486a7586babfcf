"""Makes faults befall a cluster, takes them back, and asks after each whether everything answers again.

Invariant: whatever was begun is taken back, also when taking it back fails at first; a fault counts as fired only when
it has happened. It doesn't judge the load.
"""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.chaos.lamps import Lamps
from tests.chaos.layout import Site
from tests.chaos.plan import Fault, Kind
from tests.chaos.shards import Shards
from tests.e2e.clusters import RoleProcess, passes

LIVELY_S = 30.0  # D: by then after a heal everything answers
_LEASE_OVER_S = 8.0
_SKEW_MS = 1_000


@dataclass(slots=True)
class Healed:
    """A fault that was taken back. `seconds`: until everything answered. `dark`: what didn't within `LIVELY_S`."""

    what: str
    seconds: float
    dark: list[str]


@dataclass(slots=True)
class Nemesis:
    """`tried`: kinds that were to happen, `fired`: how often each has. `ended`: processes that ended by themselves."""

    site: Site
    shards: Shards
    lamps: Lamps
    tried: set[Kind] = field(default_factory=set)
    fired: Counter[Kind] = field(default_factory=Counter)
    healed: list[Healed] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    says: Callable[[str], None] = lambda text: None

    async def run(self, faults: Iterator[Fault], seconds: float) -> None:
        """One fault after the other, each healed before the next, until the time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        for fault in faults:
            left = until - loop.time()
            if left <= 0:
                return
            beside = f", and {fault.beside.kind}" if fault.beside is not None else ""
            self.says(f"{fault.kind}{beside}")
            async with asyncio.TaskGroup() as group:
                group.create_task(self._befall(fault))
                if fault.beside is not None:
                    group.create_task(self._befall(fault.beside))
            took, dark = await self._answers()
            self.healed.append(Healed(f"{fault.kind}{beside}", took, dark))
            self.says(f"  healed; all answers after {took:.1f} s" + "".join(f"\n  {each}" for each in dark[:5]))

    async def _answers(self) -> tuple[float, list[str]]:
        """How long it took until each process serves, each slot has its shard, and each shard answers."""
        begun = asyncio.get_running_loop().time()
        dark: list[str] = []
        for process in self.site.processes.by_name.values():
            try:
                await process.serves()
            except (AssertionError, TimeoutError) as error:
                dark.append(f"{process.name}: {error}")
                self.ended.append(f"{process.name}: {error}")
                await process.start()
                await process.serves()
        dark += (await self.lamps.all_shine(LIVELY_S))[1]
        if not await self.shards.whole(LIVELY_S):
            dark.append(f"not every slot has one shard: {sorted((await self.shards.ranges()).values())}")
        return asyncio.get_running_loop().time() - begun, dark

    async def _befall(self, fault: Fault) -> None:
        self.tried.add(fault.kind)
        chance = random.Random(fault.choice)
        role = next((role for role in ("frontend", "history", "matching") if role in fault.kind), "history")
        of_role = self.site.of(role)
        process = chance.choice(of_role)
        kind = fault.kind
        if kind in (Kind.KILL_FRONTEND, Kind.KILL_HISTORY, Kind.KILL_MATCHING):
            await self._killed([process], fault.hold_s)
        elif kind is Kind.KILL_ROLE:
            await self._killed(self.site.of("history"), fault.hold_s)
        elif kind in (Kind.FREEZE_FRONTEND, Kind.FREEZE_HISTORY, Kind.FREEZE_MATCHING):
            await self._stands_still(process, max(fault.hold_s, _LEASE_OVER_S))
        elif kind in (Kind.ROLL_FRONTENDS, Kind.ROLL_HISTORIES, Kind.ROLL_MATCHINGS):
            for each in of_role:
                await restarted(each)
        elif kind in (Kind.KILL_NODE, Kind.FREEZE_NODE):
            await self._without_node(chance, kind, fault.hold_s)
        elif kind is Kind.CLOCK:
            await self._clock_off(chance.choice([*self.site.processes.by_name.values()]), chance, fault.hold_s)
        elif kind in (Kind.MOVE, Kind.SPLIT, Kind.MERGE):
            if not await self._reshaped(kind, chance):
                return
        else:
            await self._cut(kind, chance.choice([*self.site.processes.by_name.values()]), fault.hold_s)
        self.fired[kind] += 1

    async def _killed(self, processes: Sequence[RoleProcess], hold_s: float) -> None:
        await asyncio.gather(*(process.kill() for process in processes))
        await passes(hold_s)
        for process in processes:
            await process.start()
        await asyncio.gather(*(process.serves() for process in processes))

    async def _stands_still(self, process: RoleProcess, hold_s: float) -> None:
        process.send(signal.SIGSTOP)
        try:
            await passes(hold_s)
        finally:
            process.send(signal.SIGCONT)

    async def _without_node(self, chance: random.Random, kind: Kind, hold_s: float) -> None:
        nodes = self.site.nodes
        node = chance.choice(nodes.nodes)
        if kind is Kind.KILL_NODE:
            await asyncio.to_thread(node.kill)
            await passes(hold_s)
            await asyncio.to_thread(node.start)
        else:
            node.freeze()
            try:
                await passes(hold_s)
            finally:
                node.thaw()
        # Of three copies one may be away: the next node falls only when this one is back for all.
        await asyncio.to_thread(nodes.settle)

    async def _clock_off(self, process: RoleProcess, chance: random.Random, hold_s: float) -> None:
        file = self.site.clocks[process.name]
        file.write_text(str(chance.randrange(-_SKEW_MS, _SKEW_MS)))
        process.send(signal.SIGUSR1)
        try:
            await passes(hold_s)
        finally:
            file.write_text("0")
            process.send(signal.SIGUSR1)

    async def _reshaped(self, kind: Kind, chance: random.Random) -> bool:
        shards = self.shards
        if kind is Kind.MOVE:
            moved = await shards.move_some(chance, 5)
            await passes(2.0)
            await shards.unpin()
            return moved > 0
        if kind is Kind.SPLIT:
            wide = [shard for shard, (first, end) in (await shards.ranges()).items() if end - first >= 1_024]
            return bool(wide) and await shards.split(chance.choice(sorted(wide)), 2)
        groups = await shards.groups(2)
        done = bool(groups) and await shards.merge(chance.choice(groups))
        await shards.unpin()
        return done

    async def _cut(self, kind: Kind, process: RoleProcess, hold_s: float) -> None:
        wires = self.site.wires
        assert wires is not None, "the processes are in one network"
        others = [wires.address(name) for name in self.site.processes.by_name if name != process.name]
        cut_off = {Kind.CUT_STORE: wires.node_addresses, Kind.CUT_PEERS: others}.get(
            kind, [*others, *wires.node_addresses]
        )
        wires.cut(process.name, cut_off, one_way=kind is Kind.CUT_ONE_WAY)
        try:
            await passes(max(hold_s, _LEASE_OVER_S))
        finally:
            wires.mend(process.name)


async def restarted(process: RoleProcess) -> None:
    """SIGTERM, and a new one that serves. Raises AssertionError if it didn't end well."""
    code = await process.stop()
    await process.start()
    await process.serves()
    assert code == 0, f"{process.name} ended with {code}:\n{process.errors[-4000:]}"
