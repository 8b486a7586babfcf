"""Steps of activity workers: take an activity, heartbeat, complete, fail, cancel it, by token, by id, or too late."""

from __future__ import annotations

from google.protobuf.message import Message
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import Case, Fields, Flow, action, has_activity
from tests.conformance.harness.payloads import failure, payloads
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.session import NAMESPACE, WORKER

_SHORT_SECONDS = 60


async def _pending(case: Case, flow: Flow) -> tuple[str, list[workflow.PendingActivityInfo]]:
    _, info = await case.state(flow)
    if info is None or info.workflow_execution_info.status != 1:
        return "", []
    listed = sorted((one for one in info.pending_activities if not one.paused), key=lambda one: one.activity_id)
    return info.workflow_execution_info.execution.run_id, listed


async def _take(case: Case, flow: Flow, run_id: str, one: workflow.PendingActivityInfo) -> bool:
    """Take an activity that is offered; whether a worker may go on with it, for it may be left to time out."""
    request = ws.PollActivityTaskQueueRequest(
        namespace=NAMESPACE, task_queue=case.queue(f"{flow.name}-{one.activity_id}"), identity=WORKER
    )
    case.session.transcript.request(request)
    try:
        reply = await case.session.quiet(request)
    except CallFailed as failed:
        case.session.transcript.failure(failed)
        return False
    await _tell_timeouts_in_force(case, flow, run_id, one, reply)
    case.session.transcript.message(reply)
    if not reply.task_token:
        return False
    flow.held[run_id, one.activity_id] = reply.task_token
    for timeout in (reply.start_to_close_timeout, reply.heartbeat_timeout):
        if 0 < timeout.ToMilliseconds() < _SHORT_SECONDS * 1000:
            case.saw("activity times out", f"attempt {reply.attempt}")
            flow.doomed.add((run_id, one.activity_id, reply.attempt))
            return False
    return True


async def _tell_timeouts_in_force(
    case: Case, flow: Flow, run_id: str, one: workflow.PendingActivityInfo, reply: ws.PollActivityTaskQueueResponse
) -> None:
    """The reference tells workers the timeouts of the schedule: see AVOIDED in intended.py."""
    for event in await case.events(flow, run_id):
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_id != reply.activity_id or not reply.activity_id:
            continue
        if reply.start_to_close_timeout == scheduled.start_to_close_timeout:
            reply.start_to_close_timeout.CopyFrom(one.activity_options.start_to_close_timeout)
        if reply.heartbeat_timeout == scheduled.heartbeat_timeout:
            reply.heartbeat_timeout.CopyFrom(one.activity_options.heartbeat_timeout)


@action(weight=12, suits=has_activity)
async def work(case: Case, flow: Flow) -> None:
    """An activity worker takes a pending activity, or goes on with the one that it has."""
    run_id, pending = await _pending(case, flow)
    if not pending:
        return
    one = case.of(pending)
    if one.state == 1:
        if one.HasField("next_attempt_schedule_time"):
            return
        if one.activity_id in flow.operated and flow.updates and case.has_started_task(flow):
            # See AVOIDED in intended.py: a former offer of the activity is refused before this one is given away.
            return
        case.saw("take activity", f"attempt {one.attempt}")
        if not await _take(case, flow, run_id, one) or case.of([False, True]):
            return
    token = flow.held.get((run_id, one.activity_id))
    if token is None:
        return
    await _answer(case, token, "cancel requested" if one.state == 3 else "started")


async def _answer(case: Case, token: bytes, state: str) -> None:
    what = case.of(["complete", "fail", "heartbeat", "cancel", "complete", "fail"])
    case.saw(f"activity: {what}", state)
    if what == "complete":
        await case.session.complete_activity(token)
    elif what == "fail":
        await case.session.fail_activity(token, **_failing(case))
    elif what == "heartbeat":
        await case.session.heartbeat(token, case.of(["", "half"]))
    else:
        await case.session.attempt(
            ws.RespondActivityTaskCanceledRequest(
                namespace=NAMESPACE, task_token=token, identity=WORKER, details=case.of([None, payloads("c")])
            )
        )


def _failing(case: Case) -> Fields:
    return case.of(
        [
            {},
            {"cause": failure("no", "fatal", non_retryable=True)},
            {"cause": failure("no", "fatal")},
            {"cause": failure("later", next_retry_delay=3600)},
            {"cause": failure("soon", next_retry_delay=0.1)},
            {"last_heartbeat_details": payloads("last")},
        ]
    )


@action(weight=2, suits=has_activity)
async def work_by_id(case: Case, flow: Flow) -> None:
    """The same by the activity's id, whether or not somebody has taken it."""
    run_id, pending = await _pending(case, flow)
    one = case.of([*pending, None])
    plain: Fields = {
        "namespace": NAMESPACE,
        "workflow_id": case.session.unique(flow.name),
        "run_id": case.of(["", run_id]),
        "activity_id": one.activity_id if one is not None else "act99",
        "identity": WORKER,
    }
    state = {1: "scheduled", 2: "started", 3: "cancel requested"}.get(one.state, "other") if one is not None else "none"
    requests: list[Message] = [
        ws.RespondActivityTaskCompletedByIdRequest(**plain, result=payloads("by id")),
        ws.RespondActivityTaskFailedByIdRequest(**plain, failure=failure("by id")),
        ws.RecordActivityTaskHeartbeatByIdRequest(**plain, details=payloads("by id")),
        ws.RespondActivityTaskCanceledByIdRequest(**plain),
    ]
    request = case.of(requests)
    case.saw(f"by id: {type(request).__name__}", state)
    await case.session.attempt(request)


@action(weight=1)
async def work_late(case: Case, flow: Flow) -> None:
    """An answer with a token that may be of an attempt, or of a run, that is over."""
    if flow.held:
        case.saw("activity late", (await case.state(flow))[0])
        await _answer(case, case.of(list(reversed(flow.held.values()))), "late")
