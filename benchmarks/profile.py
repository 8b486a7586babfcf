"""Where the CPU of a one-activity workflow goes: `python -m benchmarks.profile [--in-flight 50]`.

With a store in memory, in a file (`--file`), or on a node of Cassandra that it starts (`--cassandra`).
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from benchmarks.calls import Calls
from benchmarks.cassandra_node import measured_node
from benchmarks.on_cassandra import running_perdure
from benchmarks.one_activity import Load
from benchmarks.servers import FILE, MEMORY, Server, running

_PLACES = 40


async def sampled(
    server: Server, found: Path, in_flight: int, seconds: float, warm_s: float
) -> tuple[int, float, dict[str, Any]]:
    """How many workflows, the server's CPU seconds, and the samples."""
    calls = await Calls.connect(server.address)
    load = Load(calls, in_flight)
    await load.run(warm_s)
    os.kill(server.pid, signal.SIGUSR1)
    cpu = server.cpu_seconds()
    await load.run(seconds)
    cpu = server.cpu_seconds() - cpu
    os.kill(server.pid, signal.SIGUSR2)
    await calls.call("GetSystemInfo", b"")  # the loop turns, and sees the signal
    await load.stop()
    calls.close()
    return len(load.latencies), cpu, await asyncio.to_thread(_read, found)


def _read(found: Path) -> dict[str, Any]:
    while not found.exists():
        time.sleep(0.1)
    samples: dict[str, Any] = json.loads(found.read_text())
    return samples


def table(title: str, seconds: dict[str, float], workflows: int, most: int = 100) -> str:
    """Milliseconds per workflow, largest first, and percentages of the sum."""
    whole = sum(seconds.values()) or 1.0
    rows = sorted(seconds.items(), key=lambda item: -item[1])[:most]
    lines = [f"| {title} | ms a workflow | % |", "|---|---|---|"]
    lines += [f"| {name} | {used / workflows * 1e3:.3f} | {used / whole * 100:.1f} |" for name, used in rows]
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile")
    parser.add_argument("--in-flight", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--file", action="store_true", help="with a database file")
    parser.add_argument("--cassandra", action="store_true", help="with a node of Cassandra, which it starts")
    arguments = parser.parse_args()
    warm_s = 15.0 if arguments.cassandra else 2.0  # a node that has just started is slow
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "samples.json"
        entry = ("benchmarks.sampling", str(found))
        with ExitStack() as stack:
            if arguments.cassandra:
                server = stack.enter_context(running_perdure(stack.enter_context(measured_node()), entry=entry))
            else:
                server = stack.enter_context(running(FILE if arguments.file else MEMORY, entry))
            workflows, cpu, samples = uvloop.run(sampled(server, found, arguments.in_flight, arguments.seconds, warm_s))
    parts = [
        f"{workflows} workflows, {arguments.in_flight} in flight, {cpu / workflows * 1e3:.2f} ms of CPU each",
        table("thread", samples["threads"], workflows),
        table("room (main thread)", samples["rooms"], workflows),
        table("call (main thread)", samples["calls"], workflows),
        table("function (main thread)", samples["places"], workflows, _PLACES),
    ]
    sys.stdout.write("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
