"""How long a history's shards don't answer when it is killed with -9, and when it is stopped short: `python -m
tests.chaos.takeover --times 5`. Of a stopped one nothing comes back, neither a reset nor an answer, as of a black hole.
"""

import argparse
import signal

from tests.chaos.bench import Bench, measure
from tests.chaos.nemesis import restarted
from tests.chaos.saying import say
from tests.e2e.clusters import passes

_KILLED_S = 10.0
_SILENT_S = 20.0
_WATCHED_S = 60.0


async def take_over(bench: Bench, given: argparse.Namespace) -> None:
    """Each in turn, with a rest between."""
    await passes(given.quiet)
    histories = bench.site.of("history")
    for number in range(given.times):
        process = histories[number % len(histories)]
        bench.phase(f"kill {number + 1}")
        await process.kill()
        await _watch(bench, "kill -9", _KILLED_S)
        await process.start()
        await process.serves()
        await bench.shards.whole(30)
        await passes(5)
        bench.phase(f"stop {number + 1}")
        process.send(signal.SIGSTOP)
        await _watch(bench, "SIGSTOP", _SILENT_S)
        process.send(signal.SIGCONT)
        await process.serves()
        await restarted(process)
        await bench.shards.whole(30)
        await passes(5)


async def _watch(bench: Bench, what: str, limit_s: float) -> None:
    took, dark = await bench.lamps.all_shine(_WATCHED_S)
    say(f"{what}: all shards answer after {took:.1f} s" + "".join(f"\n  {each}" for each in dark))
    bench.wrong += dark
    if took > limit_s:
        bench.wrong.append(f"{what}: the last shard answered after {took:.1f} s, the limit is {limit_s:.0f} s")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.takeover", description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    measure(take_over, parser)


if __name__ == "__main__":
    main()
