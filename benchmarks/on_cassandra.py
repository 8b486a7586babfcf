"""One-activity workflows on Cassandra, one node: `python -m benchmarks.on_cassandra [--reference-cassandra FOLDER]`.

Driver, servers and node share the machine, so every figure is of all three. Each server runs alone on a keyspace of its
own in the same node, is warmed up, and then measured at each number in flight. Without FOLDER (what it holds:
benchmarks/reference_cassandra.py) the reference's figures are those kept of another run, and marked so.
"""

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from benchmarks.calls import Calls
from benchmarks.cassandra_node import Counts, MeasuredNode, measured_node, table_of, table_of_threads
from benchmarks.one_activity import Load
from benchmarks.reference_cassandra import running_reference
from benchmarks.report import Figures, figures, machine
from benchmarks.servers import ENTRY, Server, perdure, started

RESULTS = Path(__file__).with_name("cassandra.md")
KEYSPACE = "perdure_bench"
_KEPT = """Kept figures, of another run on a machine of the same size (reference 1.32.1, Cassandra 5.0.6, 64 shards, \
commit log synced periodically, Paxos v1):

| in flight | server | workflows/s | p50 ms | p99 ms | server CPU ms | Cassandra CPU ms |
|---|---|---|---|---|---|---|
| 1 | reference 1.32.1, kept | 11 | 85 | 233 | 42 | 82 |
| 10 | reference 1.32.1, kept | 22 | 416 | 972 | 28 | 41 |
| 50 | reference 1.32.1, kept | 24 | 1697 | 5334 | 30 | 33 |"""


@dataclass(frozen=True)
class Row:
    """What a server reached, and what the node did for it meanwhile; `node_cpu_ms` a workflow."""

    figures: Figures
    workflows: int
    node_cpu_ms: float
    counts: Counts
    threads: dict[str, float]


@contextmanager
def running_perdure(
    node: MeasuredNode, *more: str, entry: Sequence[str] = ENTRY, fresh: bool = True
) -> Iterator[Server]:
    """Start Perdure on `node`, with `more` options, and kill it afterwards. `fresh`: on an empty keyspace."""
    if fresh:
        node.ask(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    store = f"cassandra://{node.server.address}/{KEYSPACE}"
    with started("perdure", lambda port, _: [*perdure(port, entry), "--store", store, *more]) as server:
        yield server


async def measure(server: Server, node: MeasuredNode, in_flight: int, seconds: float, warm_s: float) -> Row:
    """Warm up, run, and take the kernel's and the node's figures."""
    calls = await Calls.connect(server.address)
    load = Load(calls, in_flight)
    await load.run(warm_s)
    counts, threads = await asyncio.to_thread(node.counts), node.threads()
    cpu, node_cpu = server.cpu_seconds(), node.server.cpu_seconds()
    taken = await load.run(seconds)
    cpu, node_cpu = server.cpu_seconds() - cpu, node.server.cpu_seconds() - node_cpu
    counts = (await asyncio.to_thread(node.counts)).since(counts)
    await load.stop()
    calls.close()
    done = len(load.latencies)
    found = figures(server, str(in_flight), load.latencies, taken, cpu)
    used = {kind: seconds - threads.get(kind, 0.0) for kind, seconds in node.threads().items()}
    return Row(found, done, node_cpu / done * 1e3, counts, used)


def table(rows: list[Row]) -> str:
    """The rows, those of the same number in flight together."""
    head = "| in flight | server | workflows/s | p50 ms | p99 ms | server CPU ms | Cassandra CPU ms | "
    lines = [head + "conditional writes | statements | RSS MB |", "|---|---|---|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: int(row.figures.case)):
        of = row.figures
        lines.append(
            f"| {of.case} | {of.server} | {of.per_second:.0f} | {of.p50_ms:.1f} | {of.p99_ms:.1f} | {of.cpu_ms:.2f} "
            f"| {row.node_cpu_ms:.2f} | {row.counts.conditional / row.workflows:.2f} "
            f"| {row.counts.statements / row.workflows:.2f} | {of.rss_mb:.0f} |"
        )
    return "\n".join(lines)


def _rows(server: Server, node: MeasuredNode, arguments: argparse.Namespace) -> list[Row]:
    rows = []
    warm_s = arguments.warm_seconds
    for in_flight in sorted(arguments.in_flight, reverse=True):  # the warmest first: most workflows in least time
        rows.append(uvloop.run(measure(server, node, in_flight, arguments.seconds, warm_s)))
        sys.stderr.write(f"{rows[-1].figures} Cassandra {rows[-1].node_cpu_ms:.2f} ms\n")
        warm_s = min(2.0, warm_s)
    return rows


def measured(arguments: argparse.Namespace) -> str:
    """Everything, as text."""
    with ExitStack() as stack:
        node = stack.enter_context(measured_node(arguments.sync, arguments.paxos, arguments.heap_mb))
        rows: list[Row] = []
        if arguments.reference_cassandra is not None:
            with running_reference(arguments.reference_cassandra, node) as server:
                rows += _rows(server, node, arguments)
        with running_perdure(node) as server:
            ours = _rows(server, node, arguments)
        about = f"Cassandra {node.version()}, one node, {node.settings()}"
    text = (
        f"One run of `make bench-cassandra`, {arguments.seconds:.0f} s a case; driver, server and node on the same "
        f"machine: {machine()}. {about}. CPU, conditional writes and statements are per workflow; warm-up and the "
        "server's start are left out."
    )
    parts = ["# Measured on Cassandra", text, table(rows + ours)]
    if not rows:
        parts.append(_KEPT)
    for row in ours:
        parts.append(f"## What Perdure reads and writes, {row.figures.case} in flight")
        parts += [table_of(row.counts, row.workflows), table_of_threads(row.threads, row.workflows)]
    return "\n\n".join(parts)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_cassandra")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-seconds", type=float, default=15.0, help="before the first case of each server")
    parser.add_argument("--sync", choices=("batch", "periodic"), default="batch", help="the node's commit log")
    parser.add_argument("--paxos", choices=("v1", "v2"), default="v2")
    parser.add_argument("--heap-mb", type=int, default=1024)
    parser.add_argument("--reference-cassandra", type=Path, metavar="FOLDER", help="with the reference's programs")
    parser.add_argument("--write", action="store_true", help="keep the tables as benchmarks/cassandra.md")
    arguments = parser.parse_args()
    text = measured(arguments) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
