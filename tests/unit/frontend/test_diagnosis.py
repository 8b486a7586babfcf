"""Each reason why a workflow doesn't move, from the facts that make it one."""

from typing import Any

import pytest
from temporalio.api.enums.v1 import (
    CallbackState,
    EventType,
    PendingActivityState,
    PendingWorkflowTaskState,
    TaskQueueKind,
    WorkflowExecutionStatus,
    WorkflowTaskFailedCause,
)
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from perdure.base.clock import SECOND_NS, to_duration, to_timestamp
from perdure.cluster.shard_host import ShardState
from perdure.frontend.admin_diagnosis import tail_of
from perdure.frontend.diagnosis import Facts, QueueFacts, Reason, Sent, ShardFacts, Tail, diagnose
from perdure.workflow.tasks import QueueKind

NOW = 1_800_000_000 * SECOND_NS
SERVED = ShardFacts("s1", "pod-1 (h1)", ShardState.SERVING)
POLLED = QueueFacts({"worker": NOW - SECOND_NS})
Q_WORKFLOW, Q_ACTIVITY = ("q", QueueKind.WORKFLOW), ("acts", QueueKind.ACTIVITY)


def described(
    status: WorkflowExecutionStatus.ValueType = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
) -> Any:
    response = DescribeWorkflowExecutionResponse()
    response.workflow_execution_info.status = status
    response.workflow_execution_info.task_queue = "q"
    return response


def with_task(state: str = "SCHEDULED", attempt: int = 1, in_s: int = -5) -> Any:
    response = described()
    task = response.pending_workflow_task
    task.state = PendingWorkflowTaskState.Value(f"PENDING_WORKFLOW_TASK_STATE_{state}")
    task.attempt = attempt
    task.scheduled_time.CopyFrom(to_timestamp(NOW + in_s * SECOND_NS))
    if state == "STARTED":
        task.started_time.CopyFrom(to_timestamp(NOW - 3 * SECOND_NS))
    return response


def with_activity(state: str = "SCHEDULED", in_s: int = -5, **fields: Any) -> Any:
    response = described()
    activity = response.pending_activities.add(
        activity_id="7",
        state=PendingActivityState.Value(f"PENDING_ACTIVITY_STATE_{state}"),
        scheduled_time=to_timestamp(NOW + in_s * SECOND_NS),
        attempt=3,
        **fields,
    )
    activity.activity_type.name = "charge"
    activity.activity_options.task_queue.name = "acts"
    return response


def facts(response: Any = None, **fields: Any) -> Facts:
    fields.setdefault("queues", {Q_WORKFLOW: POLLED, Q_ACTIVITY: POLLED})
    fields.setdefault("shard", SERVED)
    return Facts(NOW, described=response, **fields)


def only(found: Facts) -> Reason:
    (reason,) = diagnose(found)
    return reason


def test_there_is_no_such_workflow() -> None:
    reason = only(facts(error="workflow not found for ID: x", is_missing=True))
    assert (reason.kind, reason.text) == ("not_found", "workflow not found for ID: x")


@pytest.mark.parametrize(
    ("shard", "kind", "text"),
    [
        (ShardFacts(""), "shard_unknown", "map of shards"),
        (ShardFacts("s1"), "no_history_host", "nobody has shard s1"),
        (ShardFacts("s1", "h1", error="no answer"), "host_unreachable", "no answer"),
        (ShardFacts("s1", "h1", ShardState.STUCK, "bad frame"), "shard_stuck", "bad frame"),
        (ShardFacts("s1", "h1", ShardState.TAKING, "reads"), "shard_in_recovery", "being taken by h1: reads"),
        (ShardFacts("s1", "h1"), "shard_in_recovery", "being taken by h1"),
        (ShardFacts("s1", "h1", ShardState.LEAVING), "shard_moving", "leaving h1"),
        (SERVED, "unknown", "lost connection"),
    ],
)
def test_the_workflow_cant_be_read(shard: ShardFacts, kind: str, text: str) -> None:
    reason = only(facts(error="lost connection", shard=shard))
    assert (reason.kind, reason.blocks) == (kind, True)
    assert text in reason.text
    assert reason.todo


def test_a_shard_that_answers_blocks_nothing_whatever_its_next_host_says() -> None:
    moving, task = diagnose(facts(with_task(), shard=ShardFacts("s1", "h2", ShardState.TAKING)))[::-1]
    assert (moving.kind, moving.blocks) == ("shard_in_recovery", False)
    assert task.kind == "task_waits"


def test_it_is_closed_and_nobody_would_answer_a_query() -> None:
    response = described(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED)
    response.workflow_execution_info.close_time.CopyFrom(to_timestamp(NOW - 10 * SECOND_NS))
    assert only(facts(response)).text == "It is closed (failed) 10 s ago."
    assert [reason.kind for reason in diagnose(facts(response, queues={}))] == ["closed", "queries_unanswered"]


def test_it_is_paused() -> None:
    response = described(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED)
    pause = response.workflow_extended_info.pause_info
    pause.identity, pause.reason = "ann", "maintenance"
    pause.paused_time.CopyFrom(to_timestamp(NOW - 600 * SECOND_NS))
    reason = only(facts(response))
    assert reason.kind == "paused"
    assert "by ann at 2027-01-15T07:50:00.000Z: maintenance" in reason.text


# ------------------------------------------------------------------------------------------------- workflow tasks


def test_nobody_polls_the_workflow_queue() -> None:
    reason = only(facts(with_task(), queues={}))
    assert (reason.kind, reason.blocks) == ("no_poller", True)
    assert "waits for 5 s: no worker polls workflow queue q." in reason.text


def test_a_poller_of_long_ago_is_none() -> None:
    reason = only(facts(with_task(), queues={Q_WORKFLOW: QueueFacts({"gone": NOW - 100 * SECOND_NS})}))
    assert reason.kind == "no_poller"
    assert "the last poll was 100 s ago" in reason.text


def test_nobody_polls_the_sticky_queue() -> None:
    queues = {Q_WORKFLOW: POLLED, ("sticky-1", QueueKind.WORKFLOW): QueueFacts()}
    first, second = diagnose(facts(with_task(), queues=queues, tail=Tail(sticky="sticky-1")))
    assert (first.kind, second.kind) == ("no_sticky_poller", "task_waits")
    assert "sticky-1" in first.text


def test_the_workflow_task_fails() -> None:
    cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
    tail = Tail(failed_cause=cause, failure="no such command")
    first, second = diagnose(facts(with_task("STARTED", attempt=4), tail=tail))
    assert first.kind == "workflow_task_failing"
    assert "(non_deterministic_error), now at attempt 4: no such command" in first.text
    assert (second.kind, second.text) == (
        "workflow_task_started",
        "Its workflow task was started 3 s ago and is not answered.",
    )


def test_the_workflow_task_is_held_back() -> None:
    reason = only(facts(with_task(in_s=60)))
    assert reason.kind == "workflow_task_backoff"
    assert "until 2027-01-15T08:01:00.000Z" in reason.text


def test_the_queue_cant_be_looked_at() -> None:
    reason = only(facts(with_task(), queues={Q_WORKFLOW: QueueFacts(error="no answer within 3 s")}))
    assert reason.kind == "queue_unreachable"
    assert "no answer within 3 s" in reason.text


def test_workers_are_busy() -> None:
    reason = only(facts(with_task(), queues={Q_WORKFLOW: QueueFacts({"w": NOW}, backlog=40)}))
    assert reason.kind == "task_waits"
    assert "in which 40 wait; 1 pollers" in reason.text


# ------------------------------------------------------------------------------------------------------ activities


def test_an_activity_is_in_backoff() -> None:
    response = with_activity(in_s=30, maximum_attempts=9)
    response.pending_activities[0].last_failure.message = "card declined"
    reason = only(facts(response))
    assert reason.kind == "activity_backoff"
    assert "Activity 7 (charge), attempt 3 of 9, is in backoff until 2027-01-15T08:00:30.000Z" in reason.text
    assert "card declined" in reason.text


def test_an_activity_runs() -> None:
    started = to_timestamp(NOW - 50 * SECOND_NS)
    beat = to_timestamp(NOW - 8 * SECOND_NS)
    response = with_activity("STARTED", last_started_time=started, last_heartbeat_time=beat, last_worker_identity="w9")
    reason = only(facts(response))
    assert reason.kind == "activity_running"
    assert "is running by w9, started 50 s ago, last heartbeat 8 s ago." in reason.text
    response = with_activity("CANCEL_REQUESTED", last_started_time=started)
    assert "no heartbeat yet. It was asked to cancel." in only(facts(response)).text


def test_an_activity_is_paused() -> None:
    response = with_activity("PAUSED", paused=True)
    response.pending_activities[0].pause_info.manual.reason = "on hold"
    reason = only(facts(response))
    assert (reason.kind, reason.text) == ("activity_paused", "Activity 7 (charge), attempt 3 is paused: on hold.")


def test_nobody_polls_the_activity_queue() -> None:
    reason = only(facts(with_activity(), queues={Q_WORKFLOW: POLLED}))
    assert reason.kind == "no_poller"
    assert "no worker polls activity queue acts" in reason.text


def test_the_queue_is_rate_limited() -> None:
    slow = QueueFacts({"w": NOW}, backlog=12, rate=0.5, held_back=True)
    reason = only(facts(with_activity(), queues={Q_WORKFLOW: POLLED, Q_ACTIVITY: slow}))
    assert reason.kind == "rate_limited"
    assert "limited to 0.5 tasks a second; 12 wait" in reason.text


def test_only_so_many_activities_are_told() -> None:
    response = described()
    for _ in range(22):
        response.pending_activities.append(with_activity(in_s=30).pending_activities[0])
    found = diagnose(facts(response))
    assert len(found) == 21
    assert found[-1].text == "2 more activities are pending."


# ----------------------------------------------------------------------------------------- what is not a task at all


def test_it_waits_for_a_signal() -> None:
    reason = only(facts(described()))
    assert (reason.kind, reason.blocks) == ("idle", False)
    assert "older than the events" in only(facts(described(), tail=Tail(is_whole=False))).text
    assert [each.kind for each in diagnose(facts(described(), queues={}))] == ["no_poller", "idle"]


def test_its_start_is_delayed() -> None:
    response = described()
    response.workflow_execution_info.execution_time.CopyFrom(to_timestamp(NOW + 60 * SECOND_NS))
    tail = tail_of([event("WORKFLOW_EXECUTION_SIGNALED"), event("WORKFLOW_EXECUTION_STARTED")], is_whole=True)
    reason = only(facts(response, tail=tail))
    assert (reason.kind, reason.blocks) == ("workflow_task_backoff", True)
    assert "2027-01-15T08:01:00.000Z" in reason.text
    # What came meanwhile may have begun it before its time.
    begun = tail_of([event("WORKFLOW_TASK_COMPLETED"), event("WORKFLOW_TASK_SCHEDULED")], is_whole=True)
    assert only(facts(response, tail=begun)).kind == "idle"
    assert only(facts(response, tail=tail_of([], is_whole=False))).kind == "idle"


def test_it_waits_for_children_timers_and_updates() -> None:
    response = described()
    response.pending_children.add(workflow_id="child", run_id="r", workflow_type_name="kid")
    tail = Tail(timers={"t1": NOW + 60 * SECOND_NS}, updates=("u1",))
    child, update, timer = diagnose(facts(response, tail=tail))
    assert (child.kind, child.todo) == ("waits_for_child", "`perdure admin diagnose child`")
    assert (update.kind, timer.kind) == ("update_waits", "waits_for_timer")
    assert "timer t1, due 2027-01-15T08:01:00.000Z" in timer.text


def test_it_waits_for_what_it_sent_to_others() -> None:
    signal, cancel = diagnose(facts(described(), tail=Tail(sent=(Sent("other", "go"), Sent("third")))))
    assert (signal.kind, cancel.kind) == ("waits_for_signal_sent", "waits_for_cancel_sent")
    assert signal.text == "Its signal go to workflow other has no outcome yet."
    assert cancel.text == "Its request to cancel workflow third has no outcome yet."
    assert "`perdure admin diagnose other`" in signal.todo


@pytest.mark.parametrize(
    ("state", "kind", "text"),
    [
        ("SCHEDULED", "callback_waits", "is being called, attempt 4."),
        ("BACKING_OFF", "callback_backoff", "attempt 3 failed, is in backoff until 2027-01-15T08:01:00.000Z."),
        ("FAILED", "callback_failed", "failed at attempt 3, and is not tried again."),
        ("SUCCEEDED", "", ""),
        ("STANDBY", "", ""),
    ],
)
def test_who_is_to_be_told_of_its_end_is_not_yet(state: str, kind: str, text: str) -> None:
    response = described(WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED)
    response.workflow_execution_info.close_time.CopyFrom(to_timestamp(NOW))
    callback = response.callbacks.add(
        state=CallbackState.Value(f"CALLBACK_STATE_{state}"),
        attempt=3,
        next_attempt_schedule_time=to_timestamp(NOW + 60 * SECOND_NS),
    )
    callback.callback.nexus.url = "http://there"
    callback.last_attempt_failure.message = "503"
    closed, *rest = diagnose(facts(response))
    assert closed.kind == "closed"
    assert [reason.kind for reason in rest] == [kind] * bool(kind)
    for reason in rest:
        assert reason.text.startswith("Callback http://there")
        assert reason.text.endswith(f"{text} The last failure: 503")


def test_what_blocks_comes_first() -> None:
    response = with_activity(in_s=30)
    response.pending_children.add(workflow_id="child")
    found = diagnose(facts(response, queues={}))
    assert [reason.blocks for reason in found] == [True, False, False]


# ------------------------------------------------------------------------------------------------ ends of histories


def event(kind: str, **attributes: Any) -> HistoryEvent:
    found = HistoryEvent(event_type=EventType.Value(f"EVENT_TYPE_{kind}"), event_time=to_timestamp(NOW))
    if attributes:
        getattr(found, f"{kind.lower()}_event_attributes").CopyFrom(
            type(getattr(found, f"{kind.lower()}_event_attributes"))(**attributes)
        )
    return found


def test_the_end_of_a_history_newest_first() -> None:
    sticky = event("WORKFLOW_TASK_SCHEDULED")
    queue = sticky.workflow_task_scheduled_event_attributes.task_queue
    queue.name, queue.kind = "mine", TaskQueueKind.TASK_QUEUE_KIND_STICKY
    failed = event("WORKFLOW_TASK_FAILED", cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW)
    failed.workflow_task_failed_event_attributes.failure.message = "why"
    minute = to_duration(60 * SECOND_NS)
    events = [
        sticky,
        failed,
        event("WORKFLOW_TASK_SCHEDULED"),
        event("TIMER_FIRED", timer_id="t1"),
        event("WORKFLOW_TASK_COMPLETED"),
        event("TIMER_STARTED", timer_id="t2", start_to_fire_timeout=minute),
        event("TIMER_STARTED", timer_id="t1", start_to_fire_timeout=minute),
        event("WORKFLOW_EXECUTION_UPDATE_ACCEPTED", protocol_instance_id="u1"),
    ]
    found = tail_of(events, is_whole=True)
    assert (found.sticky, found.failed_cause, found.failure) == (
        "mine",
        WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
        "why",
    )
    assert found.timers == {"t2": NOW + 60 * SECOND_NS}
    assert found.updates == ("u1",)


def test_what_was_sent_to_others_until_it_has_an_outcome() -> None:
    initiated = ("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED", "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED")
    events: list[HistoryEvent] = []
    for at, kind in enumerate(initiated * 3, 5):
        sent = event(kind)
        sent.event_id = at
        attributes = getattr(sent, f"{kind.lower()}_event_attributes")
        attributes.workflow_execution.workflow_id = f"w{at}"
        if at % 2:
            attributes.signal_name = "go"
        events.insert(0, sent)
    for at, kind in enumerate(
        [
            "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED",
            "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED",
            "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED",
            "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED",
        ],
        5,
    ):
        events.insert(0, event(kind, initiated_event_id=at))
    assert tail_of(events, is_whole=True).sent == (Sent("w9", "go"), Sent("w10"))


def test_a_failure_before_a_completion_is_over() -> None:
    events = [event("WORKFLOW_TASK_COMPLETED"), event("WORKFLOW_TASK_TIMED_OUT")]
    assert tail_of(events, is_whole=True) == Tail()
    assert tail_of(events[1:], is_whole=False).failure.startswith("it timed out")
