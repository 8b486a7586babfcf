from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payload, Priority, RetryPolicy, WorkflowExecution
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
    UpdateActivityOptionsResponse,
)

from perdure.base.clock import SECOND_NS
from perdure.base.errors import FailedPrecondition, InvalidArgument, NotFound
from perdure.workflow.activity_options import camel_case
from perdure.workflow.activity_requests import PauseActivity, ResetActivity, UnpauseActivity, UpdateActivityOptions
from perdure.workflow.describe_activity import pending_activity_info
from perdure.workflow.requests import CompleteActivity, FailActivity, HeartbeatActivity, StartActivityTask
from perdure.workflow.state import ActivityAttempt
from tests.unit.workflow.bench import T0, Bench, application_failure, payloads, ref, seconds

POLICY = RetryPolicy(initial_interval=seconds(10), backoff_coefficient=1, non_retryable_error_types=["Never"])
_WHICH: dict[str, Any] = {"execution": WorkflowExecution(workflow_id="wf"), "id": "act", "identity": "operator"}


def pause(**fields: Any) -> PauseActivity:
    return PauseActivity(PauseActivityRequest(**{**_WHICH, **fields}))


def unpause(**fields: Any) -> UnpauseActivity:
    return UnpauseActivity(UnpauseActivityRequest(**{**_WHICH, **fields}))


def reset(**fields: Any) -> ResetActivity:
    return ResetActivity(ResetActivityRequest(**{**_WHICH, **fields}))


def update(options: ActivityOptions, *paths: str, **fields: Any) -> UpdateActivityOptions:
    mask = FieldMask(paths=paths)
    return UpdateActivityOptions(
        UpdateActivityOptionsRequest(**{**_WHICH, "activity_options": options, "update_mask": mask, **fields})
    )


def attempt_of(bench: Bench) -> ActivityAttempt:
    (attempt,) = bench.run.durable.attempts.values()
    return attempt


def paused_types(bench: Bench) -> str:
    encoded = bench.run.durable.server_attributes.get("TemporalPauseInfo", b"")
    return Payload.FromString(encoded).data.decode()


def test_an_offer_from_before_a_pause_is_void() -> None:
    bench = Bench()
    bench.activity()
    (offer,) = bench.offers()
    bench.do(pause())
    assert bench.offers() == []
    with pytest.raises(NotFound, match="stamp"):
        bench.do(StartActivityTask(offer, "start", "worker"))
    bench.do(unpause())
    with pytest.raises(NotFound, match="stamp"):
        bench.do(StartActivityTask(offer, "start", "worker"))
    assert bench.start().attempt.attempt == 1


def test_a_pause_is_shown_with_who_and_why_and_when() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity()
    bench.after(3).do(pause(reason="enough"))
    info = pending_activity_info(bench.run, scheduled_event_id)
    assert info.state == PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED
    assert (info.pause_info.manual.identity, info.pause_info.manual.reason) == ("operator", "enough")
    assert info.pause_info.pause_time.ToNanoseconds() == T0 + 3 * SECOND_NS
    bench.do(unpause())
    assert not pending_activity_info(bench.run, scheduled_event_id).HasField("pause_info")


def test_a_pause_is_repeated_by_its_own_request_only() -> None:
    bench = Bench()
    bench.activity()
    bench.do(pause(request_id="one", reason="first"))
    before = attempt_of(bench)
    bench.do(pause(request_id="one", reason="second"))
    assert attempt_of(bench) == before
    with pytest.raises(FailedPrecondition, match="already paused"):
        bench.do(pause(request_id="two"))


def test_search_attributes_tell_of_pauses_while_they_last() -> None:
    bench = Bench()
    bench.activity()
    started = bench.start()
    bench.do(pause())
    assert paused_types(bench) == '["property:activityType=work"]'
    shown = bench.run.durable.visibility_version
    bench.do(CompleteActivity(ref(started), None, "worker"))
    assert paused_types(bench) == ""
    assert bench.run.durable.visibility_version > shown


def test_deadlines_that_passed_during_a_pause_pass_with_its_end() -> None:
    bench = Bench()
    bench.activity(start_to_close_timeout=seconds(5), retry_policy=RetryPolicy(maximum_attempts=1))
    bench.start()
    bench.do(pause())
    assert bench.timers() == []
    bench.after(60).do(unpause())
    (timer,) = bench.timers()
    assert timer.due_ns == T0 + 5 * SECOND_NS


def test_jitter_delays_the_next_attempt_but_not_beyond() -> None:
    bench = Bench()
    bench.activity()
    bench.do(pause())
    bench.do(unpause(jitter=seconds(10)))
    assert bench.offers() == []
    (timer,) = bench.timers()
    assert T0 < timer.due_ns < T0 + 10 * SECOND_NS


def test_a_worker_learns_of_pause_and_reset_by_its_heartbeat() -> None:
    bench = Bench()
    bench.activity(retry_policy=POLICY)
    started = bench.start()
    bench.do(pause())
    bench.do(reset(keep_paused=True, reset_heartbeat=True))
    heard = bench.do(HeartbeatActivity(ref(started), payloads("half"), "worker"))
    assert (heard.activity_paused, heard.activity_reset) == (True, True)
    bench.do(unpause())
    heard = bench.do(HeartbeatActivity(ref(started), payloads("half"), "worker"))
    assert (heard.activity_paused, heard.activity_reset) == (False, True)
    bench.do(FailActivity(ref(started), application_failure(), "worker"))
    after = attempt_of(bench)
    assert (after.attempt, after.reset, after.reset_heartbeat, after.heartbeat_details) == (2, False, False, b"")


def test_an_answer_from_before_a_reset_is_refused() -> None:
    bench = Bench()
    bench.activity(retry_policy=POLICY)
    first = bench.start()
    bench.do(FailActivity(ref(first), application_failure(), "worker"))
    bench.after(1).do(reset())
    again = bench.start(request_id="again")
    assert again.attempt.attempt == 1
    with pytest.raises(NotFound):
        bench.do(CompleteActivity(ref(first), None, "worker"))
    bench.do(CompleteActivity(ref(again), None, "worker"))


def test_all_or_none_are_paused() -> None:
    bench = Bench()
    bench.activity(activity_id="a")
    bench.activity(activity_id="b")
    bench.do(pause(id="b", request_id="one"))
    with pytest.raises(FailedPrecondition):
        bench.do(PauseActivity(PauseActivityRequest(execution=_WHICH["execution"], type="work", request_id="two")))
    assert [attempt.paused for attempt in bench.run.durable.attempts.values()] == [False, True]


def test_options_in_force_are_those_of_the_operator() -> None:
    bench = Bench()
    scheduled_event_id = bench.activity(retry_policy=POLICY, heartbeat_timeout=seconds(9))
    options = ActivityOptions(
        task_queue=TaskQueue(name="other"), heartbeat_timeout=seconds(2), priority=Priority(priority_key=1)
    )
    answer: UpdateActivityOptionsResponse = bench.do(
        update(options, "task_queue.name", "heartbeat_timeout", "priority")
    )
    assert answer.activity_options.task_queue.name == "other"
    (offer,) = bench.offers()
    assert (offer.queue.name, offer.priority) == ("other", 1)
    started = bench.start()
    assert started.activity.heartbeat_ns == 2 * SECOND_NS
    assert RetryPolicy.FromString(started.activity.retry_policy).non_retryable_error_types == ["Never"]
    assert min(timer.due_ns for timer in bench.timers()) == T0 + 2 * SECOND_NS
    assert bench.run.facts.activities[scheduled_event_id].heartbeat_ns == 9 * SECOND_NS


def test_the_backoff_is_reckoned_from_the_end_of_the_attempt() -> None:
    bench = Bench()
    bench.activity(retry_policy=RetryPolicy(initial_interval=seconds(10), backoff_coefficient=3))
    bench.fail(bench.after(1).start())
    shorter = ActivityOptions(retry_policy=RetryPolicy(initial_interval=seconds(4)))
    bench.after(2).do(update(shorter, "retry_policy.initial_interval"))
    assert attempt_of(bench).scheduled_time_ns == T0 + 5 * SECOND_NS
    assert attempt_of(bench).retry_interval_ns == 4 * SECOND_NS
    bench.do(update(ActivityOptions(heartbeat_timeout=seconds(1)), "heartbeat_timeout"))
    assert attempt_of(bench).scheduled_time_ns == T0 + 5 * SECOND_NS


def test_schedule_to_close_moves_the_deadline_of_retries() -> None:
    bench = Bench()
    bench.activity(schedule_to_close_timeout=seconds(5), retry_policy=POLICY)
    started = bench.start()
    bench.do(update(ActivityOptions(schedule_to_close_timeout=seconds(50)), "schedule_to_close_timeout"))
    bench.fail(started)
    assert attempt_of(bench).attempt == 2


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"restore_original": True}, "Both UpdateMask and RestoreOriginal"),
        ({"activity_options": None}, "ActivityOptions are not provided"),
        ({"update_mask": None}, "UpdateMask is not provided"),
        ({"update_mask": FieldMask(paths=["retry_policy"])}, "RetryPolicy is not provided"),
        ({"update_mask": FieldMask(paths=["task_queue.name"])}, "TaskQueue is not provided"),
        ({"update_mask": FieldMask(paths=["start_to_close_timeout"])}, "a valid StartToCloseTimeout"),
    ],
)
def test_bad_updates_change_nothing(fields: dict[str, Any], message: str) -> None:
    bench = Bench()
    bench.activity(start_to_close_timeout=seconds(5))
    before = attempt_of(bench)
    with pytest.raises(InvalidArgument, match=message):
        bench.do(update(ActivityOptions(), "heartbeat_timeout", **fields))
    assert attempt_of(bench) == before


def test_a_policy_that_runs_backwards_is_refused() -> None:
    bench = Bench()
    bench.activity()
    backwards = ActivityOptions(retry_policy=RetryPolicy(maximum_interval=seconds(-1)))
    with pytest.raises(InvalidArgument, match="MaximumInterval"):
        bench.do(update(backwards, "retry_policy"))


@pytest.mark.parametrize(
    ("path", "json"),
    [
        ("retry_policy.initial_interval", "retryPolicy.initialInterval"),
        ("RetryPolicy.InitialInterval", "retryPolicy.initialInterval"),
        ("startToCloseTimeout", "startToCloseTimeout"),
        ("", ""),
    ],
)
def test_paths_are_read_as_json_spells_them(path: str, json: str) -> None:
    assert camel_case(path) == json
