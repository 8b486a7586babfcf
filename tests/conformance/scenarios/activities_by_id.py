"""Activities that are answered by their id instead of a task token."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import cancel_activity, schedule_activity
from tests.conformance.harness.payloads import failure, payloads
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, WORKER, Session


def _by_id(s: Session, kind: type[Message], activity: str, **fields: Any) -> Message:
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_id": s.unique("wf"),
        "activity_id": activity,
        "identity": WORKER,
    }
    return kind(**{**plain, **fields})


async def _started_activity(s: Session) -> ws.PollActivityTaskQueueResponse:
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    return await s.take_activity()


@scenario()
async def complete_by_id(s: Session) -> None:
    """Completion by id; the second one finds nothing."""
    await _started_activity(s)
    request = _by_id(s, ws.RespondActivityTaskCompletedByIdRequest, "act", result=payloads("out"))
    await s.call(request)
    await s.attempt(request)
    await s.show_history(first=6)


@scenario()
async def fail_by_id(s: Session) -> None:
    """Failure by id."""
    await _started_activity(s)
    broken = failure("broken", non_retryable=True)
    await s.call(_by_id(s, ws.RespondActivityTaskFailedByIdRequest, "act", failure=broken))
    await s.show_history(first=6)


@scenario()
async def cancel_by_id(s: Session) -> None:
    """Cancellation by id, before and after it was requested; heartbeat by id tells of the request."""
    await _started_activity(s)
    await s.attempt(_by_id(s, ws.RespondActivityTaskCanceledByIdRequest, "act"))
    await s.call(_by_id(s, ws.RecordActivityTaskHeartbeatByIdRequest, "act", details=payloads("alive")))
    await s.signal("go")
    await s.advance(cancel_activity(5))
    await s.call(_by_id(s, ws.RecordActivityTaskHeartbeatByIdRequest, "act"))
    await s.call(_by_id(s, ws.RespondActivityTaskCanceledByIdRequest, "act", details=payloads("stopped")))
    await s.show_history(first=8)


@scenario()
async def by_id_refused(s: Session) -> None:
    """Unknown activities and workflows, and empty ids."""
    await _started_activity(s)
    kinds: tuple[type[Message], ...] = (
        ws.RespondActivityTaskCompletedByIdRequest,
        ws.RespondActivityTaskFailedByIdRequest,
        ws.RespondActivityTaskCanceledByIdRequest,
        ws.RecordActivityTaskHeartbeatByIdRequest,
    )
    for kind in kinds:
        s.note(kind.DESCRIPTOR.name)
        await s.attempt(_by_id(s, kind, "unknown"))
        await s.attempt(_by_id(s, kind, ""))
        await s.attempt(_by_id(s, kind, "act", workflow_id=""))
        await s.attempt(_by_id(s, kind, "act", workflow_id=s.unique("missing")))
        await s.attempt(_by_id(s, kind, "act", run_id="no-uuid"))


@scenario()
async def by_id_before_start(s: Session) -> None:
    """An activity that no worker has fetched."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    await s.attempt(_by_id(s, ws.RecordActivityTaskHeartbeatByIdRequest, "act"))
    await s.attempt(_by_id(s, ws.RespondActivityTaskFailedByIdRequest, "act", failure=failure("x")))
    await s.attempt(_by_id(s, ws.RespondActivityTaskCompletedByIdRequest, "act"))
    await s.show_history(first=5)
