"""Makes faults befall a cluster, takes them back, and asks after each whether everything answers again.

Invariant: whatever was begun is taken back, also when taking it back fails at first; a fault counts as fired only when
it has happened. It doesn't judge the load.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.cassandra.node import CassandraNode
from tests.chaos.lamps import Lamps
from tests.chaos.layout import Site
from tests.chaos.plan import Fault, Kind
from tests.chaos.shards import Shards
from tests.e2e.clusters import RoleProcess, passes

LIVELY_S = 30.0  # D: by then after a heal everything answers
_LEASE_OVER_S = 8.0
_SKEW_MS = 1_000
_LOST_SHARE = 0.1  # each way; TCP sends again, so what isn't lost comes up to seconds late


@dataclass(slots=True)
class Healed:
    """A fault that was taken back. `seconds`: until everything answered. `dark`: what didn't within `LIVELY_S`.
    `kinds`: it, and what was beside it.
    """

    what: str
    seconds: float
    dark: list[str]
    kinds: tuple[Kind, ...] = ()


@dataclass(slots=True)
class Nemesis:
    """`tried`: kinds that were to happen, `fired`: how often each has. `ended`: processes that ended by themselves.
    `looks`: what says what is wrong whenever a fault is healed, `wrong`: what it said. `healed_ns`: when the last one
    was taken back.
    """

    site: Site
    shards: Shards
    lamps: Lamps
    tried: set[Kind] = field(default_factory=set)
    fired: Counter[Kind] = field(default_factory=Counter)
    healed: list[Healed] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    says: Callable[[str], None] = lambda text: None
    looks: list[Callable[[], Awaitable[list[str]]]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    healed_ns: int = 0

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
                group.create_task(self._happens(fault))
                if fault.beside is not None:
                    group.create_task(self._happens(fault.beside))
            self.healed_ns = time.time_ns()
            took, dark = await self._answers()
            kinds = (fault.kind,) if fault.beside is None else (fault.kind, fault.beside.kind)
            self.healed.append(Healed(f"{fault.kind}{beside}", took, dark, kinds))
            self.says(f"  healed; all answers after {took:.1f} s" + "".join(f"\n  {each}" for each in dark[:5]))
            for look in self.looks:
                self.wrong += await look()

    async def restart_everything(self) -> None:
        """Kill every process and every node with -9, and start them on what is stored. Raises AssertionError."""
        processes = [*self.site.processes.by_name.values()]
        await asyncio.gather(*(process.kill() for process in processes))
        nodes = self.site.nodes
        for node in nodes.nodes:
            await asyncio.to_thread(node.kill)
        for node in nodes.nodes:
            await asyncio.to_thread(node.begin)
        for node in nodes.nodes:
            await asyncio.to_thread(_awaited, node)
        await asyncio.to_thread(nodes.settle)
        for process in processes:
            await process.start()
        await asyncio.gather(*(process.serves() for process in processes))
        took, dark = await self._answers()
        self.healed.append(Healed("a restart of everything", took, dark))

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
                await process.end()
                await process.start()
                await process.serves()
        dark += (await self.lamps.all_shine(LIVELY_S))[1]
        if not await self.shards.whole(LIVELY_S):
            dark.append(f"not every slot has one shard: {sorted((await self.shards.ranges()).values())}")
        return asyncio.get_running_loop().time() - begun, dark

    async def _happens(self, fault: Fault) -> None:
        """What goes wrong with it beyond what was planned is a finding, and the run goes on."""
        self.tried.add(fault.kind)
        try:
            await self._befall(fault)
        except (AssertionError, TimeoutError) as error:
            what = str(error).partition("\n")[0] or repr(error)
            self.says(f"  {what}")
            self.wrong.append(f"{fault.kind}: {what}")

    async def _befall(self, fault: Fault) -> None:
        chance = random.Random(fault.choice)
        role = next((role for role in ("frontend", "history", "matching") if role in fault.kind), "history")
        of_role = self.site.of(role)
        process = chance.choice(of_role)
        kind = fault.kind
        if kind in (Kind.KILL_FRONTEND, Kind.KILL_HISTORY, Kind.KILL_MATCHING):
            await self._killed([process], fault.hold_s)
        elif kind is Kind.KILL_ROLE:
            await self._killed(self.site.of("history"), fault.hold_s)
        elif kind is Kind.KILL_ALL:
            await self._killed([*self.site.processes.by_name.values()], fault.hold_s)
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
            await self._cut(kind, chance, fault.hold_s)
        self.fired[kind] += 1

    async def _killed(self, processes: Sequence[RoleProcess], hold_s: float) -> None:
        self.says(f"  killed: {', '.join(process.name for process in processes)}")
        await asyncio.gather(*(process.kill() for process in processes))
        await passes(hold_s)
        for process in processes:
            await process.start()
        await asyncio.gather(*(process.serves() for process in processes))

    async def _stands_still(self, process: RoleProcess, hold_s: float) -> None:
        self.says(f"  stands still: {process.name}")
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
            await asyncio.to_thread(node.begin)
            await asyncio.to_thread(_awaited, node)
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
        off_ms = chance.choice((-1, 1)) * chance.randrange(_SKEW_MS // 4, _SKEW_MS)
        self.says(f"  off by {off_ms} ms: {process.name}")
        file.write_text(str(off_ms))
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

    async def _cut(self, kind: Kind, chance: random.Random, hold_s: float) -> None:
        wires = self.site.wires
        assert wires is not None, "the processes are in one network"
        names = [*self.site.processes.by_name]
        victims = [chance.choice(names)]
        if kind is Kind.CUT_HALVES:
            victims = sorted(chance.sample(names, len(names) // 2))
        self.says(f"  {kind}: {', '.join(victims)}")
        others = [wires.address(name) for name in names if name not in victims]
        cut_off = {Kind.CUT_STORE: wires.node_addresses, Kind.CUT_ONE_WAY: [*others, *wires.node_addresses]}
        try:
            for name in victims:
                if kind is Kind.CUT_LOSSY:
                    wires.lose(name, _LOST_SHARE)
                else:
                    wires.cut(name, cut_off.get(kind, others), one_way=kind is Kind.CUT_ONE_WAY)
            await passes(max(hold_s, _LEASE_OVER_S))
        finally:
            for name in victims:
                wires.mend(name)


def _awaited(node: CassandraNode) -> None:
    """Return when the node answers, on a busy machine after four minutes at the most. Raises AssertionError."""
    try:
        node.wait()
    except AssertionError:
        if not node.is_running:
            raise
        node.wait()


async def restarted(process: RoleProcess) -> None:
    """SIGTERM, and a new one that serves. Raises AssertionError if it didn't end well."""
    code = await process.stop()
    await process.start()
    await process.serves()
    assert code == 0, f"{process.name} ended with {code}:\n{process.errors[-4000:]}"
