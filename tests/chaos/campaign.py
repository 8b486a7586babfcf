"""One run: load, faults drawn from a seed, and what the judges say of it.

Invariant: the load goes on until the last fault is healed, and what is stored is read before and after a restart of
everything.
"""

import argparse
import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from temporalio.client import Client
from temporalio.service import RPCError

from perdure.base.errors import PerdureError
from perdure.testing.checkers import check
from perdure.testing.checkers.evidence import Evidence
from perdure.testing.worker import QUEUE as PARTY_QUEUE
from tests.chaos.judging import (
    Minute,
    Outcome,
    checks_table,
    defects_told,
    enough,
    faults_table,
    maybe_done,
    minutes_table,
    slowest,
    stuck,
    unfired,
)
from tests.chaos.lamps import Lamps
from tests.chaos.layout import PARTY_NAMESPACES, SDK_NAMESPACE, Site, store_of
from tests.chaos.ledger import Ledger
from tests.chaos.liveness import Liveness
from tests.chaos.nemesis import LIVELY_S, Nemesis
from tests.chaos.parties import Parties
from tests.chaos.plan import CUTS, Kind, drawn
from tests.chaos.pulse import Pulse
from tests.chaos.reached import Reached
from tests.chaos.saying import say
from tests.chaos.shards import shards_of
from tests.chaos.shop import Shop, Warnings
from tests.chaos.spreads import Spreads
from tests.chaos.stalls import Stalls
from tests.chaos.stills import Stills
from tests.conformance.harness.rpc import CallFailed
from tests.e2e.clusters import passes
from tests.e2e.orders import QUEUE as SHOP_QUEUE
from tests.e2e.probing import PASSING, Probe

# Activities whose worker was told and never heard wait for their time, twenty seconds, and more than once.
_FINISHED_S = 120.0
_SKEW_NS = 2_000_000_000
_LAMPS = 32
_STILLS = 16
_MINUTE_S = 60.0


@dataclass(slots=True)
class Cast:
    """Everybody who takes part."""

    nemesis: Nemesis
    shop: Shop
    parties: Parties
    probe: Probe
    pulse: Pulse
    stills: Stills
    ledger: Ledger
    liveness: Liveness
    spreads: Spreads
    warnings: Warnings
    starts: AsyncExitStack  # what ends the probe and the pulse
    minutes: list[Minute] = field(default_factory=list)
    stalls: Stalls = field(default_factory=Stalls)


class Run:
    """One run on a site."""

    def __init__(self, site: Site, given: argparse.Namespace) -> None:
        self.site = site
        self.seed: int = given.seed
        self.seconds: float = given.minutes * 60
        self.load: int = given.load
        self.rate: float = given.rate
        self.kinds = [kind for kind in Kind if kind not in CUTS or site.wires is not None]
        if given.only:
            self.kinds = [kind for kind in self.kinds if any(word in kind for word in given.only)]
        if not self.kinds:
            raise SystemExit(f"no fault that is possible here has one of {given.only} in its name")
        self.outcome = Outcome()

    async def go(self) -> Outcome:
        """Everything."""
        async with AsyncExitStack() as stack:
            cast = await self._gathered(stack)
            cast.parties.start()
            selling = asyncio.create_task(cast.shop.run())
            try:
                async with _beside(cast.ledger.watch()), _beside(cast.stalls.watch()), _beside(_minutes(cast)):
                    await cast.nemesis.run(drawn(self.seed, self.kinds), self.seconds)
                    await self._finish(cast, selling)
            finally:
                selling.cancel()
                await asyncio.gather(selling, return_exceptions=True)
            say("judging")
            await self._judge(cast)
        return self.outcome

    async def _gathered(self, stack: AsyncExitStack) -> Cast:
        """All there are, before anything goes wrong."""
        frontends = self.site.processes.frontends
        shards = await stack.enter_async_context(shards_of(self.site))
        lamps = Lamps(frontends, _LAMPS)
        stack.push_async_callback(lamps.close)
        await lamps.light()
        stills = Stills(frontends, await lamps.names("still", _STILLS))
        stack.push_async_callback(stills.close)
        await stills.begin()
        say(f"{_LAMPS} lamps shine, {_STILLS} runs are still")
        reached = Reached(frontends, self.seed, self.site.outside)
        stack.push_async_callback(reached.close)
        await stack.enter_async_context(reached.receiver.serving())
        store = await store_of([node.options.address for node in self.site.nodes.nodes])
        stack.push_async_callback(store.close)
        liveness = Liveness(frontends, (SDK_NAMESPACE, *PARTY_NAMESPACES), LIVELY_S)
        stack.push_async_callback(liveness.close)
        queues = [(SDK_NAMESPACE, SHOP_QUEUE), *((name, PARTY_QUEUE) for name in PARTY_NAMESPACES)]
        spreads = Spreads(frontends[0], queues)
        stack.push_async_callback(spreads.close)
        warnings = Warnings()
        runtime = warnings.runtime()
        clients = [await Client.connect(address, runtime=runtime) for address in frontends]
        starts = await stack.enter_async_context(AsyncExitStack())
        probe = await starts.enter_async_context(Probe(frontends[0]))
        pulse = await starts.enter_async_context(Pulse(frontends, self.rate))
        nemesis = Nemesis(self.site, shards, lamps, says=say, looks=[stills.changed, spreads.look])
        shop = Shop(clients, self.seed, self.load)
        parties = Parties(reached, self.load)
        ledger = Ledger(store.log, store.shards)
        return Cast(nemesis, shop, parties, probe, pulse, stills, ledger, liveness, spreads, warnings, starts)

    async def _finish(self, cast: Cast, selling: asyncio.Task[None]) -> None:
        say("finishing")
        cast.shop.end()
        async with _beside(cast.liveness.watch(cast.nemesis.healed_ns)):
            unsettled = asyncio.create_task(cast.parties.finish(_FINISHED_S))
            await asyncio.wait([selling], timeout=_FINISHED_S)
            if selling.done() and (error := selling.exception()):
                self.outcome.wrong.append(f"the shop gave up: {error!r}")
            self.outcome.wrong += cast.shop.missing()
            self.outcome.wrong += [f"rule 26: {what}" for what in await unsettled]
            await cast.liveness.look(cast.nemesis.healed_ns)

    async def _judge(self, cast: Cast) -> None:
        wrong, nemesis = self.outcome.wrong, cast.nemesis
        await cast.starts.aclose()
        evidence = await cast.parties.evidence()
        evidence.skew_ns = _SKEW_NS
        evidence.replies_lost = [each for one in self.site.of("frontend") for each in maybe_done(one.errors)]
        say("restarting everything")
        try:
            await nemesis.restart_everything()
        except AssertionError as error:
            wrong.append(f"a restart of everything: {str(error).partition(chr(10))[0]}")
        await cast.parties.again(evidence)
        frontend = self.site.processes.frontends[0]
        for what, work in (
            ("still runs", cast.stills.changed()),
            ("the end of still runs", cast.stills.finish(_FINISHED_S)),
            ("orders", cast.shop.check()),
            ("the probe's starts", cast.probe.lost()),
            ("the pulse's starts", cast.pulse.wrong(frontend)),
        ):
            wrong += await _found(what, work)
        with contextlib.suppress(PerdureError):
            await cast.ledger.look()
        wrong += [str(violation) for violation in check(evidence)]
        wrong += [f"an error that should not be: {alarm}" for alarm in cast.parties.reached.alarms]
        wrong += [f"a start ended with {text}" for code, text in cast.probe.told.items() if code not in PASSING]
        wrong += nemesis.wrong + cast.ledger.wrong + cast.liveness.wrong
        wrong += stuck(nemesis.healed)
        wrong += [f"it ended by itself: {each}" for each in nemesis.ended]
        wrong += unfired([str(kind) for kind in nemesis.tried], {str(kind): n for kind, n in nemesis.fired.items()})
        # Where calls take long, in short runs on a busy machine, there are fewer of them.
        wrong += enough(math.ceil(self.seconds / 240), cast.shop.done, evidence.ops)
        wrong += self._vacuous(cast)
        for process in self.site.processes.by_name.values():
            wrong += defects_told(process.name, process.errors)
        self._tell(cast, evidence)

    @staticmethod
    def _vacuous(cast: Cast) -> list[str]:
        """Which judges had nothing to judge."""
        found = {
            "groups of logs": cast.ledger.groups,
            "sealed segments": len(cast.ledger.sealed),
            "callbacks": len(cast.parties.reached.receiver.told),
            "queues with more than one partition": sum(n for count, n in cast.spreads.seen.items() if count > 1),
        }
        return [f"nothing was seen of {what}" for what, count in found.items() if not count]

    def _tell(self, cast: Cast, evidence: Evidence) -> None:
        """The tables of the end."""
        nemesis, reached = cast.nemesis, cast.parties.reached
        codes = Counter[str]()
        for (_, code), count in reached.errors.items():
            codes[code] += count
        operations = Counter(str(op.kind) for op in evidence.ops if op.ok)
        refused = Counter(each.partition(" ")[0] for each in nemesis.shards.refused)
        spread = {f"{count} partitions": n for count, n in sorted(cast.spreads.seen.items())}
        checks = {
            "runs of parties, read before and after the restart": len(evidence.rereads or ()),
            "runs of parties": len(evidence.histories),
            "runs by the SDK": len(cast.shop.runs),
            "orders with their receipts": len(cast.shop.receipts),
            "acknowledged starts by the probe": len(cast.probe.started),
            "acknowledged starts by the pulse": len(cast.pulse.runs),
            "groups of logs (27)": cast.ledger.groups,
            "sealed segments (27)": len(cast.ledger.sealed),
            "still runs compared (5)": _STILLS * (len(nemesis.healed) + 1),
            "open runs looked at for what is overdue (26)": cast.liveness.looked,
            "calls repeated that may have been done": len(evidence.replies_lost),
            "callbacks owed (36)": len(reached.outside.owed),
            "callbacks that came (36)": len(reached.receiver.told),
        }
        self.outcome.tables += [
            faults_table(self.kinds, nemesis.fired, nemesis.healed),
            checks_table(checks),
            minutes_table(cast.minutes),
        ]
        self.outcome.figures += [
            ("the judges themselves stood still", f"for {cast.stalls.longest:.1f} s at most"),
            (f"slowest of {len(nemesis.healed)} heals (limit {LIVELY_S:.0f} s)", slowest(nemesis.healed)),
            ("calls by the SDK", counted(cast.shop.done)),
            ("errors that the SDK gave up on", f"{counted(cast.shop.errors)} {list(cast.shop.told.values())}"),
            ("warnings of the SDK's core", counted(cast.warnings.counts)),
            ("parties' operations", counted(operations)),
            ("errors that parties met", counted(codes)),
            ("errors that the probe met", f"{counted(cast.probe.errors)}; longest {cast.probe.longest_seconds:.1f} s"),
            ("queues looked at", counted(Counter(spread))),
            ("shard calls refused for a while", counted(refused)),
        ]


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do that, too, until the context ends. What it raises is raised at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _found(what: str, work: Coroutine[Any, Any, list[str]]) -> list[str]:
    """What a judge finds; that it can't judge is a finding, too, and others go on."""
    try:
        return await work
    except (CallFailed, PerdureError, RPCError, TimeoutError) as error:
        return [f"{what} can't be judged: {error!r}"]


async def _minutes(cast: Cast) -> None:
    """Cut the pulse's figures by minutes."""
    number = 1
    cast.pulse.next_phase(f"minute {number}")
    try:
        while True:
            await passes(_MINUTE_S)
            number += 1
            cast.minutes.append(Minute(cast.pulse.next_phase(f"minute {number}"), cast.stalls.take()))
    finally:
        cast.minutes.append(Minute(cast.pulse.next_phase("after"), cast.stalls.take()))


def counted(counter: Counter[str]) -> str:
    """In one line."""
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"
