"""Verbs of an operator on pending activities, for the scenarios about them."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.activity.v1 import message_pb2 as activities
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import schedule_activity, start_timer
from tests.conformance.harness.payloads import failure, retry_policy
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session

TIMED_OUT = EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT
NO_RUN = "01234567-89ab-4cde-8f01-23456789abcd"
M = TypeVar("M", bound=Message)


def request(s: Session, kind: type[M], workflow: str = "wf", run_id: str = "", **fields: Any) -> M:
    """A request of these four for the activity "act", if `fields` name no other."""
    given: dict[str, Any] = {"namespace": NAMESPACE, "execution": s.execution(workflow, run_id), "identity": CLIENT}
    if not any(name in fields for name in ("id", "type", "match_all", "unpause_all")):
        given["id"] = "act"
    return kind(**{**given, **fields})


def one(s: Session, kind: type[M], workflow: str = "wf", **fields: Any) -> M:
    """A request of the newer forms, for the activity "act" of a workflow."""
    given: dict[str, Any] = {"namespace": NAMESPACE, "workflow_id": s.unique(workflow), "activity_id": "act"}
    return kind(**{**given, "identity": CLIENT, **fields})


async def pause(s: Session, **fields: Any) -> None:
    """Pause; an error is recorded, and the scenario goes on. So with the others."""
    await s.attempt(request(s, ws.PauseActivityRequest, **fields))


async def unpause(s: Session, **fields: Any) -> None:
    """Unpause."""
    await s.attempt(request(s, ws.UnpauseActivityRequest, **fields))


async def reset(s: Session, **fields: Any) -> None:
    """Reset."""
    await s.attempt(request(s, ws.ResetActivityRequest, **fields))


async def update(
    s: Session, options: activities.ActivityOptions | None = None, *paths: str, **fields: Any
) -> ws.UpdateActivityOptionsResponse:
    """Update the options that `paths` name."""
    given: dict[str, Any] = dict(fields)
    if options is not None:
        given["activity_options"] = options
    if paths:
        given["update_mask"] = FieldMask(paths=paths)
    reply: ws.UpdateActivityOptionsResponse = await s.attempt(request(s, ws.UpdateActivityOptionsRequest, **given))
    return reply


async def show_pending(s: Session, what: str, workflow: str = "wf") -> None:
    """Record what Describe tells of the activities, and of the run's search attributes."""
    described: ws.DescribeWorkflowExecutionResponse = await s.quiet(
        ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution(workflow))
    )
    for pending in sorted(described.pending_activities, key=lambda one: one.activity_id):
        s.show(f"{what}: {pending.activity_id}", pending)
    s.show(f"{what}: search attributes", described.workflow_execution_info.search_attributes)


async def scheduled(s: Session, **fields: Any) -> None:
    """A workflow that waits for the activity "act", which nobody has taken."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, **fields), start_timer(seconds=100))


async def in_backoff(s: Session, **policy: Any) -> None:
    """The same after one failed attempt, long before the next."""
    await scheduled(s, retry_policy=retry_policy(**{"initial": 100, **policy}))
    work = await s.take_activity()
    await s.heartbeat(work.task_token, "half")
    await s.fail_activity(work.task_token, failure("again", "Sometimes"))
