"""Cassandra's clients for Python beside one another: `python -m benchmarks.drivers [--acsylla PYTHON]`.

Each way to speak to a node does the same two loops in a process of its own: a conditional append to chains that have
one writer each, and a plain stamped write. `driver` rows are of cassandra-driver, by the reactor that reads its sockets
(`loop` is Perdure's, the others are the driver's) and by the bridge that hands its answers to the loop: `each` wakes
the loop for every answer, `many` once for all that came meanwhile. acsylla isn't a dependency: it is measured if
PYTHON, an interpreter, can import it. The ways take turns in each round, and a figure is the median of its rounds: a
node that has just started is slow. `--busy` has the loop do other work in slices of so many ms, as a server's does; a
client with threads of its own waits for Python's lock then.
"""

import argparse
import asyncio
import importlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

_KEYSPACE = "perdure_bench_drivers"
_ONE_COPY = "{'class': 'SimpleStrategy', 'replication_factor': 1}"
_CHAIN = "(id text, n int, epoch int static, last int static, body blob, PRIMARY KEY (id, n))"
_SCHEMA = (
    f"CREATE KEYSPACE IF NOT EXISTS {_KEYSPACE} WITH replication = {_ONE_COPY}",
    f"CREATE TABLE IF NOT EXISTS {_KEYSPACE}.chain {_CHAIN}",
    f"CREATE TABLE IF NOT EXISTS {_KEYSPACE}.plain (id text PRIMARY KEY, body blob)",
)
_OPEN = f"INSERT INTO {_KEYSPACE}.chain (id, epoch, last) VALUES (?, 1, 0) IF NOT EXISTS"
_APPEND = f"UPDATE {_KEYSPACE}.chain SET last = ?, body = ? WHERE id = ? AND n = ? IF epoch = ? AND last = ?"
_WRITE = f"UPDATE {_KEYSPACE}.plain USING TIMESTAMP ? SET body = ? WHERE id = ?"
_ROWS_A_CHAIN = 500
_REACTORS = {
    "libev": ("cassandra.io.libevreactor", "LibevConnection"),
    "asyncore": ("cassandra.io.asyncorereactor", "AsyncoreConnection"),
    "asyncio": ("cassandra.io.asyncioreactor", "AsyncioConnection"),
}
VARIANTS = (
    "driver loop many",
    "driver libev each",
    "driver libev many",
    "driver asyncore many",
    "driver asyncio many",
    "acsylla",
)


@dataclass(frozen=True)
class Row:
    """What one way reached with one kind of statement. Times in ms; CPU is the client's, per statement."""

    variant: str
    statement: str
    in_flight: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


class Way(Protocol):
    """One way to run statements."""

    async def open(self) -> None: ...
    async def run(self, cql: str, values: list[Any]) -> bool: ...  # whether it applied; True for plain ones
    async def close(self) -> None: ...


class Driver:
    """cassandra-driver under a reactor and a bridge."""

    def __init__(self, reactor: str, bridge: str, address: tuple[str, int]) -> None:
        self._reactor = reactor
        self._take = self._take_each if bridge == "each" else self._take_many
        self._address = address
        self._prepared: dict[str, Any] = {}
        self._answers: deque[tuple[asyncio.Future[Any], Any]] = deque()
        self._is_awake = False

    async def open(self) -> None:
        cluster = importlib.import_module("cassandra.cluster")
        policies = importlib.import_module("cassandra.policies")
        level = importlib.import_module("cassandra").ConsistencyLevel
        profile = cluster.ExecutionProfile(
            load_balancing_policy=policies.WhiteListRoundRobinPolicy([self._address[0]]),
            retry_policy=policies.FallthroughRetryPolicy(),
            consistency_level=level.LOCAL_QUORUM,
            serial_consistency_level=level.LOCAL_SERIAL,
            row_factory=importlib.import_module("cassandra.query").tuple_factory,
        )
        self._loop = asyncio.get_running_loop()
        self._cluster = cluster.Cluster(
            contact_points=[self._address[0]],
            port=self._address[1],
            connection_class=_connection_class(self._reactor),
            execution_profiles={cluster.EXEC_PROFILE_DEFAULT: profile},
            sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            protocol_version=5,
        )
        self._session = await asyncio.to_thread(self._cluster.connect)
        for cql in _SCHEMA:
            await asyncio.to_thread(self._session.execute, cql)
        for cql in (_OPEN, _APPEND, _WRITE):
            self._prepared[cql] = await asyncio.to_thread(self._session.prepare, cql)

    async def run(self, cql: str, values: list[Any]) -> bool:
        waiting: asyncio.Future[Any] = self._loop.create_future()
        answer = self._session.execute_async(self._prepared[cql], values)
        answer.add_callbacks(self._take, self._take, callback_args=(waiting,), errback_args=(waiting,))
        rows = await waiting
        if isinstance(rows, BaseException):
            raise rows
        return cql is _WRITE or bool(rows[0][0])

    async def close(self) -> None:
        await asyncio.to_thread(self._cluster.shutdown)

    def _take_each(self, rows: Any, waiting: "asyncio.Future[Any]") -> None:
        self._loop.call_soon_threadsafe(_settle, waiting, rows)

    def _take_many(self, rows: Any, waiting: "asyncio.Future[Any]") -> None:
        self._answers.append((waiting, rows))
        if not self._is_awake:
            self._is_awake = True
            self._loop.call_soon_threadsafe(self._settle_all)

    def _settle_all(self) -> None:
        self._is_awake = False  # before the last look, so that what comes from now on wakes the loop again
        while self._answers:
            _settle(*self._answers.popleft())


def _connection_class(reactor: str) -> Any:
    if reactor == "loop":
        return importlib.import_module("perdure.store.cassandra.reactor").on_this_loop()
    module, name = _REACTORS[reactor]
    return getattr(importlib.import_module(module), name)


def _settle(waiting: "asyncio.Future[Any]", rows: Any) -> None:
    if not waiting.done():
        waiting.set_result(rows)


class Acsylla:
    """acsylla, a binding of the C++ driver. It speaks the protocol's version 4."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._prepared: dict[str, Any] = {}

    async def open(self) -> None:
        acsylla = importlib.import_module("acsylla")
        level = acsylla.Consistency
        self._cluster = acsylla.create_cluster(
            [self._address[0]],
            port=self._address[1],
            consistency=level.LOCAL_QUORUM,
            serial_consistency=level.LOCAL_SERIAL,
            retry_policy="fallthrough",
            coalesce_delay_us=0,
        )
        self._session = await self._cluster.create_session()
        for cql in _SCHEMA:
            await self._session.execute(acsylla.create_statement(cql, timeout=30.0))
        for cql in (_OPEN, _APPEND, _WRITE):
            self._prepared[cql] = await self._session.create_prepared(cql)

    async def run(self, cql: str, values: list[Any]) -> bool:
        statement = self._prepared[cql].bind()
        statement.bind_list(values)
        result = await self._session.execute(statement)
        return cql is _WRITE or bool(result.first().column_value("[applied]"))

    async def close(self) -> None:
        await self._session.close()


def way(variant: str, address: tuple[str, int]) -> Way:
    """The way called `variant`, one of VARIANTS."""
    name, *rest = variant.split()
    return Driver(rest[0], rest[1], address) if name == "driver" else Acsylla(address)


async def _append(via: Way, body: bytes, done: Callable[[float], bool]) -> None:
    """Append to one chain after the other until `done`, told each latency in seconds, says so."""
    while True:
        chain = uuid.uuid4().hex
        if not await via.run(_OPEN, [chain]):
            raise RuntimeError(f"chain {chain} was there before")
        for n in range(1, _ROWS_A_CHAIN):
            begun = time.perf_counter()
            if not await via.run(_APPEND, [n, body, chain, n, 1, n - 1]):
                raise RuntimeError(f"row {n} of chain {chain} didn't apply")
            if done(time.perf_counter() - begun):
                return


async def _write(via: Way, body: bytes, done: Callable[[float], bool]) -> None:
    """Write rows until `done`, told each latency in seconds, says so."""
    while True:
        begun = time.perf_counter()
        await via.run(_WRITE, [time.time_ns() // 1000, body, uuid.uuid4().hex])
        if done(time.perf_counter() - begun):
            return


async def _loops(loop: Callable[..., Awaitable[None]], via: Way, count: int, body: bytes, end: float) -> list[float]:
    latencies: list[float] = []

    def done(latency: float) -> bool:
        latencies.append(latency)
        return time.perf_counter() >= end

    await asyncio.gather(*(loop(via, body, done) for _ in range(count)))
    return latencies


async def _busy(slice_s: float) -> None:
    """Work on the loop without an end, `slice_s` at a time."""
    while True:
        end = time.perf_counter() + slice_s
        while time.perf_counter() < end:
            pass
        await asyncio.sleep(0)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measured(variant: str, arguments: argparse.Namespace) -> list[Row]:
    """All rows of one way."""
    if arguments.switch_ms:
        sys.setswitchinterval(arguments.switch_ms / 1e3)
    via = way(variant, (arguments.host, arguments.port))
    await via.open()
    busy = asyncio.create_task(_busy(arguments.busy / 1e3)) if arguments.busy else None
    rows = []
    body = os.urandom(arguments.body)
    for name, loop in (("conditional append", _append), ("plain write", _write)):
        for count in arguments.in_flight:
            await _loops(loop, via, count, body, time.perf_counter() + min(1.0, arguments.seconds))
            cpu, begun = _cpu_s(), time.perf_counter()
            latencies = sorted(await _loops(loop, via, count, body, begun + arguments.seconds))
            taken, cpu, many = time.perf_counter() - begun, _cpu_s() - cpu, len(latencies)
            p50, p99 = latencies[many // 2] * 1e3, latencies[many * 99 // 100] * 1e3
            rows.append(Row(variant, name, count, many / taken, p50, p99, cpu / many * 1e3))
    if busy is not None:
        busy.cancel()
    await via.close()
    return rows


def table(rows: list[Row]) -> str:
    """The medians of the rounds, those of the same statement and number in flight together."""
    lines = ["| statement | in flight | client | per second | p50 ms | p99 ms | client CPU ms each |"]
    lines.append("|---|---|---|---|---|---|---|")
    groups: dict[tuple[str, int, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.statement, row.in_flight, row.variant), []).append(row)
    for (statement, in_flight, variant), group in sorted(groups.items()):
        lines.append(
            f"| {statement} | {in_flight} | {variant} | {median(row.per_second for row in group):.0f} "
            f"| {median(row.p50_ms for row in group):.2f} | {median(row.p99_ms for row in group):.2f} "
            f"| {median(row.cpu_ms for row in group):.3f} |"
        )
    return "\n".join(lines)


def _child(variant: str, arguments: argparse.Namespace) -> list[Row]:
    python = arguments.acsylla if variant == "acsylla" else sys.executable
    command = [python, str(Path(__file__)), "--one", variant, *arguments.passed]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if told.returncode:
        sys.stderr.write(f"{variant}: can't be measured with this interpreter\n")
        return []
    return [Row(**fields) for fields in json.loads(told.stdout)]


def _run(main_coroutine: Coroutine[Any, Any, list[Row]]) -> list[Row]:
    try:
        runner = importlib.import_module("uvloop").run
    except ImportError:
        runner = asyncio.run
    rows: list[Row] = runner(main_coroutine)
    return rows


def main() -> None:
    """The command line. `--one` measures in this process and tells the rows as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drivers")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9042)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--body", type=int, default=1_200, help="bytes a row")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--busy", type=float, default=0.0, metavar="MS", help="slices of other work on the loop")
    parser.add_argument("--switch-ms", type=float, default=0.0, help="sys.setswitchinterval; 5 if not given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--acsylla", default=sys.executable, metavar="PYTHON", help="an interpreter that has acsylla")
    parser.add_argument("--one", choices=VARIANTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        rows = _run(measured(arguments.one, arguments))
        sys.stdout.write(json.dumps([asdict(row) for row in rows]))
        return
    arguments.passed = ["--host", arguments.host, "--port", str(arguments.port), "--body", str(arguments.body)]
    arguments.passed += ["--seconds", str(arguments.seconds), "--in-flight", *map(str, arguments.in_flight)]
    variants = arguments.variants * arguments.rounds
    arguments.passed += ["--busy", str(arguments.busy), "--switch-ms", str(arguments.switch_ms)]
    rows = [row for variant in variants for row in _child(variant, arguments)]
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
