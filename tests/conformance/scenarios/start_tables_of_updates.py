"""Every pair of reuse and conflict policy of an update-with-start, over outcomes that the former run can have.

A scenario is an outcome, a line of its text one call: what became of the start, of the update, and of the former run. A
worker answers every task meanwhile, and accepts and completes every update.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, continue_as_new, fail_workflow
from tests.conformance.harness.payloads import duration
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.updates import accept, answer, respond, update_with_start
from tests.conformance.scenarios.start_tables import PAIRS

_Prepare = Callable[[Session, str], Awaitable[str]]


@contextlib.asynccontextmanager
async def _worker(s: Session) -> AsyncIterator[None]:
    async def work() -> None:
        while True:
            with contextlib.suppress(CallFailed):  # the run may be over
                task = await s.quiet(s.poll_request())
                if task.task_token:
                    await answer(s, task, *(each(m) for m in task.messages for each in (accept, respond)))

    working = asyncio.get_running_loop().create_task(work())
    try:
        yield
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _told(request: ws.ExecuteMultiOperationRequest, reply: Any, former: str, nonce: str) -> str:
    if isinstance(reply, CallFailed):
        details = [str(each) for each in reply.details]
        text = f"{reply.code} {reply.text} {' '.join(' '.join(details).split())}".strip()
        workflow_id = request.operations[0].start_workflow.workflow_id
        return text.replace(former or "-", "FORMER").replace(workflow_id, "ID").replace(nonce, "")
    start, update = reply.responses[0].start_workflow, reply.responses[1].update_workflow
    run = "former" if start.run_id == former else "new"
    same = update.update_ref.workflow_execution.run_id == start.run_id
    kind = update.outcome.WhichOneof("value")
    return (
        f"{run} run, started {start.started}, status {start.status}, update of it {same}, {kind}, stage {update.stage}"
    )


async def _walk(s: Session, prepare: _Prepare) -> None:
    names = {pair: f"w{pair[0]}{pair[1]}" for pair in PAIRS}
    formers = {pair: await prepare(s, name) for pair, name in names.items()}
    async with _worker(s):
        for (reuse, conflict), name in names.items():
            policies = {"workflow_id_reuse_policy": reuse, "workflow_id_conflict_policy": conflict}
            former = formers[reuse, conflict]
            request = update_with_start(s, "u", name, request_id=s.unique(f"next-{name}"), **policies)
            outcome = _told(request, await s.begin(request), former, s.nonce)
            status = "none"
            if former:
                ask = ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution(name, former))
                status = str((await s.quiet(ask)).workflow_execution_info.status)
            s.note(f"{reuse} {conflict}: {outcome}; the former is {status}")


@scenario()
async def update_with_start_over_nothing(s: Session) -> None:
    """The id was never used."""

    async def prepare(s: Session, name: str) -> str:
        return ""

    await _walk(s, prepare)


@scenario()
async def update_with_start_over_running(s: Session) -> None:
    """A run is open."""

    async def prepare(s: Session, name: str) -> str:
        return await s.start_quietly(name)

    await _walk(s, prepare)


def _closed(command: Any) -> _Prepare:
    async def prepare(s: Session, name: str) -> str:
        run_id = await s.start_quietly(name)
        await s.advance(command)
        return run_id

    return prepare


@scenario()
async def update_with_start_over_completed(s: Session) -> None:
    """The last run has completed."""
    await _walk(s, _closed(complete_workflow()))


@scenario()
async def update_with_start_over_failed(s: Session) -> None:
    """The last run has failed."""
    await _walk(s, _closed(fail_workflow()))


@scenario()
async def update_with_start_over_continued(s: Session) -> None:
    """The last run continues another one, which is the former here, and its first task is delayed."""
    await _walk(s, _closed(continue_as_new(backoff_start_interval=duration(100))))


@scenario()
async def update_with_start_over_paused(s: Session) -> None:
    """A paused run takes no updates."""

    async def prepare(s: Session, name: str) -> str:
        run_id = await s.start_quietly(name)
        await s.quiet(ws.PauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=s.unique(name)))
        return run_id

    await _walk(s, prepare)
