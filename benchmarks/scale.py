"""What large numbers do to Perdure: `python -m benchmarks.scale [--only backlog] [--activities 1000000] [--write]`.

Each case has a server of its own, and says what it costs in memory and what the other workflows feel: a probe runs
one-activity workflows, one at a time, on a queue that has nothing to do with the case, before and during it.
"""

import argparse
import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import uvloop
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)

from benchmarks.calls import Calls
from benchmarks.crowd import Crowd, markers, schedules
from benchmarks.one_activity import POLL_ACTIVITY, POLL_S, POLL_WORKFLOW, Load
from benchmarks.report import machine
from benchmarks.servers import FILE, MEMORY, Server, running
from benchmarks.signals import send_signal

RESULTS = Path(__file__).with_name("scale.md")
_STREAMS = 500  # polls on one connection
_PENDING_MAX = 2_000
_EVENTS_A_TASK = 1_000
_BUILDERS = 8


@dataclass
class Scene:
    """A case under way: what was found goes to `rows`."""

    server: Server
    calls: Calls
    crowd: Crowd
    arguments: argparse.Namespace
    rows: list[tuple[str, str]]

    def tell(self, what: str, found: str) -> None:
        """A line of the table."""
        sys.stderr.write(f"  {what}: {found}\n")
        self.rows.append((what, found))

    def memory(self, when: str) -> None:
        """How much memory the server has."""
        self.tell(f"memory {when}", f"{self.server.rss_mb():.0f} MB")

    async def probe(self, when: str) -> None:
        """What another workflow feels."""
        load = Load(self.calls, 1)
        await load.run(self.arguments.probe_seconds)
        await load.stop()
        self.tell(f"another workflow, {when}", percentiles(load.latencies))


def percentiles(latencies: list[float]) -> str:
    """The latencies (seconds) for people."""
    done = sorted(latencies)
    middle, high = done[len(done) // 2], done[len(done) * 99 // 100]
    return f"p50 {middle * 1e3:.1f} ms, p99 {high * 1e3:.1f} ms, max {done[-1] * 1e3:.1f} ms"


async def timed(call: Awaitable[object], latencies: list[float]) -> None:
    """Await and note how long it took."""
    begun = time.perf_counter()
    await call
    latencies.append(time.perf_counter() - begun)


async def pollers(scene: Scene) -> None:
    """Many workers that wait for tasks which don't come."""
    count = scene.arguments.pollers
    await scene.probe("before")
    scene.memory("before")
    connections = [await Calls.connect(scene.server.address) for _ in range(0, count, _STREAMS)]
    polls = []
    for index in range(count):
        method, body = (
            ("PollWorkflowTaskQueue", POLL_WORKFLOW) if index % 2 else ("PollActivityTaskQueue", POLL_ACTIVITY)
        )
        queue = scene.crowd.on_queue(body, f"idle-{index % 100}")
        polls.append(asyncio.create_task(connections[index // _STREAMS].call(method, queue, POLL_S)))
    await asyncio.sleep(5)
    scene.memory(f"with {count:,} polls on 100 queues")
    cpu, begun = scene.server.cpu_seconds(), time.perf_counter()
    await asyncio.sleep(10)
    share = (scene.server.cpu_seconds() - cpu) / (time.perf_counter() - begun)
    scene.tell("CPU while they wait", f"{share * 100:.1f} % of a core")
    await scene.probe("while they wait")
    for poll in polls:
        poll.cancel()
    await asyncio.gather(*polls, return_exceptions=True)


async def backlog(scene: Scene) -> None:
    """Many activities of one queue that nobody polls."""
    count = scene.arguments.activities
    per_run = min(_PENDING_MAX, count)
    await scene.probe("before")
    scene.memory("before")
    begun, cpu = time.perf_counter(), scene.server.cpu_seconds()
    left = iter(range(0, count, per_run))

    async def build() -> None:
        for _ in left:
            await scene.crowd.start(uuid.uuid4().hex)
            for first in range(0, per_run, 500):
                size = min(500, per_run - first)
                await scene.crowd.decide(schedules(size, first), again=first + size < per_run)

    await asyncio.gather(*(build() for _ in range(_BUILDERS)))
    taken, cpu = time.perf_counter() - begun, scene.server.cpu_seconds() - cpu
    scene.tell(f"scheduling {count:,}", f"{taken:.0f} s, {cpu / count * 1e6:.0f} µs of server CPU each")
    scene.memory(f"with {count:,} waiting")
    await scene.probe("beside the backlog, just made")
    await asyncio.sleep(scene.arguments.settle_seconds)
    scene.memory("when all is checkpointed")
    await scene.probe("beside the backlog")
    sample = min(scene.arguments.sample, count)
    latencies: list[float] = []
    begun, cpu = time.perf_counter(), scene.server.cpu_seconds()
    turns = iter(range(sample))

    async def drain() -> None:
        for _ in turns:
            await timed(scene.crowd.act(), latencies)

    probing = asyncio.create_task(scene.probe("while it is drained"))
    await asyncio.gather(*(drain() for _ in range(20)))
    taken, cpu = time.perf_counter() - begun, scene.server.cpu_seconds() - cpu
    await probing
    scene.tell(
        f"draining {sample:,} with 20 workers",
        f"{sample / taken:.0f} activities/s, {cpu / sample * 1e3:.1f} ms of server CPU each",
    )
    scene.tell("poll and completion", percentiles(latencies))
    scene.memory("afterwards")


async def history(scene: Scene) -> None:
    """One long history, of signals and markers."""
    events = scene.arguments.events
    await scene.probe("before")
    scene.memory("before")
    workflow_id = uuid.uuid4().hex
    await scene.crowd.start(workflow_id)
    signals = min(8_000, events // 5)
    latencies: list[float] = []
    for _ in range(signals):
        await timed(send_signal(scene.calls, workflow_id), latencies)
    tenth = max(1, signals // 10)
    scene.tell("append of a signal, the first ones", percentiles(latencies[:tenth]))
    scene.tell(f"append of a signal, after {signals:,}", percentiles(latencies[-tenth:]))
    there = signals + 2
    while there < events - 50:
        size = min(_EVENTS_A_TASK, events - 50 - there)
        await scene.crowd.decide(markers(size), again=there + size < events - 50)
        there += size + 3
    scene.memory(f"with {events:,} events")
    latencies = []
    for _ in range(20):
        await timed(send_signal(scene.calls, workflow_id), latencies)
    scene.tell(f"append of a signal, after {events:,} events", percentiles(latencies))
    await scene.probe("beside it")
    probing = asyncio.create_task(scene.probe("while it is read"))
    latencies = []
    for _ in range(5):
        await timed(read_whole(scene, workflow_id), latencies)
    scene.tell("reading all of it, page by page", percentiles(latencies))
    await probing
    await describe(scene, workflow_id)
    scene.memory("afterwards")


async def read_whole(scene: Scene, workflow_id: str) -> None:
    """Every page of a history."""
    request = GetWorkflowExecutionHistoryRequest(namespace="default")
    request.execution.workflow_id = workflow_id
    events = pages = size = 0
    while True:
        body = await scene.calls.call("GetWorkflowExecutionHistory", request.SerializeToString())
        reply = GetWorkflowExecutionHistoryResponse.FromString(body)
        events, pages, size = events + len(reply.history.events), pages + 1, size + len(body)
        if not reply.next_page_token:
            break
        request.next_page_token = reply.next_page_token
    whole = f"{events:,} events, {size / 1e6:.1f} MB in {pages} pages"
    if not any(what == "history" for what, _ in scene.rows):
        scene.tell("history", whole)


async def describe(scene: Scene, workflow_id: str) -> None:
    """How long a description takes."""
    request = DescribeWorkflowExecutionRequest(namespace="default")
    request.execution.workflow_id = workflow_id
    latencies: list[float] = []
    for _ in range(20):
        await timed(scene.calls.call("DescribeWorkflowExecution", request.SerializeToString()), latencies)
    scene.tell("describing it", percentiles(latencies))


async def pending(scene: Scene) -> None:
    """As many activities of one run as may be."""
    count = scene.arguments.pending
    await scene.probe("before")
    scene.memory("before")
    workflow_id = uuid.uuid4().hex
    await scene.crowd.start(workflow_id)
    latencies: list[float] = []
    await timed(scene.crowd.decide(schedules(count, 0), again=False), latencies)
    scene.tell(f"scheduling {count:,} in one task", percentiles(latencies))
    scene.memory(f"with {count:,} pending")
    await describe(scene, workflow_id)
    await scene.probe("beside it")
    probing = asyncio.create_task(scene.probe("while they complete"))
    latencies = []
    begun = time.perf_counter()
    for _ in range(count):
        await timed(scene.crowd.act(), latencies)
    scene.tell("poll and completion, one at a time", percentiles(latencies))
    scene.tell("all completed", f"{count / (time.perf_counter() - begun):.0f} activities/s")
    await probing


_CASES: dict[str, tuple[str, Callable[[Scene], Awaitable[None]]]] = {
    "pollers": (MEMORY, pollers),
    "backlog": (FILE, backlog),
    "history": (FILE, history),
    "pending": (FILE, pending),
}


async def played(case: str, server: Server, arguments: argparse.Namespace) -> str:
    """One case as a table."""
    calls = await Calls.connect(server.address)
    scene = Scene(server, calls, Crowd(calls), arguments, [])
    sys.stderr.write(f"{case}, {server.name}\n")
    warm = Load(calls, 1)
    await warm.run(0.5)
    await warm.stop()
    play = _CASES[case][1]
    await play(scene)
    calls.close()
    title = (play.__doc__ or "").rstrip(".")
    lines = [f"## {title} ({server.name})", "", "| what | found |", "|---|---|"]
    return "\n".join(lines + [f"| {what} | {found} |" for what, found in scene.rows])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("--only", nargs="+", default=list(_CASES), choices=list(_CASES))
    parser.add_argument("--server", choices=(MEMORY, FILE), help="for all cases, instead of each one's own")
    parser.add_argument("--pollers", type=int, default=10_000)
    parser.add_argument("--activities", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--pending", type=int, default=_PENDING_MAX)
    parser.add_argument("--sample", type=int, default=5_000, help="how many of the backlog are drained")
    parser.add_argument("--probe-seconds", type=float, default=5.0)
    parser.add_argument("--settle-seconds", type=float, default=10.0)
    parser.add_argument("--write", action="store_true", help="keep the tables as benchmarks/scale.md")
    arguments = parser.parse_args()
    parts = ["# What large numbers do", f"One run of `python -m benchmarks.scale` on {machine()}."]
    for case in arguments.only:
        with running(arguments.server or _CASES[case][0]) as server:
            parts.append(uvloop.run(played(case, server, arguments)))
    text = "\n\n".join(parts) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
