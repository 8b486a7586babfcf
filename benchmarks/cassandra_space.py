"""What a long time of load leaves in Cassandra's tables: `python -m benchmarks.cassandra_space [--seconds 120]`.

Small log segments make it short. Beside one-activity workflows there are backlogs that wait longer than a checkpoint
and are then drained, so that offers and timers get rows and lose them. Then the server is killed, and another one takes
its shards over. The figures are the node's own: tablestats and tombstones_per_read, and the traces of some statements.
"""

import argparse
import asyncio
import json
import re
import sys
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any

import uvloop
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

from benchmarks.calls import CallFailed, Calls
from benchmarks.cassandra_node import MeasuredNode, measured_node
from benchmarks.on_cassandra import KEYSPACE, running_perdure
from benchmarks.one_activity import COMPLETE, POLL_S, POLL_WORKFLOW, Load, start_request
from benchmarks.report import machine
from benchmarks.servers import Server

_QUEUE = TaskQueue(name="backlog")
_STARTERS = 20
# Longer than a checkpoint's age, so that what waits gets rows.
_WAIT_S = 4.0
# Longer than two checkpoints, after which no log is needed.
_SETTLE_S = 8.0
# So many workflows in a row are in all shards, nearly surely.
_STARTED = 30
_READY_S = 60.0
_FLUSH_S = 5.0
_TRACED = 0.02
_READ = re.compile(r"Read (\d+) live rows and (\d+) tombstone cells")
_FROM = re.compile(rf"FROM {KEYSPACE}[.](\w+)")
_INLINE_BYTES = 128 << 10
_LOG = "log_segment"


@dataclass
class Table:
    """What is known of one table. `tombstones`: (p50, p99, most) of its reads; bytes are on disk, flushed."""

    reads: int
    tombstones: tuple[float, float, float]
    traced: list[int]
    partition_bytes: int
    flushed_bytes: int
    compacted_bytes: int = 0


async def load(node: MeasuredNode, server: Server, seconds: float, in_flight: int, backlog: int) -> tuple[int, int]:
    """Workflows of one activity for so long, and backlogs beside them: how many of each were done. What is written is
    flushed to disk every now and then, as it is sooner or later.
    """
    calls = await Calls.connect(server.address)
    await _ready(calls)
    busy = Load(calls, in_flight)
    flushing = asyncio.create_task(_flush(node))
    drained, _ = await asyncio.gather(_backlogs(calls, time.monotonic() + seconds, backlog), busy.run(seconds))
    await busy.stop()
    flushing.cancel()
    await asyncio.sleep(_SETTLE_S)
    calls.close()
    return len(busy.latencies), drained


async def _flush(node: MeasuredNode) -> None:
    while True:
        await asyncio.sleep(_FLUSH_S)
        await asyncio.to_thread(node.tool, "flush", KEYSPACE)


async def _ready(calls: Calls) -> None:
    """Wait until all shards are here: whoever takes one waits for the lease of its former owner."""
    begun = time.monotonic()
    here = 0
    while here < _STARTED:
        try:
            await calls.call("StartWorkflowExecution", start_request(uuid.uuid4().hex), timeout_s=10)
            here += 1
        except CallFailed:
            if time.monotonic() > begun + _READY_S:
                raise
            here = 0
            await asyncio.sleep(0.5)


async def _backlogs(calls: Calls, end: float, size: int) -> int:
    """Until `end`: start `size` workflows that nobody serves, let them lie, then drain them; how many there were."""
    poll = POLL_WORKFLOW + PollWorkflowTaskQueueRequest(task_queue=_QUEUE).SerializeToString()
    queue = StartWorkflowExecutionRequest(task_queue=_QUEUE).SerializeToString()
    done = 0

    async def start(left: "list[int]") -> None:
        while left:
            left.pop()
            await calls.call("StartWorkflowExecution", start_request(uuid.uuid4().hex) + queue)

    async def drain(left: "list[int]") -> None:
        while left:
            left.pop()
            task = PollWorkflowTaskQueueResponse.FromString(await calls.call("PollWorkflowTaskQueue", poll, POLL_S))
            if not task.task_token:
                left.append(0)
                continue
            own = RespondWorkflowTaskCompletedRequest(task_token=task.task_token)
            await calls.call("RespondWorkflowTaskCompleted", COMPLETE + own.SerializeToString())

    while size and time.monotonic() < end:
        for step in (start, drain):
            left = [0] * size
            await asyncio.gather(*(step(left) for _ in range(_STARTERS)))
            if step is start:
                await asyncio.sleep(_WAIT_S)
        done += size
    return done


def traces(node: MeasuredNode) -> dict[str, list[int]]:
    """Tombstones passed by each traced read, by table."""
    tables = {}
    for row in node.ask("SELECT session_id, parameters FROM system_traces.sessions"):
        if found := _FROM.search((row.parameters or {}).get("query", "")):
            tables[row.session_id] = found.group(1)
    passed: dict[Any, int] = defaultdict(int)
    for row in node.ask("SELECT session_id, activity FROM system_traces.events"):
        found = _READ.search(row.activity or "")
        if found and row.session_id in tables:
            passed[row.session_id] += int(found.group(2))
    by_table: dict[str, list[int]] = defaultdict(list)
    for session, count in passed.items():
        by_table[tables[session]].append(count)
    return by_table


def stats(node: MeasuredNode) -> dict[str, dict[str, Any]]:
    """What tablestats says of the keyspace, by table."""
    text = node.tool("tablestats", "-F", "json", KEYSPACE)
    tables: dict[str, dict[str, Any]] = json.loads(text[text.index("\n{") :])[KEYSPACE]["tables"]
    return tables


def tables(node: MeasuredNode) -> dict[str, Table]:
    """Everything of every table: flushed as it is, and then compacted."""
    traced = traces(node)
    scanned = {
        row.table_name: (row.p50th, row.p99th, row.max)
        for row in node.ask("SELECT * FROM system_views.tombstones_per_read")
        if row.keyspace_name == KEYSPACE
    }
    node.tool("flush", KEYSPACE)
    found = {
        name: Table(
            int(of["local_read_count"]),
            scanned.get(name, (0.0, 0.0, 0.0)),
            traced.get(name, []),
            int(of["compacted_partition_maximum_bytes"]),
            int(of["space_used_total"]),
        )
        for name, of in stats(node).items()
    }
    node.tool("compact", KEYSPACE)
    for name, of in stats(node).items():
        found[name].compacted_bytes = int(of["space_used_live"])
    return found


def text_of(found: dict[str, Table], segment_bytes: int) -> str:
    """Everything as a table. The node counts a read over no tombstone as one over one."""
    every = [count for of in found.values() for count in of.traced]
    head = "| table | reads | tombstones a read: p50, p99, most | traced: reads, median, most "
    lines = [head + "| largest partition kB | on disk kB: flushed, compacted |", "|---|---|---|---|---|---|"]
    for name, of in sorted(found.items(), key=lambda item: -item[1].reads):
        p50, p99, most = of.tombstones
        traced = f"{len(of.traced)}, {median(of.traced):.0f}, {max(of.traced)}" if of.traced else "0"
        bound = f" of {(segment_bytes + _INLINE_BYTES) / 1e3:.0f}" if name == _LOG else ""
        lines.append(
            f"| {name} | {of.reads} | {p50:.0f}, {p99:.0f}, {most:.0f} | {traced} "
            f"| {of.partition_bytes / 1e3:.1f}{bound} | {of.flushed_bytes / 1e3:.0f}, {of.compacted_bytes / 1e3:.0f} |"
        )
    if every:
        lines += [
            "",
            f"Tombstones that a traced read of any table passed: median {median(every):.0f}, most {max(every)}.",
        ]
    return "\n".join(lines)


def measured(arguments: argparse.Namespace) -> str:
    """Everything, as text."""
    entry = ("benchmarks.small_segments", str(arguments.segment_bytes))
    with measured_node() as node:
        node.tool("settraceprobability", str(_TRACED))
        with running_perdure(node, entry=entry) as server:
            done, drained = uvloop.run(load(node, server, arguments.seconds, arguments.in_flight, arguments.backlog))
            log_writes = node.counts().tables[f"{KEYSPACE}.{_LOG}"][1]
        node.tool("settraceprobability", "1")
        with running_perdure(node, entry=entry, fresh=False) as server:
            uvloop.run(load(node, server, arguments.after_seconds, 1, 0))
        node.tool("settraceprobability", "0")
        segments = [row.number for row in node.ask(f"SELECT number FROM {KEYSPACE}.{_LOG}")]
        found = tables(node)
        about = f"Cassandra {node.version()}, one node, {node.settings()}"
    text = (
        f"One run of `python -m benchmarks.cassandra_space`, {arguments.seconds:.0f} s; {machine()}. {about}. "
        f"{done} workflows of one activity, {drained} that lay in a backlog first; log segments of "
        f"{arguments.segment_bytes / 1e3:.0f} kB, {log_writes} writes to the log, the last segment's number is "
        f"{max(segments, default=0)}, {len(set(segments))} are left."
    )
    return "\n\n".join(("# What load leaves in Cassandra's tables", text, text_of(found, arguments.segment_bytes)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cassandra_space")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--after-seconds", type=float, default=5.0, help="of load on the server that takes over")
    parser.add_argument("--in-flight", type=int, default=20)
    parser.add_argument("--backlog", type=int, default=500, help="workflows that wait for their worker, each round")
    parser.add_argument("--segment-bytes", type=int, default=64 << 10)
    arguments = parser.parse_args()
    sys.stdout.write(measured(arguments) + "\n")


if __name__ == "__main__":
    main()
