"""Starts at a steady rate, by clients that repeat nothing: how long each took, and what those that failed were told.

Invariant: a start is sent when it is due, however long others take, so that no wait is left out of the figures.
"""

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest, StartWorkflowExecutionRequest

from tests.chaos.asking import persist
from tests.chaos.layout import PROBE_NAMESPACE
from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.clusters import passes

_CALL_S = 10.0


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that `share` of them don't exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


@dataclass(slots=True)
class Phase:
    """What was measured while something went on. Times in seconds. `codes`: of failed starts, with one text each."""

    name: str
    took: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    told: dict[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """In one line."""
        p50, p99 = (1_000 * quantile(self.took, share) for share in (0.5, 0.99))
        codes = ", ".join(f"{code} {count}" for code, count in self.codes.items()) or "none"
        times = f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {1_000 * max(self.took, default=0):.0f} ms"
        return f"{len(self.took)} starts, {times}; failed: {codes}"


class Pulse:
    """`rate` starts a second, through each address in turn, while the context lasts. `phase`: where they count."""

    def __init__(self, addresses: Sequence[str], rate: float) -> None:
        self.phase = Phase("quiet")
        self.runs: dict[str, str] = {}
        self._rate = rate
        self._clients = [Client(address) for address in addresses]
        self._going: asyncio.Task[None] | None = None
        self._starts: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._going = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._going is not None
        self._going.cancel()
        await asyncio.gather(self._going, *self._starts, return_exceptions=True)
        for client in self._clients:
            await client.close()

    def next_phase(self, name: str) -> Phase:
        """From now on they count there; the one until now."""
        former, self.phase = self.phase, Phase(name)
        return former

    async def settled(self) -> None:
        """Return when those that are on their way have come back."""
        if self._starts:
            await asyncio.wait(self._starts)

    async def wrong(self, address: str) -> list[str]:
        """Acknowledged starts that aren't there, or not as they were acknowledged."""
        client = Client(address)
        found = []
        try:
            for name, run_id in list(self.runs.items()):
                execution = WorkflowExecution(workflow_id=name)
                request = GetWorkflowExecutionHistoryRequest(namespace=PROBE_NAMESPACE, execution=execution)
                try:
                    events = (await persist([client], request)).history.events
                except CallFailed as failed:
                    found.append(f"{name}: {failed}")
                    continue
                begun = events[0].workflow_execution_started_event_attributes
                ids = [event.event_id for event in events]
                if begun.original_execution_run_id != run_id or ids != [1, 2]:
                    found.append(f"{name} is {begun.original_execution_run_id} with events {ids}, not {run_id}")
        finally:
            await client.close()
        return found

    async def _go_on(self) -> None:
        begun = time.monotonic()
        for number in itertools.count():
            await passes(max(0.0, begun + number / self._rate - time.monotonic()))
            start = asyncio.create_task(self._start(number, self.phase))
            self._starts.add(start)
            start.add_done_callback(self._starts.discard)

    async def _start(self, number: int, phase: Phase) -> None:
        name = f"pulse-{number}"
        request = StartWorkflowExecutionRequest(
            namespace=PROBE_NAMESPACE,
            workflow_id=name,
            workflow_type=WorkflowType(name="pulse"),
            task_queue=TaskQueue(name="nobody"),
            request_id=name,
        )
        sent = time.monotonic()
        try:
            reply = await self._clients[number % len(self._clients)].call(request, _CALL_S)
        except CallFailed as failed:
            phase.codes[failed.code] += 1
            phase.told.setdefault(failed.code, failed.text)
        else:
            phase.took.append(time.monotonic() - sent)
            self.runs[name] = reply.run_id
