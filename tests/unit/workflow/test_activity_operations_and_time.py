"""Operators' hands on activities of runs whose time is ahead, and with options of any length."""

from typing import Any

import pytest
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Priority, RetryPolicy
from temporalio.api.workflow.v1 import PendingActivityInfo

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow.outstanding import outstanding
from perdure.workflow.tasks import Offer
from tests.transcripts.activity_scenarios import activity, timer
from tests.transcripts.stage import T0, Stage
from tests.unit.workflow.bench import Bench, schedule, seconds
from tests.unit.workflow.test_activity_operations import pause, reset, unpause, update
from tests.unit.workflow.test_skipping import DAY, DAY_NS, begun

STORED_MAX = 2**63 - 1  # of a time in a store's row


def ahead_with_activity() -> Stage:
    """A run that skipped a day, with an activity that waits for a worker."""
    stage = begun(timer("day", DAY))
    stage.advance(1)
    stage.poll()
    stage.complete(activity("act", schedule_to_start_timeout=seconds(60)))
    assert stage.run.ahead_ns == DAY_NS
    return stage


def offer_of(stage: Stage) -> Offer:
    """The activity's offer."""
    (offer,) = (task for task in outstanding(stage.run) if isinstance(task, Offer))
    return offer


@pytest.mark.parametrize(
    "requests",
    [
        [reset()],
        [pause(), unpause()],
        [update(ActivityOptions(heartbeat_timeout=seconds(5)), "heartbeat_timeout")],
    ],
    ids=["reset", "unpause", "update"],
)
def test_activities_of_a_run_whose_time_is_ahead_go_on_at_its_time(requests: list[Any]) -> None:
    stage = ahead_with_activity()
    stage.advance(10)
    for request in requests:
        stage.do(request)
    assert offer_of(stage).scheduled_time_ns >= T0
    stage.advance(30)
    assert stage.run.facts.activities, "its deadline had passed a day before"


def test_a_pause_of_a_run_whose_time_is_ahead_is_shown_at_its_time() -> None:
    stage = ahead_with_activity()
    stage.do(pause())
    (attempt,) = stage.run.durable.attempts.values()
    shown = PendingActivityInfo.PauseInfo.FromString(attempt.pause_info)
    assert shown.pause_time.ToNanoseconds() == stage.now_ns + DAY_NS


@pytest.mark.parametrize("coefficient", [1e308, float("inf"), float("nan"), -3.0])
def test_no_policy_leads_beyond_the_times_that_rows_hold(coefficient: float) -> None:
    policy = RetryPolicy(initial_interval=seconds(10), backoff_coefficient=coefficient)
    bench = Bench()
    bench.activity(retry_policy=RetryPolicy(initial_interval=seconds(1)))
    bench.fail(bench.start())
    bench.do(update(ActivityOptions(retry_policy=policy), "retry_policy"))
    assert all(timer.due_ns <= STORED_MAX for timer in bench.timers())
    bench.do(reset())
    for request_id in ("first", "second"):
        bench.fail(bench.start(request_id=request_id))
        assert all(timer.due_ns <= STORED_MAX for timer in bench.timers())
        if not bench.timers():
            break
        bench.fire(bench.timers()[0])


def test_what_many_activities_keep_of_a_request_fits_one_commit() -> None:
    bench = Bench(limits=Limits(transaction_bytes_max=100_000))
    bench.command(*(schedule(activity_id=f"a{number}") for number in range(100)))
    every = {"id": None, "type": "work"}
    with pytest.raises(InvalidArgument, match="Transaction size"):
        bench.do(pause(reason="x" * 1_000, **every))
    assert not any(attempt.paused for attempt in bench.run.durable.attempts.values())
    policy = RetryPolicy.FromString(
        RetryPolicy(initial_interval=seconds(1)).SerializeToString() + b"\xfa\x3f\xe8\x07" + bytes(1_000)
    )
    with pytest.raises(InvalidArgument, match="Transaction size"):
        bench.do(update(ActivityOptions(retry_policy=policy), "retry_policy", **every))
    bench.do(pause(reason="x" * 100, **every))
    assert all(attempt.paused for attempt in bench.run.durable.attempts.values())


def test_a_weight_that_is_no_number_counts_as_none() -> None:
    bench = Bench()
    bench.activity()
    bench.do(update(ActivityOptions(priority=Priority(fairness_weight=float("nan"))), "priority"))
    (offer,) = bench.offers()
    assert offer.fairness_weight == 1.0
