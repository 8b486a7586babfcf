"""Chaos on real processes: `python -m tests.chaos --seed 1 --minutes 30`; exit code 1 if a rule was broken.

Two frontends, three histories and two matchings on three Cassandra nodes; orders by the official SDK, errands of the
simulator's parties and starts that nobody waits for at both frontends; and faults drawn from the seed. Afterwards the
checkers of the simulator, and those of histories, judge everything.
"""

import argparse
import asyncio
import math
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from temporalio.client import Client

from perdure.testing.checkers import check
from tests.chaos.judging import Outcome, defects_told, enough, slowest, stuck, unfired
from tests.chaos.lamps import Lamps
from tests.chaos.layout import Counts, Site, site_of
from tests.chaos.nemesis import LIVELY_S, Nemesis
from tests.chaos.parties import Parties
from tests.chaos.plan import CUTS, Kind, drawn
from tests.chaos.reached import Reached
from tests.chaos.shards import shards_of
from tests.chaos.shop import Shop, quiet
from tests.chaos.wires import WiresMissing
from tests.e2e.probing import PASSING, Probe

# Activities whose worker was told and never heard wait for their time, twenty seconds, and more than once.
_FINISHED_S = 120.0
_SKEW_NS = 2_000_000_000
_LAMPS = 32
_BEGUN = time.monotonic()


def _say(text: str) -> None:
    sys.stdout.write(f"{time.monotonic() - _BEGUN:7.1f}  {text}\n")
    sys.stdout.flush()


class Run:
    """One run on a site."""

    def __init__(self, site: Site, given: argparse.Namespace) -> None:
        self.site = site
        self.seed: int = given.seed
        self.seconds: float = given.minutes * 60
        self.load: int = given.load
        self.kinds = [kind for kind in Kind if kind not in CUTS or site.wires is not None]
        if given.only:
            self.kinds = [kind for kind in self.kinds if any(word in kind for word in given.only)]
        self.outcome = Outcome()

    async def go(self) -> Outcome:
        """Everything."""
        async with AsyncExitStack() as stack:
            frontends = self.site.processes.frontends
            shards = await stack.enter_async_context(shards_of(self.site))
            lamps = Lamps(frontends, _LAMPS)
            stack.push_async_callback(lamps.close)
            await lamps.light()
            reached = Reached(frontends, self.seed)
            stack.push_async_callback(reached.close)
            probes = [await stack.enter_async_context(Probe(address)) for address in frontends[:1]]
            shop = Shop([await Client.connect(address) for address in frontends], self.seed, self.load)
            parties = Parties(reached, self.load)
            parties.start()
            nemesis = Nemesis(self.site, shards, lamps, says=_say)
            selling = asyncio.create_task(shop.run())
            try:
                await nemesis.run(drawn(self.seed, self.kinds), self.seconds)
                await self._finish(shop, selling, parties)
            finally:
                selling.cancel()
                await asyncio.gather(selling, return_exceptions=True)
            _say("checking")
            await self._judge(shop, parties, probes, nemesis)
        return self.outcome

    async def _finish(self, shop: Shop, selling: asyncio.Task[None], parties: Parties) -> None:
        _say("finishing")
        shop.end()
        unsettled = asyncio.create_task(parties.finish(_FINISHED_S))
        done, _ = await asyncio.wait([selling], timeout=_FINISHED_S)
        if done:
            await selling
        self.outcome.wrong += shop.missing()
        self.outcome.wrong += await unsettled

    async def _judge(self, shop: Shop, parties: Parties, probes: list[Probe], nemesis: Nemesis) -> None:
        wrong = self.outcome.wrong
        fired = Counter({str(kind): count for kind, count in nemesis.fired.items()})
        evidence = await parties.evidence()
        evidence.skew_ns = _SKEW_NS
        wrong += [str(violation) for violation in check(evidence)]
        wrong += [f"an error that should not be: {alarm}" for alarm in parties.reached.alarms]
        wrong += await shop.check()
        for probe in probes:
            wrong += await probe.lost()
            wrong += [f"a start ended with {text}" for code, text in probe.told.items() if code not in PASSING]
        wrong += stuck(nemesis.healed)
        wrong += [f"it ended by itself: {each}" for each in nemesis.ended]
        wrong += unfired([str(kind) for kind in nemesis.tried], fired)
        wrong += enough(math.ceil(self.seconds / 60), shop.done, evidence.ops)
        for process in self.site.processes.by_name.values():
            wrong += defects_told(process.name, process.errors)
        operations = Counter(str(op.kind) for op in evidence.ops if op.ok)
        errors = Counter[str]()
        for (_, code), count in parties.reached.errors.items():
            errors[code] += count
        probe = probes[0]
        refused = Counter(each.partition(" ")[0] for each in nemesis.shards.refused)
        self.outcome.figures += [
            ("faults", _counted(fired)),
            ("kinds for which there was no time", ", ".join(sorted(set(self.kinds) - nemesis.tried)) or "none"),
            (f"slowest of {len(nemesis.healed)} heals (limit {LIVELY_S:.0f} s)", slowest(nemesis.healed)),
            ("calls by the SDK", _counted(shop.done)),
            ("errors that the SDK gave up on", f"{_counted(shop.errors)} {list(shop.told.values())}"),
            ("runs by the SDK", str(len(shop.runs))),
            ("parties' operations", _counted(operations)),
            ("errors that parties met", _counted(errors)),
            ("runs of parties", str(len(evidence.histories))),
            ("starts by the probe", str(len(probe.started))),
            ("errors that the probe met", f"{_counted(probe.errors)}; longest {probe.longest_seconds:.1f} s"),
            ("shard calls refused for a while", _counted(refused)),
        ]


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) or "none"


async def run(given: argparse.Namespace, folder: Path) -> Outcome:
    """A cluster, and a run on it."""
    try:
        async with site_of(folder, Counts(), apart=given.apart) as site:
            _say("the cluster serves")
            return await Run(site, given).go()
    except WiresMissing as missing:
        raise SystemExit(f"--apart: {missing}") from None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--load", type=int, default=6, help="so many orders and so many errands at a time")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="faults whose names have one of these")
    parser.add_argument("--apart", action="store_true", help="each process in a network of its own, cut off at times")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where logs are kept")
    given = parser.parse_args()
    quiet()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    try:
        outcome = asyncio.run(run(given, folder))
    finally:
        if given.keep is not None:
            shutil.copytree(folder, given.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cassandra"))
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"seed {given.seed}\n{outcome.table()}\n")
    raise SystemExit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
