"""A run that isn't what it was is told of, by its parts."""

from temporalio.api.history.v1 import History
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from tests.chaos.stills import Seen, differences


def _seen() -> Seen:
    shown = DescribeWorkflowExecutionResponse()
    shown.workflow_execution_info.history_length = 9
    shown.pending_activities.add().activity_id = "work"
    history = History()
    history.events.add().event_id = 1
    return Seen(shown, history)


def test_what_is_the_same_is_silent() -> None:
    assert not differences(_seen(), _seen())


def test_what_is_lost_or_doubled_is_told() -> None:
    lost, doubled = _seen(), _seen()
    del lost.described.pending_activities[:]
    doubled.described.pending_activities.add().activity_id = "work"
    assert [what.partition(":")[0] for what in differences(_seen(), lost)] == ["pending_activities"]
    assert [what.partition(":")[0] for what in differences(_seen(), doubled)] == ["pending_activities"]


def test_another_history_is_told() -> None:
    other = Seen(_seen().described, History())
    assert differences(_seen(), other) == ["its history"]
