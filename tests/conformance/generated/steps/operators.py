"""Steps of operators: reset, pause and unpause, options of a run; pause, reset and options of its activities."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import message_pb2 as activities
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.history.v1 import message_pb2 as history
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import PAUSED, Case, Fields, Flow, action, has_activity, still_open
from tests.conformance.generated.steps.starting import HOUR
from tests.conformance.harness import operating
from tests.conformance.harness.payloads import duration, retry_policy
from tests.conformance.harness.session import CLIENT, NAMESPACE

_ABANDON = 2
_TASK_EVENTS = ("completed", "failed", "timed_out", "started")


def _task_ends(events: list[history.HistoryEvent]) -> list[int]:
    """Events that a reset may name; the newest first."""
    return [
        event.event_id
        for event in reversed(events)
        if any(event.HasField(f"workflow_task_{kind}_event_attributes") for kind in _TASK_EVENTS)  # type: ignore[arg-type]  # a field's name
    ]


def _takes_children(events: list[history.HistoryEvent]) -> bool:
    """Whether the run has started children that end when it does."""
    return any(
        event.start_child_workflow_execution_initiated_event_attributes.parent_close_policy not in (0, _ABANDON)
        for event in events
    )


@action(weight=3)
async def reset(case: Case, flow: Flow) -> None:
    """Reset the current run, or an earlier one, to one of its workflow tasks, or to where nothing can be reset to."""
    state, info = await case.state(flow)
    if info is None or flow.updates:
        # See AVOIDED in intended.py.
        return
    current = info.workflow_execution_info.execution.run_id
    run_id = case.of([current, current, current, *flow.runs[-2:]])
    events = await case.events(flow, run_id)
    if not events or _takes_children(events):
        # See AVOIDED in intended.py.
        return
    case.saw("reset", state)
    legal = _task_ends(events)
    continued = events[0].workflow_execution_started_event_attributes.continued_execution_run_id
    # Whether a run that continues another has its first task in the batch of its start is a matter of time.
    illegal = [999] if continued else [999, 2]
    flow.resets += 1
    fields: Fields = {
        **case.fields([{}, {}, {"reset_reapply_type": 2}, {"reset_reapply_exclude_types": [1]}]),
        "request_id": case.session.unique(f"reset-{flow.name}-{flow.resets}"),
    }
    await case.session.attempt(
        ws.ResetWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_execution=case.session.execution(
                flow.name, case.of([run_id, "" if run_id == current else run_id])
            ),
            reason="again",
            workflow_task_finish_event_id=case.of([*legal, *legal, *legal, *illegal]),
            identity=CLIENT,
            **fields,
        )
    )
    # A signal's request id counts once, also where a reset took it along: none is sent again after one.
    flow.signals += 1


async def _has_begun(case: Case, flow: Flow) -> bool:
    return any(event.HasField("workflow_task_scheduled_event_attributes") for event in await case.events(flow))


@action(weight=2, suits=still_open)
async def pause(case: Case, flow: Flow) -> None:
    """Pause a workflow that goes, let one that is paused go on; rarely the other way round."""
    state, info = await case.state(flow)
    if info is None or flow.updates or (state == "idle" and not await _has_begun(case, flow)):
        # See AVOIDED in intended.py.
        return
    case.saw("pause", state)
    kind = (
        ws.UnpauseWorkflowExecutionRequest
        if (state == "paused") != case.rarely(8)
        else ws.PauseWorkflowExecutionRequest
    )
    flow.pauses += 1
    await case.session.attempt(
        kind(
            namespace=NAMESPACE,
            workflow_id=case.session.unique(flow.name),
            identity=CLIENT,
            reason="look",
            request_id=case.session.unique(f"pause-{flow.name}-{flow.pauses}"),
        )
    )


@action(weight=1, suits=still_open)
async def set_options(case: Case, flow: Flow) -> None:
    """Change a run's priority."""
    state, _ = await case.state(flow)
    if flow.updates and state == "scheduled":
        # See AVOIDED in intended.py: the former offer of the task is refused before the new one is given away.
        return
    case.saw("set_options", state)
    flow.offered_twice = state == "scheduled"
    paths, priority = case.of(
        [
            (["priority"], common.Priority(priority_key=4, fairness_key="k")),
            (["priority.priority_key"], common.Priority(priority_key=1)),
            (["priority"], None),
            (["nothing"], None),
        ]
    )
    await case.session.attempt(
        ws.UpdateWorkflowExecutionOptionsRequest(
            namespace=NAMESPACE,
            workflow_execution=case.session.execution(flow.name),
            workflow_execution_options=workflow.WorkflowExecutionOptions(priority=priority),
            update_mask=FieldMask(paths=paths),
            identity=CLIENT,
        )
    )


@action(weight=4, suits=has_activity)
async def operate(case: Case, flow: Flow) -> None:
    """Pause, unpause, reset an activity, or change its options."""
    _, info = await case.state(flow)
    if info is None or not info.pending_activities or info.workflow_execution_info.status == PAUSED:
        return
    one = case.of(sorted(info.pending_activities, key=lambda each: each.activity_id))
    given: Fields = {"workflow": flow.name, "id": one.activity_id}
    flow.operated.add(one.activity_id)
    what = case.of(["pause", "reset", "options", "pause"])
    label = f"{'paused' if one.paused else 'scheduled' if one.state == 1 else 'started'}"
    if what == "pause" and one.paused:
        case.saw("unpause activity", label)
        more = case.fields([{}, {"reset_attempts": True}, {"reset_heartbeat": True}])
        await case.session.attempt(operating.request(case.session, ws.UnpauseActivityRequest, **given, **more))
    elif what == "pause":
        if one.state != 1:
            # See AVOIDED in intended.py.
            return
        case.saw("pause activity", label)
        more = case.fields([{}, {"reason": "why"}])
        await case.session.attempt(operating.request(case.session, ws.PauseActivityRequest, **given, **more))
    elif what == "reset":
        case.saw("reset activity", label)
        more = case.fields([{}, {"keep_paused": True}, {"reset_heartbeat": True}, {"restore_original_options": True}])
        await case.session.attempt(operating.request(case.session, ws.ResetActivityRequest, **given, **more))
    else:
        case.saw("activity options", label)
        await case.session.attempt(
            operating.request(case.session, ws.UpdateActivityOptionsRequest, **given, **_changes(case))
        )


def _changes(case: Case) -> Fields:
    options, paths = case.of(
        [
            (activities.ActivityOptions(heartbeat_timeout=duration(HOUR)), ["heartbeat_timeout"]),
            (activities.ActivityOptions(start_to_close_timeout=duration(2 * HOUR)), ["start_to_close_timeout"]),
            (
                activities.ActivityOptions(retry_policy=retry_policy(HOUR, attempts=3)),
                ["retry_policy.maximum_attempts"],
            ),
            (activities.ActivityOptions(retry_policy=retry_policy(0.3)), ["retry_policy.initial_interval"]),
            (activities.ActivityOptions(start_to_close_timeout=duration(-1)), ["start_to_close_timeout"]),
            (activities.ActivityOptions(), ["nothing"]),
        ]
    )
    return {"activity_options": options, "update_mask": FieldMask(paths=paths)}
