"""Run generated cases on both servers: `python -m tests.conformance.generated.run --cases 2000 --seed 1`.

Without addresses both servers are started for the run, anew after so many cases, for the reference gets slower the more
it has seen. What differs is shrunk (unless `--no-shrink`) and printed with
its plan, which `--plan` runs again. At the end a table shows what was done in which state, as the reference saw it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

from tests.conformance.generated.case import WEIGHTS
from tests.conformance.generated.comparing import AT_ONCE, Comparing, Seen, Verdict
from tests.conformance.generated.plan import Plan, drawn, read, written
from tests.conformance.harness.rpc import Client
from tests.conformance.harness.servers import perdure_command, prepare, reference_command, running

# Servers see so many cases.
_FRESH_AFTER = 400
# Pairs of servers beside one another: while one waits for the last of its cases, another has something to do.
_LANES = 2
# So many kinds of differences are shrunk and shown.
_KINDS_MAX = 8


def arguments() -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(prog="tests.conformance.generated.run", description=__doc__)
    parser.add_argument("--cases", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same cases")
    parser.add_argument("--plan", help="one plan, as it is printed, instead of drawn ones; prints its transcript")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="how many at a time")
    parser.add_argument("--seconds", type=float, default=0, help="begin no case after this time")
    parser.add_argument("--fresh-after", type=int, default=_FRESH_AFTER, help="new servers after so many cases")
    parser.add_argument("--reference-address", help="host:port of a reference server that runs already")
    parser.add_argument("--perdure-address", help="host:port of a Perdure that runs already")
    parser.add_argument("--no-shrink", action="store_true", help="print differing plans as they were drawn")
    parser.add_argument("--write", type=Path, help="a folder for differences and for what was unstable or stopped")
    return parser.parse_args()


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(seen: Counter[tuple[str, str]]) -> str:
    """What was done, in which states, how often."""
    kinds: dict[str, list[str]] = {}
    for (what, state), count in sorted(seen.items()):
        kinds.setdefault(what, []).append(f"{state} {count}")
    return "\n".join(f"  {what:42} {', '.join(states)}" for what, states in kinds.items())


def _report(verdicts: list[Verdict]) -> None:
    stopped = Counter(verdict.stopped for verdict in verdicts if verdict.stopped)
    for why, count in stopped.most_common():
        say(f"  {count} stopped on the reference: {why}")
    unstable = Counter(verdict.unstable for verdict in verdicts if verdict.unstable)
    for who, count in unstable.items():
        say(f"  {count} not the same twice on {who}")


def _write(verdict: Verdict, at: int, given: argparse.Namespace) -> None:
    """Keep a verdict that says more than that both are equal."""
    if not given.write or not (verdict.stopped or verdict.difference or verdict.unstable):
        return
    given.write.mkdir(parents=True, exist_ok=True)
    kind = "differs" if verdict.difference else "unstable" if verdict.unstable else "stopped"
    text = f"{written(verdict.plan)}\n\n{verdict.difference}\n\n{verdict.reference}"
    (given.write / f"{kind}-{given.seed}-{at}.txt").write_text(text)


@contextlib.asynccontextmanager
async def _comparing(given: argparse.Namespace, at_once: int) -> AsyncIterator[Comparing]:
    """Both servers, those of the command line or new ones."""
    async with contextlib.AsyncExitStack() as stack:
        addresses = [given.reference_address, given.perdure_address]
        for at, (name, command) in enumerate((("reference", reference_command), ("perdure", perdure_command))):
            if addresses[at] is None:
                addresses[at] = (await stack.enter_async_context(running(name, command()))).address
        clients = [Client(address) for address in addresses]
        for client in clients:
            stack.push_async_callback(client.close)
            await prepare(client)
        yield Comparing(clients[0], clients[1], at_once=max(1, at_once))


async def _judged(listed: list[Plan], given: argparse.Namespace, seen: Seen) -> list[Verdict]:
    """The verdicts of the plans, as many as there is time for; `seen` counts what was done."""
    begun = time.monotonic()
    verdicts: list[Verdict] = []

    def told(verdict: Verdict) -> None:
        _write(verdict, len(verdicts), given)
        verdicts.append(verdict)
        if len(verdicts) % 50 == 0:
            differing = sum(1 for one in verdicts if one.difference)
            say(f"{len(verdicts)} cases in {time.monotonic() - begun:.0f} s, {differing} differ")

    async def lane(plans: list[Plan]) -> None:
        for first in range(0, len(plans), given.fresh_after):
            async with _comparing(given, given.at_once // _LANES) as comparing:
                try:
                    await comparing.all(plans[first : first + given.fresh_after], told)
                finally:
                    seen.update(comparing.seen)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(given.seconds or None):
            await asyncio.gather(*(lane(listed[at::_LANES]) for at in range(_LANES)))
    say(f"seed {given.seed}: {len(verdicts)} of {len(listed)} cases in {time.monotonic() - begun:.0f} s")
    return verdicts


async def compare(listed: list[Plan], given: argparse.Namespace) -> int:
    """Run the plans, shrink and print what differs; how many differ."""
    seen: Seen = Counter()
    verdicts = await _judged(listed, given, seen)
    differing = [verdict for verdict in verdicts if verdict.difference]
    _report(verdicts)
    say(table(seen))
    kinds: dict[str, list[Verdict]] = {}
    for verdict in differing:
        kinds.setdefault(verdict.kind, []).append(verdict)
    if differing:
        async with _comparing(given, given.at_once) as comparing:
            for alike in sorted(kinds.values(), key=len, reverse=True)[:_KINDS_MAX]:
                one = min(alike, key=lambda verdict: (verdict.unstable, len(verdict.plan)))
                small = one if given.no_shrink or one.unstable else await comparing.shrunk(one)
                say(f"\n=== {len(alike)} differ like this one: --plan '{written(small.plan)}'")
                say(f"{'(now and then)' if one.unstable else ''}\n{small.difference}")
    say(f"{len(differing)} of {len(verdicts)} cases differ")
    return len(differing)


async def main(given: argparse.Namespace) -> int:
    """Run what the command line asks for; how many cases differ."""
    if not given.plan:
        return await compare(drawn(WEIGHTS, given.cases, given.seed), given)
    async with _comparing(given, given.at_once) as comparing:
        verdict = await comparing.verdict(read(given.plan))
        say(f"{verdict.reference}\n{verdict.difference or 'equal'}\nunstable: {verdict.unstable or 'no'}")
        return int(bool(verdict.difference))


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main(arguments())) else 0)
