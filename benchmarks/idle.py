"""A server that has nothing to do: its memory, and its share of a core."""

import asyncio
import time
from dataclasses import dataclass

from benchmarks.calls import Calls
from benchmarks.servers import REFERENCE, Server


@dataclass(frozen=True)
class Idle:
    """Memory after the start, and the percentage of one core that idling takes."""

    server: str
    rss_mb: float
    cpu_percent: float


async def measure(server: Server, seconds: float) -> Idle:
    """Wait until the start is over, then look for `seconds`."""
    (await Calls.connect(server.address)).close()
    await asyncio.sleep(3.0)
    cpu, begun = server.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    used = (server.cpu_seconds() - cpu) / (time.perf_counter() - begun)
    return Idle(server.name, server.rss_mb(), used * 100)


def table(rows: list[Idle]) -> str:
    """The rows as a table."""
    lines = ["| server | RSS MB | CPU % of a core | RSS ratio |", "|---|---|---|---|"]
    there = next((row for row in rows if row.server == REFERENCE), None)
    for row in rows:
        ratio = f"{there.rss_mb / row.rss_mb:.1f}" if there is not None and there is not row else ""
        lines.append(f"| {row.server} | {row.rss_mb:.0f} | {row.cpu_percent:.2f} | {ratio} |")
    return "\n".join(lines)
