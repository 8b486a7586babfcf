"""Deleting: a closed run at once, an open one after it was ended, and the pointer only with the run it names."""

from typing import Any

from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.errors import NotFound
from perdure.base.limits import Limits
from perdure.history.chains import deletions
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.decide import Decision, decide
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import DeleteRun, FireTimer
from perdure.workflow.state import Chain, CurrentRun
from perdure.workflow.steps import Append, Delete, decode_record, encode_record
from perdure.workflow.tasks import Effect, EffectKind, Timer, TimerKind
from tests.unit.workflow.bench import KEY, T0, Bench


def deciding(chain: Chain, request: Any) -> Decision:
    """A decision in a namespace that keeps closed runs for a minute."""
    return decide(chain, request, Context(T0, bytes(16), 1, NamespaceView("ns", "n", 60 * SECOND_NS), Limits()))


def closed() -> Chain:
    """A chain whose one run was closed by a deletion and has not gone yet."""
    return deciding(Bench().chain, DeleteRun("")).chain


def steps(decision: Decision) -> list[Any]:
    """What a decision changes in its one run."""
    assert decision.record is not None
    (mutation,) = decision.record.mutations
    return mutation.steps


def test_an_open_run_is_terminated_and_due_to_go() -> None:
    decision = deciding(Bench().chain, DeleteRun(""))
    (event,) = [HistoryEvent.FromString(step.event) for step in steps(decision) if isinstance(step, Append)]
    assert event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
    attributes = event.workflow_execution_terminated_event_attributes
    assert (attributes.reason, attributes.identity) == ("Delete workflow execution", "history-service")
    (timer,) = [task for task in outstanding(decision.chain.runs["run"]) if isinstance(task, Timer)]
    assert (timer.kind, timer.due_ns) == (TimerKind.RETENTION, T0)
    gone = deciding(decision.chain, FireTimer(timer))
    assert (gone.chain.runs, gone.chain.current) == ({}, None)
    assert timer in gone.removed


def test_a_closed_run_goes_at_once_and_is_not_found_again() -> None:
    decision = deciding(closed(), DeleteRun("run"))
    assert [type(step) for step in steps(decision)] == [Delete]
    assert (decision.chain.runs, decision.chain.current) == ({}, None)
    for run_id in ("run", ""):
        assert isinstance(deciding(decision.chain, DeleteRun(run_id)).refusal, NotFound)


def test_lists_are_told_when_the_run_started_also_by_a_record_that_is_read_again() -> None:
    decision = deciding(closed(), DeleteRun("run"))
    assert decision.record is not None
    for record in (decision.record, decode_record(encode_record(decision.record))):
        (effect,) = deletions(record)
        assert isinstance(effect, Effect)
        assert (effect.kind, effect.run_id, effect.start_ns) == (EffectKind.VISIBILITY_DELETE, "run", T0)


def test_a_former_run_leaves_the_pointer_alone() -> None:
    other = CurrentRun("other", WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING, "r", T0, "other")
    decision = deciding(Chain(KEY, other, closed().runs), DeleteRun("run"))
    assert (decision.chain.runs, decision.chain.current) == ({}, other)
