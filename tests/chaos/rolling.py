"""Rolling restarts of each role under load: `python -m tests.chaos.rolling --times 20`.

What clients notice: a client without retries by the codes it sees, one by the SDK by what it gives up on, and starts
by how long they take, beside those before.
"""

import argparse

from tests.chaos.bench import Bench, measure
from tests.chaos.nemesis import restarted
from tests.chaos.saying import say
from tests.e2e.clusters import passes

_P99_TIMES = 5


async def roll(bench: Bench, given: argparse.Namespace) -> None:
    """Every process of each role, one after the other, so many times."""
    await passes(given.quiet)
    for role in ("frontend", "history", "matching"):
        bench.phase(f"{given.times} rolling restarts of each {role}")
        for number in range(given.times):
            for process in bench.site.of(role):
                await restarted(process)
            say(f"{role}: restart {number + 1}: {bench.pulse.phase.line()}")
        if not await bench.shards.whole(30):
            bench.wrong.append("not every slot has one shard")
    bench.phase("after")
    bench.compare(_P99_TIMES)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.rolling", description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    measure(roll, parser)


if __name__ == "__main__":
    main()
