"""Every pair of reuse and conflict policy, for both kinds of start, over every outcome that the former run can have.

A scenario is an outcome, a line of its text one start: what became of it, of the former run, and of the signal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as event_type
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import cancel_workflow, complete_workflow, continue_as_new, fail_workflow
from tests.conformance.harness.payloads import duration
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session

_SIGNALED = event_type.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
_Prepare = Callable[[Session, str], Awaitable[str]]
PAIRS = [
    (reuse, conflict)
    for reuse in enums.WorkflowIdReusePolicy.values()
    for conflict in enums.WorkflowIdConflictPolicy.values()
]


def _short(kind: Any, prefix: str, value: int) -> str:
    return str(kind.Name(value)).removeprefix(prefix)


def _both_starts(s: Session, name: str, **policies: Any) -> tuple[Message, Message]:
    """A start and a signal-with-start of the workflows `name` and `name`-signalled."""
    fields: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_type": common.WorkflowType(name="flow"),
        "task_queue": s.queue,
        "identity": CLIENT,
        "request_id": s.unique(f"next-{name}"),
        **policies,
    }
    return (
        ws.StartWorkflowExecutionRequest(workflow_id=s.unique(name), **fields),
        ws.SignalWithStartWorkflowExecutionRequest(
            workflow_id=s.unique(f"{name}-signalled"), signal_name="go", **fields
        ),
    )


async def _status(s: Session, name: str, run_id: str) -> str:
    if not run_id:
        return "none"
    request = ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution(name, run_id))
    reply: ws.DescribeWorkflowExecutionResponse = await s.quiet(request)
    info = reply.workflow_execution_info
    return f"{_short(enums.WorkflowExecutionStatus, 'WORKFLOW_EXECUTION_STATUS_', info.status)} {info.history_length}"


async def _tell(s: Session, title: str, name: str, former: str, request: Any) -> None:
    """One line: the pair, what the start became, and what is there now."""
    try:
        reply = await s.quiet(request)
    except CallFailed as failed:
        text = failed.text.replace(request.workflow_id, "ID").replace(former or "-", "FORMER")
        details = [str(each).replace(former or "-", "FORMER").replace(s.nonce, "") for each in failed.details]
        outcome = f"{failed.code} {text} {' '.join(' '.join(details).split())}"
    else:
        run = "former" if reply.run_id == former else "new"
        first = {former: "former", reply.run_id: "itself"}.get(reply.first_execution_run_id, "another")
        events = await s.events(name, reply.run_id)
        signals = sum(event.event_type == _SIGNALED for event in events)
        outcome = f"{run} run, started {reply.started}, first {first}, signals {signals}"
    s.note(f"{title}: {outcome}; the former is {await _status(s, name, former)}")


async def _walk(s: Session, prepare: _Prepare) -> None:
    cases = []
    for reuse, conflict in PAIRS:
        title = (
            f"{_short(enums.WorkflowIdReusePolicy, 'WORKFLOW_ID_REUSE_POLICY_', reuse)} "
            f"{_short(enums.WorkflowIdConflictPolicy, 'WORKFLOW_ID_CONFLICT_POLICY_', conflict)}"
        )
        policies = {"workflow_id_reuse_policy": reuse, "workflow_id_conflict_policy": conflict}
        plain, signalled = _both_starts(s, f"w{reuse}{conflict}", **policies)
        for kind, request in (("start", plain), ("signal-with-start", signalled)):
            name = f"w{reuse}{conflict}" + ("-signalled" if kind != "start" else "")
            cases.append((f"{kind} {title}", name, request))
    formers = [await prepare(s, name) for _, name, _ in cases]
    for (title, name, request), former in zip(cases, formers, strict=True):
        await _tell(s, title, name, former, request)


async def _closed(s: Session, name: str, command: Any) -> str:
    run_id = await s.start_quietly(name)
    await s.advance(command)
    return run_id


@scenario()
async def start_over_nothing(s: Session) -> None:
    """The id was never used."""

    async def prepare(s: Session, name: str) -> str:
        return ""

    await _walk(s, prepare)


@scenario()
async def start_over_running(s: Session) -> None:
    """A run is open."""

    async def prepare(s: Session, name: str) -> str:
        return await s.start_quietly(name)

    await _walk(s, prepare)


@scenario()
async def start_over_completed(s: Session) -> None:
    """The last run has completed."""

    async def prepare(s: Session, name: str) -> str:
        return await _closed(s, name, complete_workflow())

    await _walk(s, prepare)


@scenario()
async def start_over_failed(s: Session) -> None:
    """The last run has failed."""

    async def prepare(s: Session, name: str) -> str:
        return await _closed(s, name, fail_workflow())

    await _walk(s, prepare)


@scenario()
async def start_over_canceled(s: Session) -> None:
    """The last run was cancelled."""

    async def prepare(s: Session, name: str) -> str:
        return await _closed(s, name, cancel_workflow())

    await _walk(s, prepare)


@scenario()
async def start_over_terminated(s: Session) -> None:
    """The last run was terminated."""

    async def prepare(s: Session, name: str) -> str:
        run_id = await s.start_quietly(name)
        await s.quiet(
            ws.TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=s.execution(name, run_id))
        )
        return run_id

    await _walk(s, prepare)


@scenario()
async def start_over_timed_out(s: Session) -> None:
    """The last run took too long."""
    runs: list[tuple[str, str]] = []

    async def prepare(s: Session, name: str) -> str:
        if not runs:  # all of them at once, and one wait
            names = [f"w{reuse}{conflict}{kind}" for reuse, conflict in PAIRS for kind in ("", "-signalled")]
            runs.extend([(each, await s.start_quietly(each, workflow_run_timeout=duration(1))) for each in names])
            for each, run_id in runs:
                await s.closed(each, run_id)
        return dict(runs)[name]

    await _walk(s, prepare)


@scenario()
async def start_over_continued(s: Session) -> None:
    """The last run continues another one, which is the former here."""

    async def prepare(s: Session, name: str) -> str:
        return await _closed(s, name, continue_as_new(backoff_start_interval=duration(100)))

    await _walk(s, prepare)


@scenario()
async def start_over_paused(s: Session) -> None:
    """A paused run is an open one."""

    async def prepare(s: Session, name: str) -> str:
        run_id = await s.start_quietly(name)
        await s.quiet(ws.PauseWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=s.unique(name)))
        return run_id

    await _walk(s, prepare)


@scenario()
async def start_repeated_over_every_outcome(s: Session) -> None:
    """The request id that began the former run finds it again, whatever the policies say."""
    ends = {
        "completed": complete_workflow(),
        "failed": fail_workflow(),
        "canceled": cancel_workflow(),
        "running": None,
    }
    for end, command in ends.items():
        for reuse, conflict in PAIRS:
            name = f"{end}{reuse}{conflict}"
            request_id = s.unique(f"next-{name}")
            run_id = await s.start_quietly(name, request_id=request_id)
            if command is not None:
                await s.advance(command)
            policies = {"workflow_id_reuse_policy": reuse, "workflow_id_conflict_policy": conflict}
            await _tell(s, f"{end} {reuse} {conflict}", name, run_id, _both_starts(s, name, **policies)[0])
