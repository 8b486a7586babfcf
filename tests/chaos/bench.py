"""What the measurements share: a site under load, orders by the SDK and starts at a steady rate."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.client import Client

from tests.chaos.lamps import Lamps
from tests.chaos.layout import Counts, Site, site_of
from tests.chaos.machine import Machine
from tests.chaos.pulse import Phase, Pulse, quantile
from tests.chaos.saying import say
from tests.chaos.shards import Shards, shards_of
from tests.chaos.shop import Shop, quiet
from tests.e2e.balancer import Balancer

_LAMPS = 32
# "Under half of the capacity": a crowded machine measures its own queues. What befalls the site needs the other half.
_BUSY_MAX = 0.5


@dataclass(slots=True)
class Bench:
    """A site under load. `phases`: what was measured; `wrong`: what must not be."""

    site: Site
    shards: Shards
    lamps: Lamps
    pulse: Pulse
    shop: Shop
    phases: list[Phase] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    machine: Machine = field(default_factory=Machine)

    def phase(self, name: str) -> None:
        """Go on to the next phase; the one before is over."""
        former, busy = self.pulse.next_phase(name), self.machine.look()
        self.phases.append(former)
        say(f"{former.name}: {former.line()}; machine {busy:.0%} busy")
        if len(self.phases) == 1 and busy > _BUSY_MAX:
            self.wrong.append(f"{former.name}: the machine is {busy:.0%} busy: no half of its capacity; lower --rate")

    async def finish(self) -> None:
        """End the load, and find what it says is wrong."""
        self.phase("the end")
        await self.pulse.settled()
        self.shop.end()

    def compare(self, times_max: float) -> None:
        """How long starts took in each phase, beside the first one: p99 may be so many times that."""
        quiet_s = quantile(self.phases[0].took, 0.99)
        for phase in self.phases[1:]:
            times = quantile(phase.took, 0.99) / quiet_s
            say(f"{phase.name}: p99 is {times:.1f} times the quiet one")
            if times > times_max:
                self.wrong.append(f"{phase.name}: p99 is {times:.1f} times the quiet one")

    async def judge(self) -> None:
        """When the load is over."""
        self.wrong += await self.pulse.wrong(self.site.processes.frontends[0])
        self.wrong += self.shop.missing()
        self.wrong += await self.shop.check()
        say(f"tasks that no worker answered in time: {dict(self.shop.unanswered())}")
        for code, text in self.shop.told.items():
            self.wrong.append(f"the SDK gave up on {self.shop.errors[code]} calls with {code}: {text}")
        for phase in self.phases:
            for code, text in phase.told.items():
                if code != "UNAVAILABLE":
                    self.wrong.append(f"{phase.name}: {phase.codes[code]} starts failed with {code}: {text}")


@asynccontextmanager
async def bench_of(folder: Path, counts: Counts, rate: float, load: int) -> AsyncIterator[Bench]:
    """A site that serves, under load."""
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(site_of(folder, counts))
        frontends = site.processes.frontends
        lamps = Lamps(frontends, _LAMPS)
        stack.push_async_callback(lamps.close)
        await lamps.light()
        shards = await stack.enter_async_context(shards_of(site))
        # As where a load balancer is in front of them: who is restarted isn't connected to meanwhile.
        front = await stack.enter_async_context(Balancer(frontends).serving())
        shop = Shop([await Client.connect(front) for _ in frontends], 1, load)
        selling = asyncio.create_task(shop.run())
        try:
            async with Pulse([front] * len(frontends), rate) as pulse:
                bench = Bench(site, shards, lamps, pulse, shop)
                yield bench
                await bench.finish()
            await asyncio.wait([selling], timeout=90)
            await bench.judge()
        finally:
            selling.cancel()
            await asyncio.gather(selling, return_exceptions=True)


def measure(work: Callable[[Bench, argparse.Namespace], Awaitable[None]], parser: argparse.ArgumentParser) -> None:
    """The command line of a measurement; exit code 1 if something is wrong."""
    parser.add_argument("--rate", type=float, default=5.0, help="starts a second")
    parser.add_argument("--load", type=int, default=1, help="so many orders at a time")
    parser.add_argument("--quiet", type=float, default=20.0, help="seconds before anything happens")
    given = parser.parse_args()
    quiet()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))

    async def go() -> list[str]:
        async with bench_of(folder, Counts(), given.rate, given.load) as bench:
            await work(bench, given)
        say(f"the SDK's calls: {dict(bench.shop.done)}, given up: {dict(bench.shop.errors)}")
        return bench.wrong

    try:
        wrong = asyncio.run(go())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write("\n".join([f"{len(wrong)} findings", *wrong]) + "\n")
    raise SystemExit(bool(wrong))
