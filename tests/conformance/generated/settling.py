"""Waiting after each step until nothing more comes by itself, so that the next step meets the same state everywhere.

What comes by itself: timers and timeouts that are due within a minute, the next attempt of an activity or of a run, the
outcome of a child's start, of a signal or of a cancellation sent to another workflow, the end of a child, what a close
does to children, and the task for a poll that waits. What is due in an hour is rest.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import task_queue_pb2 as queue_kind
from temporalio.api.history.v1 import message_pb2 as history
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import PATIENCE_SECONDS, PAUSE_SECONDS, PAUSED, RUNNING, SHORT, Case, Flow
from tests.conformance.harness.waiting import until

Description = ws.DescribeWorkflowExecutionResponse
_BUFFERED_SECONDS = 1.2
# Tasks that are lost sooner than this are not held over a step.
TIGHT_SECONDS = 20
_CALLS = {
    kinds.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: 1,
    kinds.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED: 1,
    kinds.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED: -1,
    kinds.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED: -1,
    kinds.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED: -1,
    kinds.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED: -1,
}
_TERMINATE, _REQUEST_CANCEL = 1, 3


async def settle(case: Case) -> dict[str, Description | None]:
    """Return when every workflow of the case is at rest, with what each says of itself then.

    TimeoutError, naming what was awaited, if one never is.
    """
    while True:
        found: dict[str, Description | None] = {}
        waited = [await _rest(case, flow, found) for flow in list(case.flows.values())]
        # While one was awaited or looked at, another may have gone on.
        if not any(waited) and not case.stirred:
            return found
        case.stirred = False


async def _rest(case: Case, flow: Flow, found: dict[str, Description | None]) -> bool:
    """Wait until a workflow is at rest; whether it was not at once."""
    reasons: list[str] = []

    async def resting() -> bool:
        state, info = await case.state(flow)
        found[flow.name] = info
        if info is not None:
            flow.tight = 0 < info.execution_config.default_workflow_task_timeout.ToMilliseconds() < TIGHT_SECONDS * 1000
        reasons.append(await _unrest(case, flow, state, found[flow.name]))
        return not reasons[-1]

    try:
        await until("rest", resting, seconds=PATIENCE_SECONDS, pause_seconds=PAUSE_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"waited in vain for {reasons[-1]} of {flow.name}") from None
    return len(reasons) > 1


def soon(when: Timestamp) -> bool:
    """Whether a time is set and comes within a minute, or has come."""
    return when.seconds > 0 and when.seconds + when.nanos / 1e9 < time.time() + SHORT


async def _unrest(case: Case, flow: Flow, state: str, info: Description | None) -> str:
    """What is awaited of this workflow; empty if nothing is."""
    if info is None or state in ("closed", "none"):
        case.end_sticky_poll(flow)
        flow.let_go()
        return ""
    run_id = info.workflow_execution_info.execution.run_id
    if flow.task is not None and (state in ("idle", "scheduled") or flow.task.workflow_execution.run_id != run_id):
        flow.let_go()
    return (
        _timeouts(flow, info)
        or await _sticky(case, flow, state)
        or await _first_task(case, flow, info)
        or await _timers(case, flow, run_id, state)
        or await _calls(case, flow, run_id)
        or await _children(case, info)
        or await _parent(case, flow, info)
    )


def _timeouts(flow: Flow, info: Description) -> str:
    extended = info.workflow_extended_info
    if soon(extended.run_expiration_time) or soon(extended.execution_expiration_time):
        return "the workflow's timeout"
    run_id = info.workflow_execution_info.execution.run_id
    paused = info.workflow_execution_info.status == PAUSED
    for activity in info.pending_activities:
        if soon(activity.next_attempt_schedule_time) and not paused:
            return f"the next attempt of activity {activity.activity_id}"
        if paused or activity.paused:
            continue
        if (run_id, activity.activity_id, activity.attempt) in flow.doomed or _short(activity):
            return f"the timeout of activity {activity.activity_id}"
    return ""


def _short(activity: workflow.PendingActivityInfo) -> bool:
    """Whether an activity ends, or its attempt, within a minute: a reset brings such ones back."""
    options = activity.activity_options
    started = (options.start_to_close_timeout, options.heartbeat_timeout)
    scheduled = (options.schedule_to_start_timeout,)
    limits = (options.schedule_to_close_timeout, *(scheduled if activity.state == 1 else started))
    return any(0 < limit.ToMilliseconds() < SHORT * 1000 for limit in limits)


async def _sticky(case: Case, flow: Flow, state: str) -> str:
    if flow.sticky_poll is None:
        return ""
    if flow.sticky_poll.done():
        poll, flow.sticky_poll = flow.sticky_poll, None
        reply = await case.session.finish(poll, f"sticky poll of {flow.name}")
        flow.task = reply if reply is not None and reply.task_token else None
        return "rest after a sticky poll"
    if state == "lost":
        return "the sticky poll"
    if state == "scheduled":
        for event in reversed(await case.events(flow)):
            if event.event_type == kinds.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
                queue = event.workflow_task_scheduled_event_attributes.task_queue
                if queue.kind == queue_kind.TASK_QUEUE_KIND_STICKY:
                    return "the sticky poll"
                break
        case.end_sticky_poll(flow)
    return ""


async def _first_task(case: Case, flow: Flow, info: Description) -> str:
    if info.HasField("pending_workflow_task") or info.workflow_execution_info.history_length > 6:
        return ""
    begun = any(event.event_type == kinds.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED for event in await case.events(flow))
    return "the first workflow task" if not begun and soon(info.workflow_execution_info.execution_time) else ""


async def _timers(case: Case, flow: Flow, run_id: str, state: str) -> str:
    if flow.resets and run_id not in flow.reset_runs:
        # A reset brings back the short timers of the run before that had not fired at its point.
        flow.reset_runs.add(run_id)
        later = asyncio.get_running_loop().time() + 1
        flow.timers |= {
            (run_id, timer_id): later for timer_id in pending_timers(await case.events(flow)) if timer_id[0] == "s"
        }
    for key in [key for key in flow.timers if key[0] != run_id]:
        del flow.timers[key]
    if not flow.timers:
        return ""
    pending = pending_timers(await case.events(flow))
    now = asyncio.get_running_loop().time()
    for key, deadline in list(flow.timers.items()):
        # Fired while a worker holds a task, a timer is nowhere to be seen.
        unseen = state in ("held", "lost") and now > deadline + _BUFFERED_SECONDS
        if key[1] not in pending or unseen:
            del flow.timers[key]
    return f"timer {next(iter(flow.timers))[1]}" if flow.timers else ""


def pending_timers(events: Iterable[history.HistoryEvent]) -> list[str]:
    """Ids of timers that were started, and neither fired nor cancelled, as far as the history says."""
    found: Counter[str] = Counter()
    for event in events:
        found[event.timer_started_event_attributes.timer_id] += 1
        found[event.timer_fired_event_attributes.timer_id] -= 1
        found[event.timer_canceled_event_attributes.timer_id] -= 1
    return [timer_id for timer_id, count in found.items() if timer_id and count > 0]


async def _calls(case: Case, flow: Flow, run_id: str) -> str:
    flow.calls &= {run_id}
    if not flow.calls:
        return ""
    if sum(_CALLS.get(event.event_type, 0) for event in await case.events(flow)) > 0:
        return "the outcome of a call to another workflow"
    flow.calls.clear()
    return ""


async def _children(case: Case, info: Description) -> str:
    for child in info.pending_children:
        if not child.run_id:
            return "a child's start"
        name = child.workflow_id.removesuffix(f"-{case.session.nonce}")
        found = await case.look(case.flow(name))
        if found is None:
            return "a deleted child's end"
        if (
            found.workflow_execution_info.status != RUNNING
            or found.workflow_execution_info.first_run_id != child.run_id
        ):
            return "a child's end"
    return ""


async def _parent(case: Case, flow: Flow, info: Description) -> str:
    parent = info.workflow_execution_info.parent_execution
    if not parent.workflow_id:
        return ""
    of = case.flow(parent.workflow_id.removesuffix(f"-{case.session.nonce}"))
    found = await case.look(of, parent.run_id)
    if found is None or found.workflow_execution_info.status == RUNNING or found.workflow_extended_info.reset_run_id:
        return ""
    if (
        found.workflow_execution_info.close_time.ToNanoseconds()
        < info.workflow_execution_info.start_time.ToNanoseconds()
    ):
        # A later run of the child, begun when the parent was gone.
        return ""
    policy = 0
    for event in await case.events(of, parent.run_id):
        initiated = event.start_child_workflow_execution_initiated_event_attributes
        if initiated.workflow_id == case.session.unique(flow.name):
            policy = initiated.parent_close_policy
    if policy == _TERMINATE:
        return "its end with its parent"
    if policy == _REQUEST_CANCEL and not info.workflow_extended_info.cancel_requested:
        return "its cancellation with its parent"
    return ""
