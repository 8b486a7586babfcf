"""Shards split and merged back under load, 16 to 64 to 16: `python -m tests.chaos.reshape`.

No call may fail but with UNAVAILABLE, nor be lost or done twice; starts take how long, beside those before?
"""

import argparse

from tests.chaos.bench import Bench, measure
from tests.chaos.saying import say
from tests.e2e.clusters import passes

_PARTS = 4
_P99_TIMES = 2


async def reshape(bench: Bench, given: argparse.Namespace) -> None:
    """Split each, wait, merge the parts."""
    await passes(given.quiet)
    begun = len(await bench.shards.ranges())
    bench.phase("split")
    for shard in sorted(await bench.shards.ranges()):
        if not await bench.shards.split(shard, _PARTS):
            bench.wrong.append(f"{shard} was not split")
        await passes(given.apart)
    await _count(bench, begun * _PARTS)
    bench.phase("between")
    await passes(given.quiet)
    bench.phase("merge")
    for group in await bench.shards.groups(_PARTS):
        if not await bench.shards.merge(group):
            bench.wrong.append(f"{group} were not merged")
        await passes(given.apart)
    await bench.shards.unpin()
    await _count(bench, begun)
    bench.phase("after")
    bench.compare(_P99_TIMES)
    for phase in bench.phases[1:]:
        bench.wrong += [f"{phase.name}: {count} starts failed with {code}" for code, count in phase.codes.items()]
    say(f"refused for a while: {len(bench.shards.refused)}, such as {bench.shards.refused[:3]}")


async def _count(bench: Bench, wanted: int) -> None:
    await bench.shards.whole(30)
    found = len(await bench.shards.ranges())
    say(f"{found} shards")
    if found != wanted:
        bench.wrong.append(f"there are {found} shards, not {wanted}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.reshape", description=__doc__)
    parser.add_argument("--apart", type=float, default=2.0, help="seconds from one split or merge to the next")
    measure(reshape, parser)


if __name__ == "__main__":
    main()
