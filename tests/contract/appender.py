"""A process with a SQLite store: appends groups as it is told, and prints what became of each. Run by the tests, and
killed."""

import asyncio
import sys

from perdure.base.clock import SystemClock
from perdure.base.errors import PerdureError
from perdure.store.contract import Group, SegmentHeader, SegmentId
from perdure.store.sqlite import SqliteStore

SEGMENT = SegmentId("shard", 1, 0)


def say(*words: object) -> None:
    """One line to whoever started this process."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def body_of(n: int) -> bytes:
    return b"%d," % n * 200


async def _append(store: SqliteStore, n: int) -> str:
    try:
        written = await store.log.append(SEGMENT, 1, Group(n, body_of(n), n))
    except PerdureError as error:
        return f"{type(error).__name__} {error}"
    return "applied" if written.applied else f"not applied, last {written.header and written.header.last}"


async def _read(store: SqliteStore, what: str) -> str:
    try:
        if what == "header":
            header = await store.log.read_header(SEGMENT)
            return f"last {header and header.last}"
        return f"groups {len(await store.log.read_groups(SEGMENT, 0, 1 << 20))}"
    except PerdureError as error:
        return type(error).__name__


async def _obey(store: SqliteStore) -> None:
    """One line of input, one line of output: `append N`, `header` or `groups`."""
    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        say(await (_append(store, int(line[1])) if line[0] == "append" else _read(store, line[0])))


async def _run_on(store: SqliteStore) -> None:
    """Append for ever, several segments at once, and print each number once it is acknowledged."""
    segments = [SegmentId(f"shard-{at}", 1, 0) for at in range(4)]

    async def fill(segment: SegmentId) -> None:
        await store.log.open_segment(segment, SegmentHeader(1, 0, 0))
        n = 1
        while (await store.log.append(segment, 1, Group(n, body_of(n), n))).applied:
            say(segment.shard, n)
            n += 1

    await asyncio.gather(*map(fill, segments))


async def main(path: str, how: str) -> None:
    store = await SqliteStore.open(path, clock=SystemClock())
    await store.log.open_segment(SEGMENT, SegmentHeader(1, 0, 0))
    say("ready")
    await (_run_on(store) if how == "on" else _obey(store))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
