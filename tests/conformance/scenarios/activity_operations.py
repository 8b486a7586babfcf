"""What operators may not do to activities, and the newer forms, which address one activity."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import message_pb2 as activities
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.operating import (
    NO_RUN,
    in_backoff,
    one,
    pause,
    request,
    reset,
    scheduled,
    show_pending,
    unpause,
    update,
)
from tests.conformance.harness.payloads import duration
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session


@scenario()
async def operations_refused(s: Session) -> None:
    """No such workflow, no such run, no such activity; ids that are missing."""
    await scheduled(s)
    options = activities.ActivityOptions(heartbeat_timeout=duration(2))
    changes: dict[str, Any] = {"activity_options": options, "update_mask": FieldMask(paths=["heartbeat_timeout"])}
    kinds: list[tuple[Any, dict[str, Any]]] = [
        (ws.PauseActivityRequest, {}),
        (ws.UnpauseActivityRequest, {}),
        (ws.ResetActivityRequest, {}),
        (ws.UpdateActivityOptionsRequest, changes),
    ]
    for kind, more in kinds:
        await s.attempt(kind(namespace=NAMESPACE, id="act", **more))
        await s.attempt(kind(namespace=NAMESPACE, execution=common.WorkflowExecution(), id="act", **more))
        await s.attempt(kind(namespace=NAMESPACE, execution=s.execution("wf"), **more))
        await s.attempt(request(s, kind, id="", **more))
        await s.attempt(request(s, kind, type="", **more))
        await s.attempt(request(s, kind, id="other", **more))
        await s.attempt(request(s, kind, "missing", **more))
        await s.attempt(request(s, kind, "wf", NO_RUN, **more))
        await s.attempt(request(s, kind, "wf", "not-a-run-id", **more))
        await s.attempt(request(s, kind, namespace="nowhere", **more))
    await unpause(s, unpause_all=False)
    await reset(s, match_all=False)
    await update(s, options, "heartbeat_timeout", match_all=False)
    await s.take_activity()


@scenario(
    differs="the reference keeps texts of any length, and fails half way with an internal error at a jitter below zero"
)
async def operations_with_bad_values(s: Session) -> None:
    """Texts beyond their limits, and times below zero."""
    await scheduled(s)
    await pause(s, identity="i" * 1001)
    await unpause(s, jitter=duration(-1))
    await pause(s, request_id="r" * 1001)
    await unpause(s)
    await pause(s, reason="r" * 1001)
    await show_pending(s, "paused")
    await reset(s, jitter=duration(-1))
    await show_pending(s, "reset")


@scenario()
async def operations_while_a_task_is_started(s: Session) -> None:
    """None of them is an event, and none waits for the workflow task."""
    await scheduled(s)
    await s.signal("go")
    task = await s.take()
    await pause(s)
    await show_pending(s, "paused")
    await unpause(s)
    await reset(s)
    await update(s, activities.ActivityOptions(heartbeat_timeout=duration(3)), "heartbeat_timeout")
    work = await s.take_activity()
    await s.complete_activity(work.task_token)
    await s.complete(task)
    await s.show_history(first=5)


@scenario()
async def completion_by_id_while_paused(s: Session) -> None:
    """By its id a paused activity can be completed."""
    await scheduled(s)
    await pause(s)
    by_id: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_id": s.unique("wf"),
        "activity_id": "act",
        "identity": CLIENT,
    }
    await s.attempt(ws.RecordActivityTaskHeartbeatByIdRequest(**by_id))
    await s.attempt(ws.RespondActivityTaskFailedByIdRequest(**by_id))
    await s.attempt(ws.RespondActivityTaskCompletedByIdRequest(**by_id))
    await s.show_history(first=5)


@scenario()
async def operations_on_one_activity(s: Session) -> None:
    """The newer forms address one activity of a workflow."""
    await in_backoff(s)
    await s.attempt(one(s, ws.PauseActivityExecutionRequest, reason="stop it"))
    await show_pending(s, "paused")
    await s.attempt(one(s, ws.PauseActivityExecutionRequest, reason="again"))
    await s.attempt(one(s, ws.ResetActivityExecutionRequest, keep_paused=True))
    await show_pending(s, "reset")
    await s.attempt(one(s, ws.UnpauseActivityExecutionRequest))
    await s.attempt(
        one(
            s,
            ws.UpdateActivityExecutionOptionsRequest,
            activity_options=activities.ActivityOptions(heartbeat_timeout=duration(3)),
            update_mask=FieldMask(paths=["heartbeat_timeout"]),
        )
    )
    await show_pending(s, "updated")
    await s.attempt(one(s, ws.UpdateActivityExecutionOptionsRequest, restore_original=True))
    await s.poll_activity()


@scenario()
async def operations_on_one_activity_refused(s: Session) -> None:
    """Ids that are missing or too long, and masks that are."""
    await scheduled(s)
    options = activities.ActivityOptions(heartbeat_timeout=duration(2))
    changes: dict[str, Any] = {"activity_options": options, "update_mask": FieldMask(paths=["heartbeat_timeout"])}
    kinds: list[tuple[Any, dict[str, Any]]] = [
        (ws.PauseActivityExecutionRequest, {}),
        (ws.UnpauseActivityExecutionRequest, {}),
        (ws.ResetActivityExecutionRequest, {}),
        (ws.UpdateActivityExecutionOptionsRequest, changes),
    ]
    for kind, more in kinds:
        await s.attempt(one(s, kind, activity_id="", **more))
        await s.attempt(one(s, kind, activity_id="a" * 1001, **more))
        await s.attempt(one(s, kind, activity_id="other", **more))
        await s.attempt(one(s, kind, identity="i" * 1001, **more))
        await s.attempt(one(s, kind, request_id="r" * 1001, **more))
        await s.attempt(one(s, kind, run_id="not-a-run-id", **more))
        await s.attempt(one(s, kind, run_id=NO_RUN, **more))
        await s.attempt(one(s, kind, "missing", **more))
        await s.attempt(one(s, kind, namespace="nowhere", **more))
    await s.attempt(one(s, ws.UnpauseActivityExecutionRequest, jitter=duration(-1)))
    await s.attempt(one(s, ws.ResetActivityExecutionRequest, jitter=duration(-1)))
    form = ws.UpdateActivityExecutionOptionsRequest
    await s.attempt(one(s, form))
    await s.attempt(one(s, form, activity_options=options))
    await s.attempt(one(s, form, activity_options=options, update_mask=FieldMask()))
    for path in ("unknown", "start_delay", "task_queue", "task_queue.kind", "heartbeat_timeout", "priority.unknown"):
        await s.attempt(one(s, form, activity_options=options, update_mask=FieldMask(paths=[path])))
    mask = FieldMask(paths=["heartbeat_timeout"])
    await s.attempt(one(s, form, activity_options=options, update_mask=mask, restore_original=True))


@scenario()
async def operations_on_standalone_activities(s: Session) -> None:
    """Without a workflow's id they address an activity that belongs to none."""
    forms: tuple[Any, ...] = (
        ws.PauseActivityExecutionRequest,
        ws.UnpauseActivityExecutionRequest,
        ws.ResetActivityExecutionRequest,
        ws.UpdateActivityExecutionOptionsRequest,
    )
    for kind in forms:
        await s.attempt(kind(namespace=NAMESPACE, activity_id=s.unique("alone")))
