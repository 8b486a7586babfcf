"""What a workflow makes of the signals and requests that other workflows send it, however often they are sent."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from temporalio.api.common.v1 import Header, Payload, Payloads, WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import RequestCancelWorkflowExecutionRequest, SignalWorkflowExecutionRequest

from perdure.base.errors import NotFound
from perdure.base.limits import Limits
from perdure.workflow.deciders import cancel as cancel_module
from perdure.workflow.requests import EarlierRun, External, RequestCancel, SignalWorkflow
from perdure.workflow.state import Chain
from tests.transcripts.scenarios import start, terminate
from tests.transcripts.stage import Stage

Request = SignalWorkflow | RequestCancel
Send = Callable[..., Request]
SENDER = WorkflowExecution(workflow_id="sender", run_id="sender-run")


def _external(stage: Stage, **more: Any) -> External:
    given = {"initiated_event_id": 5, "initiated_time_ns": stage.now_ns, **more}
    return External(SENDER.workflow_id, SENDER.run_id, **given)


def signal(stage: Stage, request_id: str = "once", run_id: str = "", **more: Any) -> SignalWorkflow:
    request = SignalWorkflowExecutionRequest(
        workflow_execution=WorkflowExecution(workflow_id="wf", run_id=run_id),
        signal_name="hello",
        identity="history-service",
        request_id=request_id,
        input=Payloads(payloads=[Payload(data=b"x")]),
        header=Header(fields={"k": Payload(data=b"v")}),
    )
    return SignalWorkflow(request, _external(stage, **more))


def cancel(stage: Stage, request_id: str = "once", run_id: str = "", **more: Any) -> RequestCancel:
    request = RequestCancelWorkflowExecutionRequest(
        workflow_execution=WorkflowExecution(workflow_id="wf", run_id=run_id),
        identity="history-service",
        request_id=request_id,
        reason="enough",
    )
    return RequestCancel(request, _external(stage, **more))


both = pytest.mark.parametrize("send", [signal, cancel])


def taken(stage: Stage) -> list[HistoryEvent]:
    """The events of signals and requests, over all runs."""
    names = ("workflow_execution_signaled_event_attributes", "workflow_execution_cancel_requested_event_attributes")
    events = [event for history in stage.histories.values() for event in history]
    return [event for event in events if event.WhichOneof("attributes") in names]


def started(*, limits: Limits | None = None) -> Stage:
    stage = Stage(limits=limits)
    stage.do(start("a"))
    return stage


def followed(stage: Stage, request_id: str) -> None:
    """The current run ends, and another one follows."""
    if stage.run.is_open:
        stage.do(terminate())
    stage.do(start(request_id))


def without(stage: Stage, *run_ids: str) -> None:
    """These runs are not in memory."""
    runs = {run_id: run for run_id, run in stage.chain.runs.items() if run_id not in run_ids}
    stage.chain = Chain(stage.chain.key, stage.chain.current, runs)


def seeing(request: Request, run_id: str) -> Request:
    """The same request, sent again with a run that was looked for."""
    assert request.external is not None
    external = msgspec.structs.replace(request.external, seen=(*request.external.seen, run_id))
    if isinstance(request, SignalWorkflow):
        return SignalWorkflow(request.request, external)
    return RequestCancel(request.request, external)


def test_the_events_say_who_sent_them() -> None:
    stage = started()
    stage.do(signal(stage))
    stage.do(cancel(stage))
    signalled = taken(stage)[0].workflow_execution_signaled_event_attributes
    assert (signalled.external_workflow_execution, signalled.request_id) == (SENDER, "once")
    assert (signalled.signal_name, signalled.identity) == ("hello", "history-service")
    assert (signalled.input.payloads[0].data, signalled.header.fields["k"].data) == (b"x", b"v")
    asked = taken(stage)[1].workflow_execution_cancel_requested_event_attributes
    assert (asked.external_workflow_execution, asked.external_initiated_event_id) == (SENDER, 5)
    assert (asked.cause, asked.identity) == ("enough", "history-service")


@both
def test_what_is_sent_again_is_taken_once(send: Send) -> None:
    stage = started()
    stage.do(send(stage))
    assert stage.decide(send(stage)).record is None
    assert len(taken(stage)) == 1


@both
def test_what_is_sent_again_to_a_run_that_closed_meanwhile_has_been_done(send: Send) -> None:
    stage = started()
    stage.do(send(stage))
    stage.do(terminate())
    assert stage.decide(send(stage)).record is None
    assert stage.decide(send(stage, run_id=stage.run.run_id)).record is None


@both
@pytest.mark.parametrize("runs_between", [1, 3])
def test_what_a_former_run_took_does_not_reach_the_current_one(send: Send, runs_between: int) -> None:
    stage = started()
    request = send(stage)
    stage.do(request)
    for count in range(runs_between):
        stage.advance(1)
        followed(stage, f"later-{count}")
    stage.advance(100)
    assert stage.decide(request).record is None
    assert not stage.run.facts.cancel_requested
    assert len(taken(stage)) == 1


@both
def test_a_former_run_that_is_not_in_memory_is_asked_for(send: Send) -> None:
    stage = started()
    first, request = stage.run.run_id, send(stage)
    stage.do(request)
    followed(stage, "b")
    second = stage.run.run_id
    followed(stage, "c")
    former = dict(stage.chain.runs)
    without(stage, first, second)
    assert stage.do(request) == EarlierRun(second)
    stage.chain.runs[second] = former[second]
    assert stage.do(seeing(request, second)) == EarlierRun(first)
    stage.chain.runs[first] = former[first]
    decision = stage.decide(seeing(seeing(request, second), first))
    assert not isinstance(decision.reply, EarlierRun)
    assert decision.refusal is None
    assert decision.record is None


@both
def test_a_former_run_that_was_deleted_took_nothing(send: Send) -> None:
    stage = started()
    first, request = stage.run.run_id, send(stage)
    followed(stage, "b")
    without(stage, first)
    stage.do(seeing(request, first))
    assert len(taken(stage)) == 1


@both
def test_runs_that_ended_long_before_it_was_sent_are_not_asked_for(send: Send) -> None:
    stage = started()
    first = stage.run.run_id
    followed(stage, "b")
    without(stage, first)
    stage.advance(11)
    stage.do(send(stage))
    assert len(taken(stage)) == 1


@both
def test_former_runs_do_not_matter_to_what_names_its_run(send: Send) -> None:
    stage = started()
    first = stage.run.run_id
    followed(stage, "b")
    without(stage, first)
    stage.do(send(stage, run_id=stage.run.run_id))
    assert len(taken(stage)) == 1


def test_a_closed_run_takes_no_signal() -> None:
    stage = started()
    stage.do(terminate())
    with pytest.raises(NotFound):
        stage.do(signal(stage))


def test_a_request_to_a_closed_run_succeeds_and_does_not_reach_the_next_one() -> None:
    stage = started()
    stage.do(terminate())
    stage.do(cancel(stage))
    followed(stage, "b")
    assert stage.decide(cancel(stage)).record is None
    assert taken(stage) == []


def test_a_second_request_to_a_run_does_not_reach_the_next_one_either() -> None:
    stage = started()
    stage.do(cancel(stage, "first"))
    stage.do(cancel(stage, "second"))
    followed(stage, "b")
    for request_id in ("first", "second"):
        assert stage.decide(cancel(stage, request_id)).record is None
    stage.do(cancel(stage, "third"))
    assert [len(taken(stage)), stage.run.facts.cancel_requested] == [2, True]


def test_of_many_requests_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancel_module, "_REMEMBERED_MAX", 2)
    stage = started()
    for request_id in ("first", "second", "third"):
        stage.do(cancel(stage, request_id))
    assert list(stage.run.durable.cancel_requests) == ["second", "third"]


@both
def test_what_is_for_children_only_is_taken_from_the_parent_alone(send: Send) -> None:
    stage = started()
    with pytest.raises(NotFound):
        stage.do(send(stage, child_only=True))
    stage.run.facts.parent = SENDER.SerializeToString()
    stage.do(send(stage, child_only=True))
    assert len(taken(stage)) == 1


def test_a_signal_leaves_a_delayed_first_task_alone_and_a_request_does_not() -> None:
    stage = Stage()
    request = start("a")
    request.request.workflow_start_delay.FromSeconds(60)
    stage.do(request)
    stage.do(signal(stage))
    assert stage.offers() == []
    stage.do(cancel(stage))
    assert len(stage.offers()) == 1
