from typing import Any

import pytest
from temporalio.api.command.v1 import Command, RequestCancelActivityTaskCommandAttributes
from temporalio.api.common.v1 import ActivityType, Payload, Priority, RetryPolicy
from temporalio.api.enums.v1 import CommandType, TaskQueueKind, WorkflowTaskFailedCause
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import SECOND_NS, from_duration
from perdure.base.limits import Limits, QueueRule
from perdure.workflow.commands import BadCommand
from perdure.workflow.requests import ActivityRef, CompleteActivity
from perdure.workflow.tasks import QueueKey, QueueKind, lane_of, unlaned
from tests.unit.workflow.bench import COMPLETED_ID, Bench, command, payloads, ref, schedule, seconds

BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
BAD_CANCEL = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES
ACTION = "invalid history builder state for action: "


def request_cancel(scheduled_event_id: int) -> Command:
    attributes = RequestCancelActivityTaskCommandAttributes(scheduled_event_id=scheduled_event_id)
    return command("REQUEST_CANCEL_ACTIVITY_TASK", attributes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_queue": None}, "taskQueue is not set"),
        ({"task_queue": TaskQueue()}, "missing task queue name"),
        ({"task_queue": TaskQueue(name="q" * 1001)}, "taskQueue length exceeds limit"),
        ({"task_queue": TaskQueue(name="/_sys/q")}, "task queue name cannot start with reserved prefix /_sys/"),
        (
            {"task_queue": TaskQueue(name="temporal-sys-per-ns-tq")},
            (
                "cannot use internal per-namespace task queue:temporal-sys-per-ns-tq "
                "(in parent component task queue: queue)"
            ),
        ),
        ({"activity_id": ""}, "activityId is not set"),
        ({"activity_type": None}, "activityType is not set"),
        ({"activity_type": ActivityType(name="t" * 1001)}, "activityType exceeds length limit. Length=1001 Limit=1000"),
        ({"activity_id": "é" * 501}, "activityId exceeds length limit. Length=1002 Limit=1000"),
        (
            {"retry_policy": RetryPolicy(backoff_coefficient=0.1)},
            "BackoffCoefficient cannot be less than 1 on retry policy.",
        ),
        ({"priority": Priority(priority_key=-1)}, "invalid priorities: priority key can't be negative"),
        ({"priority": Priority(fairness_key="k" * 65)}, "invalid priorities: fairness key length exceeds limit"),
        ({"priority": Priority(fairness_weight=-1)}, "invalid priorities: must be greater than zero"),
        ({"schedule_to_close_timeout": seconds(-1)}, "invalid ScheduleToCloseTimeout: negative duration"),
        ({"schedule_to_start_timeout": seconds(-1)}, "invalid ScheduleToStartTimeout: negative duration"),
        ({"start_to_close_timeout": seconds(-1)}, "invalid StartToCloseTimeout: negative duration"),
        ({"heartbeat_timeout": seconds(-1)}, "invalid HeartbeatTimeout: negative duration"),
        (
            {"start_to_close_timeout": None, "schedule_to_start_timeout": seconds(5)},
            (
                "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. "
                "ActivityId=act ActivityType=work"
            ),
        ),
        (
            {"use_workflow_build_id": True, "task_queue": TaskQueue(name="other")},
            "Activity with UseCompatibleVersion cannot run on different task queue.",
        ),
    ],
)
def test_attributes_that_make_no_sense_fail_the_task(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadCommand) as bad:
        Bench().command(schedule(**changes))
    assert (bad.value.cause, bad.value.message, bad.value.terminate) == (BAD, message, False)


def test_a_command_without_attributes_fails_the_task() -> None:
    with pytest.raises(BadCommand) as bad:
        Bench().command(Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK))
    message = "ScheduleActivityTaskCommandAttributes is not set on ScheduleActivityTaskCommand."
    assert (bad.value.cause, bad.value.message) == (BAD, message)


def test_an_input_over_its_limit_ends_the_run() -> None:
    bench = Bench(limits=Limits(blob_bytes_max=100))
    with pytest.raises(BadCommand) as bad:
        bench.command(schedule(input=payloads("x" * 101)))
    assert bad.value.message == "ScheduleActivityTaskCommandAttributes.Input exceeds size limit."
    assert bad.value.terminate


@pytest.mark.parametrize(
    ("given", "run_timeout", "expected"),
    [
        ((0, 0, 10, 0), 0, (0, 0, 10, 0)),
        ((0, 0, 10, 0), 60, (60, 60, 10, 0)),
        ((0, 4, 10, 3), 60, (60, 4, 10, 3)),
        ((9, 0, 0, 0), 0, (9, 9, 9, 0)),
        ((9, 0, 0, 0), 60, (9, 9, 9, 0)),
        ((9, 20, 20, 20), 0, (9, 9, 9, 9)),
        ((9, 2, 3, 4), 0, (9, 2, 3, 3)),
        ((0, 0, 10, 20), 0, (0, 0, 10, 10)),
        ((90, 80, 70, 65), 60, (60, 60, 60, 60)),
        ((0, 80, 70, 0), 60, (60, 60, 60, 0)),
        ((0, 80, 70, 0), 0, (0, 80, 70, 0)),
    ],
)
def test_timeouts_fill_in_for_one_another_and_stay_within_the_run(
    given: tuple[int, ...], run_timeout: int, expected: tuple[int, ...]
) -> None:
    names = ("schedule_to_close", "schedule_to_start", "start_to_close", "heartbeat")
    bench = Bench(run_timeout_ns=run_timeout * SECOND_NS)
    timeouts = {f"{name}_timeout": seconds(value) or None for name, value in zip(names, given, strict=True)}
    scheduled_event_id = bench.activity(**timeouts)
    event = bench.last("ACTIVITY_TASK_SCHEDULED")
    assert all(event.HasField(f"{name}_timeout") for name in names)
    assert tuple(from_duration(getattr(event, f"{name}_timeout")) // SECOND_NS for name in names) == expected
    activity, _ = bench.pending(scheduled_event_id)
    assert tuple(getattr(activity, f"{name}_ns") // SECOND_NS for name in names) == expected


def test_the_event_says_everything_the_command_said() -> None:
    bench = Bench()
    marked = schedule(
        input=payloads("in"),
        priority=Priority(priority_key=2, fairness_key="tenant", fairness_weight=2.5),
        use_workflow_build_id=True,
    )
    marked.user_metadata.CopyFrom(UserMetadata(summary=Payload(data=b"what for")))
    bench.command(marked)
    event = bench.last("ACTIVITY_TASK_SCHEDULED")
    assert event.workflow_task_completed_event_id == COMPLETED_ID
    assert event.activity_id == "act"
    assert event.input == payloads("in")
    assert event.task_queue == TaskQueue(name="queue", kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL)
    assert event.use_workflow_build_id
    assert event.retry_policy == RetryPolicy(
        initial_interval=seconds(1), backoff_coefficient=2, maximum_interval=seconds(100)
    )
    assert bench.events[0].user_metadata.summary.data == b"what for"
    (offer,) = bench.offers()
    assert (offer.priority, offer.fairness_key, offer.fairness_weight) == (2, "tenant", 2.5)


@pytest.mark.parametrize(
    ("rules", "is_fair"),
    [
        ((), False),
        ((QueueRule(value=True),), True),
        ((QueueRule(value=True), QueueRule(value=False, task_queue="queue")), False),
        ((QueueRule(value=True, task_queue="other"),), False),
        ((QueueRule(value=True, task_type="Workflow"),), False),
        ((QueueRule(value=False), QueueRule(value=True, task_queue="queue", task_type="Activity")), True),
    ],
)
def test_a_task_is_in_the_lane_of_its_key_if_keys_count_where_and_when_it_is_scheduled(
    rules: tuple[QueueRule, ...], *, is_fair: bool
) -> None:
    bench = Bench(limits=Limits(fairness=rules))
    bench.activity(activity_id="keyed", priority=Priority(fairness_key="tenant"))
    bench.activity(activity_id="plain")
    bench.limits = Limits(fairness=() if is_fair else (QueueRule(value=True),))
    keyed, plain = sorted(bench.offers(), key=lambda each: each.scheduled_event_id)
    assert keyed.queue == QueueKey("ns", "queue", QueueKind.ACTIVITY, lane_of("tenant") if is_fair else "")
    assert plain.queue == QueueKey("ns", "queue", QueueKind.ACTIVITY)
    assert unlaned(keyed.queue) == plain.queue


def test_an_activity_id_is_free_again_only_after_its_activity_ended() -> None:
    bench = Bench()
    bench.activity()
    with pytest.raises(BadCommand) as bad:
        bench.command(schedule())
    assert bad.value.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_SCHEDULE_ACTIVITY_DUPLICATE_ID
    assert bad.value.message == ACTION + "add-activitytask-scheduled-event, ActivityID: act"
    bench.do(CompleteActivity(ref(bench.start()), payloads("out"), "worker"))
    bench.command(schedule())
    assert len(bench.offers()) == 1


def test_pending_activities_have_a_limit() -> None:
    bench = Bench(limits=Limits(pending_activities_max=1))
    bench.activity()
    with pytest.raises(BadCommand) as bad:
        bench.command(schedule(activity_id="another"))
    assert bad.value.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_ACTIVITIES_LIMIT_EXCEEDED
    assert bad.value.message == "the number of pending activities, 1, has reached the per-workflow limit of 1"


def test_a_wish_for_eager_execution_is_passed_on_and_the_activity_offered_all_the_same() -> None:
    bench = Bench()
    eager = bench.command(schedule(request_eager_execution=True), schedule(activity_id="plain"))
    assert eager == [COMPLETED_ID + 1]
    assert len(bench.offers()) == 2


def test_cancelling_what_no_worker_has_ends_it_at_once_behind_the_events_of_other_commands() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    bench.command(request_cancel(scheduled_event_id), schedule(activity_id="act"))
    assert bench.names()[1:] == ["ACTIVITY_TASK_CANCEL_REQUESTED", "ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_CANCELED"]
    canceled = bench.last("ACTIVITY_TASK_CANCELED")
    assert canceled.scheduled_event_id == scheduled_event_id
    assert canceled.started_event_id == 0
    assert canceled.latest_cancel_requested_event_id == scheduled_event_id + 1
    assert canceled.details.payloads[0].data == b'"ACTIVITY_ID_NOT_STARTED"'
    assert canceled.identity == "worker"
    assert bench.run.durable.workflow_task is not None
    assert list(bench.run.durable.attempts) == list(bench.run.facts.activities) == [scheduled_event_id + 2]


def test_a_started_activity_goes_on_until_its_worker_ends_it() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    started = bench.start()
    bench.command(request_cancel(scheduled_event_id))
    assert bench.names()[-1] == "ACTIVITY_TASK_CANCEL_REQUESTED"
    assert bench.run.durable.workflow_task is None
    assert bench.heartbeat(started).cancel_requested


@pytest.mark.parametrize(
    ("scheduled_event_id", "message"),
    [
        (0, "ScheduledEventId is not set on RequestCancelActivityTaskCommand."),
        (99, ACTION + "add-activitytask-cancel-requested-event, ScheduledEventID: 99"),
    ],
)
def test_cancelling_what_is_not_there_fails_the_task(scheduled_event_id: int, message: str) -> None:
    with pytest.raises(BadCommand) as bad:
        Bench().command(request_cancel(scheduled_event_id))
    assert (bad.value.cause, bad.value.message) == (BAD_CANCEL, message)


def test_asking_twice_fails_the_task() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    bench.start()
    with pytest.raises(BadCommand) as bad:
        bench.command(request_cancel(scheduled_event_id), request_cancel(scheduled_event_id))
    details = f"add-activitytask-cancel-requested-event, ScheduledEventID: {scheduled_event_id}"
    assert (bad.value.cause, bad.value.message) == (BAD_CANCEL, ACTION + details)


def test_cancelling_what_ended_unseen_is_recorded_and_does_nothing() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    started = bench.start()
    bench.task_is_started()
    bench.do(CompleteActivity(ActivityRef(token=ref(started).token), payloads("out"), "worker"))
    bench.command(request_cancel(scheduled_event_id))
    assert bench.names()[1:] == ["ACTIVITY_TASK_CANCEL_REQUESTED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]
