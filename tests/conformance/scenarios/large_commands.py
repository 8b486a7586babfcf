"""Commands over a limit: too many that are pending, and payloads that are too large."""

from __future__ import annotations

from typing import Any

from temporalio.api.command.v1.message_pb2 import Command
from temporalio.api.common.v1 import message_pb2 as common

from tests.conformance.harness.commands import (
    cancel_external,
    continue_as_new,
    schedule_activity,
    signal_external,
    start_child,
)
from tests.conformance.harness.payloads import payload
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session

PENDING_LIMIT = 2000
BLOB_LIMIT = 2 * 1024 * 1024
LARGE = common.Payloads(payloads=[payload("x" * BLOB_LIMIT)])


async def refused(s: Session, *commands: Command) -> None:
    """A completion that is too much for the transcript: its error, and what it left in the history."""
    await s.start_quietly()
    try:
        await s.quiet(s.completion(await s.take(), *commands))
    except CallFailed as failed:
        s.transcript.failure(failed)
    await s.show_history(first=3)


@scenario(alone=True)
async def too_many_activities(s: Session) -> None:
    """Activities of one task."""
    await refused(s, *(schedule_activity(s.queue, str(index)) for index in range(PENDING_LIMIT + 1)))


@scenario(alone=True)
async def too_many_children(s: Session) -> None:
    """Children of one task."""
    await refused(s, *(start_child(s.children, s.unique(str(index))) for index in range(PENDING_LIMIT + 1)))


@scenario(alone=True)
async def too_many_signals(s: Session) -> None:
    """Signals of one task."""
    await refused(s, *(signal_external(s.execution("target")) for _ in range(PENDING_LIMIT + 1)))


@scenario(alone=True)
async def too_many_requests(s: Session) -> None:
    """Requests to cancel of one task."""
    await refused(s, *(cancel_external(s.unique("target")) for _ in range(PENDING_LIMIT + 1)))


@scenario()
async def large_input_of_child(s: Session) -> None:
    """A child's input."""
    await refused(s, start_child(s.children, s.unique("child"), input=LARGE))


@scenario()
async def large_memo_of_child(s: Session) -> None:
    """A child's memo."""
    memo = common.Memo(fields={"m": payload("x" * BLOB_LIMIT)})
    await refused(s, start_child(s.children, s.unique("child"), memo=memo))


@scenario()
async def large_signal(s: Session) -> None:
    """A signal's input."""
    await refused(s, signal_external(s.execution("target"), input=LARGE))


def anew(s: Session, **fields: Any) -> Command:
    """Continue as the same workflow on the same queue."""
    return continue_as_new(workflow_type=common.WorkflowType(name="flow"), task_queue=s.queue, **fields)


@scenario()
async def large_input_of_continuation(s: Session) -> None:
    """A continuation's input."""
    await refused(s, anew(s, input=LARGE))


@scenario()
async def large_memo_of_continuation(s: Session) -> None:
    """A continuation's memo."""
    await refused(s, anew(s, memo=common.Memo(fields={"m": payload("x" * BLOB_LIMIT)})))
