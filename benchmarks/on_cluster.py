"""One-activity workflows on roles in processes of their own, on Cassandra: `python -m benchmarks.on_cluster`.

The same node, machine and load for every layout, one after another: all roles in one process, one process each, and
more history processes. Every figure is of the whole machine, which driver, node and servers share: rates say little
where there are more processes than cores, CPU per workflow says what a layout costs.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
import yaml

from benchmarks.calls import Calls
from benchmarks.cassandra_node import MeasuredNode, measured_node
from benchmarks.on_cassandra import KEYSPACE
from benchmarks.one_activity import Load
from benchmarks.report import machine
from benchmarks.servers import Server

RESULTS = Path(__file__).with_name("cluster.md")
ALL = "all"
ROLES = ("frontend", "history", "matching")
_PORTS = {"frontend": 17233, "history": 17234, "matching": 17235}
_READY_S = 90.0


@dataclass(frozen=True)
class Layout:
    """So many processes of each role; all zero = one process that is everything."""

    name: str
    frontends: int = 0
    histories: int = 0
    matchings: int = 0

    def processes(self) -> list[str]:
        """The role of each process."""
        counts = zip(ROLES, (self.frontends, self.histories, self.matchings), strict=True)
        return [role for role, count in counts for _ in range(count)] or [ALL]


LAYOUTS = (
    Layout("all in one"),
    Layout("one of each role", 1, 1, 1),
    Layout("two history processes", 1, 2, 1),
    Layout("four history processes", 1, 4, 1),
)


@dataclass(frozen=True)
class Row:
    """What a layout reached. `cpu_ms`: by role, a workflow; `node_cpu_ms`: the store's."""

    layout: Layout
    in_flight: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: dict[str, float]
    node_cpu_ms: float
    rss_mb: dict[str, float]


def _configuration(node: MeasuredNode, address: str, shards: int) -> dict[str, object]:
    sections = {role: {"listen": address, "port": _PORTS[role]} for role in ROLES}
    return {
        "store": {"cassandra": {"contact_points": [node.host], "keyspace": KEYSPACE, "replication": 1}},
        **sections,
        "history": {**sections["history"], "shards": shards},
        "metrics": {"listen": address, "port": 17236},
        "log": {"level": "warn"},
        "dynamic": {"values": {"frontend.rps": 1_000_000, "frontend.namespaceRPS": 1_000_000}},
    }


@contextmanager
def running(layout: Layout, node: MeasuredNode, shards: int) -> Iterator[list[Server]]:
    """Start the processes of a layout on an empty keyspace, each on an address of its own, and end them afterwards."""
    node.ask(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = []
        for index, role in enumerate(layout.processes()):
            address = f"127.0.7.{index + 1}"
            file, log = folder / f"{index}.yaml", (folder / f"{index}.log").open("wb")
            file.write_text(yaml.safe_dump(_configuration(node, address, shards)))
            command = [sys.executable, "-m", "perdure.server.main", "server", "start", "--role", role]
            process = subprocess.Popen([*command, "--config", str(file)], env=environment, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            servers.append(Server(role, f"{address}:{_PORTS.get(role, _PORTS['frontend'])}", process.pid))
        try:
            yield servers
        except BaseException:
            for file in sorted(folder.glob("*.log")):
                sys.stderr.write(f"{file.name}: {file.read_text(errors='replace')[-1_000:]}\n")
            raise


def _frontend(servers: list[Server]) -> Server:
    return next(server for server in servers if server.name in (ALL, "frontend"))


async def _listening(servers: list[Server]) -> None:
    async with asyncio.timeout(_READY_S):
        for server in servers:
            host, _, port = server.address.rpartition(":")
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, int(port), family=socket.AF_INET)
                except OSError:
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break


async def measure(
    layout: Layout, servers: list[Server], node: MeasuredNode, in_flight: int, seconds: float, warm_s: float
) -> Row:
    """Warm up, run, and take the kernel's figures of every process."""
    await _listening(servers)
    calls = await Calls.connect(_frontend(servers).address)
    load = Load(calls, in_flight)
    await load.run(warm_s)
    before, node_before = [server.cpu_seconds() for server in servers], node.server.cpu_seconds()
    taken = await load.run(seconds)
    used, node_used = [server.cpu_seconds() for server in servers], node.server.cpu_seconds() - node_before
    await load.stop()
    calls.close()
    done = sorted(load.latencies)
    cpu: dict[str, float] = {}
    rss: dict[str, float] = {}
    for server, start, end in zip(servers, before, used, strict=True):
        cpu[server.name] = cpu.get(server.name, 0.0) + (end - start) / len(done) * 1e3
        rss[server.name] = max(rss.get(server.name, 0.0), server.rss_mb())
    return Row(
        layout,
        in_flight,
        len(done) / taken,
        done[len(done) // 2] * 1e3,
        done[len(done) * 99 // 100] * 1e3,
        cpu,
        node_used / len(done) * 1e3,
        rss,
    )


def table(rows: list[Row]) -> str:
    """The rows; `tax`: CPU of all servers beside that of one process for everything, at the same number in flight."""
    head = "| in flight | layout | workflows/s | p50 ms | p99 ms | frontend ms | history ms | matching ms | "
    head += "all servers ms | tax | Cassandra ms | largest RSS MB |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|---|---|---|"]
    whole = {row.in_flight: sum(row.cpu_ms.values()) for row in rows if not row.layout.frontends}
    for row in rows:
        total = sum(row.cpu_ms.values())
        parts = " | ".join(f"{row.cpu_ms[role]:.2f}" if role in row.cpu_ms else "" for role in ROLES)
        tax = f"{total / whole[row.in_flight] - 1:+.0%}" if row.layout.frontends and row.in_flight in whole else ""
        lines.append(
            f"| {row.in_flight} | {row.layout.name} | {row.per_second:.0f} | {row.p50_ms:.1f} | {row.p99_ms:.1f} "
            f"| {parts} | {total:.2f} | {tax} | {row.node_cpu_ms:.2f} | {max(row.rss_mb.values()):.0f} |"
        )
    return "\n".join(lines)


def measured(arguments: argparse.Namespace) -> str:
    """Everything, as text."""
    rows: list[Row] = []
    with measured_node() as node:
        for layout in LAYOUTS:
            if arguments.layout and layout.name not in arguments.layout:
                continue
            with running(layout, node, arguments.shards) as servers:
                warm_s = arguments.warm_seconds
                for in_flight in sorted(arguments.in_flight, reverse=True):
                    row = uvloop.run(measure(layout, servers, node, in_flight, arguments.seconds, warm_s))
                    sys.stderr.write(f"{table([row]).splitlines()[-1]}\n")
                    rows.append(row)
                    warm_s = min(2.0, warm_s)
        about = f"Cassandra {node.version()}, one node, {node.settings()}"
    text = (
        f"One run of `make bench-cluster`, {arguments.seconds:.0f} s a case, {arguments.shards} shards; driver, "
        f"servers and node on the same machine: {machine()}. {about}. CPU in ms per workflow, by role over all of its "
        "processes."
    )
    rows.sort(key=lambda row: row.in_flight)
    return "\n\n".join(["# Roles in processes of their own", text, table(rows)])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_cluster")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-seconds", type=float, default=15.0, help="before the first case of each layout")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--layout", nargs="+", choices=[layout.name for layout in LAYOUTS])
    parser.add_argument("--write", action="store_true", help="keep the table as benchmarks/cluster.md")
    arguments = parser.parse_args()
    text = measured(arguments) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
