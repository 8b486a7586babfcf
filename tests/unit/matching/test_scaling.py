import pytest
from temporalio.api.taskqueue.v1 import PollerScalingDecision
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse

from perdure.matching.scaling import Advice, Load, appended_fields, busy_delta, idle_delta
from perdure.workflow.tasks import QueueKind
from tests.unit.matching.fakes import SECOND


def load(count: int = 0, age_ns: int = 0, added: float = 0, dispatched: float = 0, *, limited: bool = False) -> Load:
    return Load(count, age_ns, added, dispatched, limited)


def test_fewer_pollers_where_one_was_idle_before_a_new_task() -> None:
    assert idle_delta(SECOND, from_backlog=False) == -1
    assert idle_delta(SECOND, from_backlog=True) == 0
    assert idle_delta(SECOND - 1, from_backlog=False) == 0


@pytest.mark.parametrize(
    ("seen", "delta"),
    [
        (load(), 0),
        (load(1, SECOND), 1),
        (load(1, SECOND // 5), 0),
        (load(0, SECOND), 0),
        (load(added=12, dispatched=10), 0),
        (load(added=13, dispatched=10), 1),
        (load(added=1), 1),
        (load(9, SECOND, 13, 10, limited=True), 0),
    ],
)
def test_more_pollers_where_they_would_help(seen: Load, delta: int) -> None:
    assert busy_delta(seen) == delta


def test_more_pollers_are_advised_ten_times_a_second_for_each() -> None:
    advice = Advice()
    assert [advice.may_raise(1, 0) for _ in range(11)] == [True] * 10 + [False]
    assert advice.may_raise(1, SECOND // 10)


@pytest.mark.parametrize("delta", [-1, 0, 1])
@pytest.mark.parametrize("count", [0, 1, 127, 128, 1 << 40])
def test_the_fields_merge_into_an_encoded_answer(count: int, delta: int) -> None:
    answer = PollWorkflowTaskQueueResponse(task_token=b"t", attempt=3)
    fields = appended_fields(QueueKind.WORKFLOW, count, delta)
    merged = PollWorkflowTaskQueueResponse.FromString(answer.SerializeToString() + fields)
    answer.backlog_count_hint = count
    if delta:
        answer.poller_scaling_decision.CopyFrom(PollerScalingDecision(poll_request_delta_suggestion=delta))
    assert merged == answer

    activity = PollActivityTaskQueueResponse.FromString(appended_fields(QueueKind.ACTIVITY, count, delta))
    assert activity.poller_scaling_decision.poll_request_delta_suggestion == delta
    assert activity.HasField("poller_scaling_decision") == bool(delta)
