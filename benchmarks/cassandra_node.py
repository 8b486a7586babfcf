"""A Cassandra node that is measured, and what the kernel and its own virtual tables say of it.

It runs as in production: the better compiler, G1, and by default a commit log that is synced before each answer. Counts
are since the node's start; who measures takes differences.
"""

import importlib
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.servers import TICKS, Server
from tests.cassandra.addresses import CQL_PORT, free_addresses
from tests.cassandra.jars import fetched, java
from tests.cassandra.node import INSIDES, CassandraNode, NodeOptions

_KEYSPACE = "perdure_bench_node"
_ONE_COPY = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
_CALIBRATIONS = 50
# Threads that serve all stages of requests, and are called by what they did last.
_SHARED = re.compile("Stage|Sta$|Native-Transpor|SharedPool|RequestRespons")
_TOOL_SECONDS = 120


@dataclass(frozen=True)
class Counts:
    """What a node has done. `conditional`: conditional writes and serial reads, by the rows of system.paxos that they
    leave; `tables`: (reads, writes) by keyspace.table, a conditional write being one of each.
    """

    statements: float
    conditional: float
    tables: dict[str, tuple[int, int]]

    def since(self, before: "Counts") -> "Counts":
        """What was done after `before`."""
        tables = {
            name: (reads - before.tables.get(name, (0, 0))[0], writes - before.tables.get(name, (0, 0))[1])
            for name, (reads, writes) in self.tables.items()
        }
        return Counts(
            self.statements - before.statements,
            self.conditional - before.conditional,
            {name: counts for name, counts in tables.items() if any(counts)},
        )


class MeasuredNode:
    """A running node."""

    def __init__(self, node: CassandraNode) -> None:
        self._node = node
        self.host = node.options.address
        self.server = Server("Cassandra", node.address, node.pid)
        self._cluster: Any = importlib.import_module("cassandra.cluster").Cluster([self.host], port=CQL_PORT)
        self._session = self._cluster.connect()
        self._paxos_rows = 1.0

    def close(self) -> None:
        """End the connection."""
        self._cluster.shutdown()

    def ask(self, cql: str) -> list[Any]:
        """The rows of a statement."""
        return list(self._session.execute(cql, timeout=60))

    def calibrate(self) -> None:
        """Find out how many rows of system.paxos a conditional write leaves under this node's Paxos variant."""
        self.ask(f"CREATE KEYSPACE IF NOT EXISTS {_KEYSPACE} WITH replication = {_ONE_COPY}")
        self.ask(f"CREATE TABLE IF NOT EXISTS {_KEYSPACE}.one (id text PRIMARY KEY, n int)")
        self.ask(f"INSERT INTO {_KEYSPACE}.one (id, n) VALUES ('a', 0) IF NOT EXISTS")
        before = self.counts().conditional
        for n in range(_CALIBRATIONS):
            self.ask(f"UPDATE {_KEYSPACE}.one SET n = {n + 1} WHERE id = 'a' IF n = {n}")
        self._paxos_rows = (self.counts().conditional - before) / _CALIBRATIONS
        self.ask(f"DROP KEYSPACE {_KEYSPACE}")

    def counts(self) -> Counts:
        """What it has done since its start."""
        cql = {row.name: row.value for row in self.ask("SELECT name, value FROM system_views.cql_metrics")}
        tables: dict[str, tuple[int, int]] = {}
        for at, view in enumerate(("local_read_latency", "local_write_latency")):
            for row in self.ask(f"SELECT keyspace_name, table_name, count FROM system_views.{view}"):
                name = f"{row.keyspace_name}.{row.table_name}"
                seen = tables.get(name, (0, 0))
                tables[name] = (row.count, seen[1]) if at == 0 else (seen[0], row.count)
        return Counts(
            cql["prepared_statements_executed"] + cql["regular_statements_executed"],
            tables.get("system.paxos", (0, 0))[1] / self._paxos_rows,
            tables,
        )

    def threads(self) -> dict[str, float]:
        """CPU seconds by kind of thread, those that have ended left out."""
        used: dict[str, float] = {}
        for task in Path(f"/proc/{self.server.pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
                fields, kind = rest.split(), re.sub(r"[-#: ]*\d*$", "", name)
                kind = "requests" if _SHARED.search(kind) else kind
                used[kind] = used.get(kind, 0.0) + (int(fields[11]) + int(fields[12])) / TICKS
        return used

    def tool(self, *arguments: str) -> str:
        """What nodetool says."""
        port = str(self._node.options.jmx_port)
        command = [java(), *INSIDES, "-cp", f"{fetched()}/*", f"-Duser.home={self._node.folder}"]
        command += ["org.apache.cassandra.tools.NodeTool", "-h", "127.0.0.1", "-p", port, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TOOL_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"nodetool {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def version(self) -> str:
        """Its release."""
        return str(self.ask("SELECT release_version FROM system.local")[0].release_version)

    def settings(self) -> str:
        """What decides its speed, in a line."""
        found = {row.name: row.value for row in self.ask("SELECT name, value FROM system_views.settings")}
        names = ("commitlog_sync", "paxos_variant")
        return ", ".join(f"{name} {found[name]}" for name in names) + f", heap {self._node.options.heap_mb} MB"

    def data_bytes(self, keyspace: str, table: str) -> int:
        """The size of a table's files on disk, of dropped generations of it too."""
        folders = (self._node.folder / "data" / keyspace).glob(f"{table}-*")
        return sum(file.stat().st_size for folder in folders for file in folder.rglob("*.db"))


@contextmanager
def measured_node(
    sync: str = "batch", paxos: str = "v2", heap_mb: int = 1024, **more: object
) -> Iterator[MeasuredNode]:
    """Start a node on an address of its own and a fresh folder, and kill it afterwards. `more`: of cassandra.yaml.
    Raises CassandraMissing.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        jmx_port = int(probe.getsockname()[1])
    options = NodeOptions(
        address=free_addresses(1)[0],
        sync=sync,
        paxos=paxos,
        heap_mb=heap_mb,
        is_measured=True,
        jmx_port=jmx_port,
        more=tuple(more.items()),
    )
    with tempfile.TemporaryDirectory() as folder:
        node = CassandraNode(Path(folder), options)
        try:
            node.start()
            measured = MeasuredNode(node)
            try:
                measured.calibrate()
                yield measured
            finally:
                measured.close()
        finally:
            node.discard()


def table_of_threads(used: dict[str, float], workflows: int, least_ms: float = 0.05) -> str:
    """CPU ms a workflow by kind of thread, the busiest first. C1 and C2 compile, G1 collects."""
    lines = ["| kind of thread | CPU ms a workflow |", "|---|---|"]
    ordered = sorted(used.items(), key=lambda item: -item[1])
    lines += [f"| {name} | {s / workflows * 1e3:.2f} |" for name, s in ordered if s / workflows * 1e3 >= least_ms]
    return "\n".join(lines)


def table_of(counts: Counts, workflows: int, least: float = 0.01) -> str:
    """Reads and writes a workflow by table, the busiest first."""
    rows = sorted(counts.tables.items(), key=lambda item: -sum(item[1]))
    lines = ["| table | reads a workflow | writes a workflow |", "|---|---|---|"]
    lines += [
        f"| {re.sub('^perdure[^.]*[.]', '', name)} | {reads / workflows:.2f} | {writes / workflows:.2f} |"
        for name, (reads, writes) in rows
        if (reads + writes) / workflows >= least
    ]
    return "\n".join(lines)
