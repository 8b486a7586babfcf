"""Update-with-start: what a workflow's state, the policies and the request ids make of it. Both or neither, in one
decision.
"""

from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Request
from temporalio.api.workflowservice.v1 import (
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.errors import NotFound, OperationAborted, OperationsFailed, ResourceExhausted, WorkflowAlreadyStarted
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.decide import Decision, UpdateMoved, decide
from perdure.workflow.requests import StartWorkflow, Terminate
from perdure.workflow.state import RUNNING, Chain, Update
from perdure.workflow.update_requests import FindUpdate, StartedWithUpdate, StartWithUpdate
from perdure.workflow.updates import ADMITTED

_Conflict = WorkflowIdConflictPolicy
_Reuse = WorkflowIdReusePolicy
FAIL = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL
USE_EXISTING = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
TERMINATE_EXISTING = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
REJECT_DUPLICATE = _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE


class Desk:
    """One workflow id, and decisions about it one after the other."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.chain = Chain(ChainKey("ns", "wf"), None, {})
        self._limits = limits or Limits()
        self._position = 0

    def decide(self, request: Any) -> Decision:
        """Decide and adopt."""
        self._position += 1
        context = Context(
            now_ns=self._position * SECOND_NS,
            seed=bytes(15) + bytes((self._position,)),
            position=self._position,
            namespace=NamespaceView("ns", "default", SECOND_NS),
            limits=self._limits,
        )
        decision = decide(self.chain, request, context)
        self.chain = decision.chain
        return decision

    def ask(self, update_id: str, request_id: str, **policies: Any) -> Decision:
        """An update-with-start."""
        start = StartWorkflow(_start(request_id, **policies)).request
        asked = UpdateWorkflowExecutionRequest(
            workflow_execution=WorkflowExecution(workflow_id="wf"),
            request=Request(meta=Meta(update_id=update_id), input=Input(name="change")),
        )
        return self.decide(StartWithUpdate(start, asked))

    def started(self, update_id: str, request_id: str, **policies: Any) -> StartedWithUpdate:
        """The same, which must succeed."""
        decision = self.ask(update_id, request_id, **policies)
        assert decision.refusal is None
        assert isinstance(decision.reply, StartedWithUpdate)
        return decision.reply

    def refused(self, update_id: str, request_id: str, **policies: Any) -> OperationsFailed:
        """The same, which must fail and change nothing."""
        before = self.chain
        decision = self.ask(update_id, request_id, **policies)
        assert isinstance(decision.refusal, OperationsFailed)
        assert decision.record is None
        assert decision.chain is before
        return decision.refusal

    def terminate(self) -> Decision:
        """End the current run."""
        return self.decide(Terminate(TerminateWorkflowExecutionRequest(workflow_execution=WorkflowExecution())))

    @property
    def admitted(self) -> list[str]:
        """The updates that wait in the current run."""
        assert self.chain.current is not None
        return list(self.chain.runs[self.chain.current.run_id].ephemeral.admitted_updates)


def _start(request_id: str, **policies: Any) -> StartWorkflowExecutionRequest:
    return StartWorkflowExecutionRequest(
        workflow_id="wf",
        request_id=request_id,
        workflow_type=WorkflowType(name="T"),
        task_queue=TaskQueue(name="q"),
        **policies,
    )


def test_a_workflow_that_is_not_there_begins_with_its_update_admitted_and_one_task() -> None:
    desk = Desk()
    reply = desk.started("u", "one")
    run = desk.chain.runs[reply.start.run_id]
    assert reply.start.started
    assert (reply.update.run_id, reply.update.stage) == (run.run_id, ADMITTED)
    assert desk.admitted == ["u"]
    assert run.durable.workflow_task is not None
    assert run.ephemeral.speculative_task is None


def test_a_workflow_that_runs_is_used_if_the_policy_says_so() -> None:
    desk = Desk()
    first = desk.started("u", "one")
    reply = desk.started("v", "two", workflow_id_conflict_policy=USE_EXISTING)
    assert (reply.start.started, reply.start.run_id) == (False, first.start.run_id)
    assert desk.admitted == ["u", "v"]


@pytest.mark.parametrize("policy", [0, FAIL])
def test_a_workflow_that_may_not_be_used_gets_no_update(policy: int) -> None:
    desk = Desk()
    desk.decide(StartWorkflow(_start("one")))
    start, update = desk.refused("u", "two", workflow_id_conflict_policy=policy).errors
    assert isinstance(start, WorkflowAlreadyStarted)
    assert isinstance(update, OperationAborted)
    assert desk.admitted == []


@pytest.mark.parametrize("policy", [FAIL, USE_EXISTING, TERMINATE_EXISTING])
def test_an_update_that_its_workflow_knows_is_attached_to_whatever_the_policy(policy: int) -> None:
    desk = Desk()
    first = desk.started("u", "one")
    reply = desk.started("u", "two", workflow_id_conflict_policy=policy)
    assert reply.start.run_id == first.start.run_id
    assert desk.admitted == ["u"]


def test_a_start_that_is_repeated_brings_another_update_to_what_it_began() -> None:
    desk = Desk()
    first = desk.started("u", "one")
    reply = desk.started("v", "one", workflow_id_conflict_policy=TERMINATE_EXISTING)
    assert reply.start.run_id == first.start.run_id
    assert desk.admitted == ["u", "v"]


def test_a_workflow_that_is_terminated_for_a_new_one_lets_its_updates_go() -> None:
    desk = Desk()
    first = desk.started("u", "one")
    decision = desk.ask("v", "two", workflow_id_conflict_policy=TERMINATE_EXISTING)
    assert decision.reply.start.started
    assert desk.admitted == ["v"]
    (told,) = [notice for notice in decision.notices if isinstance(notice, UpdateMoved)]
    assert (told.run_id, told.update_id) == (first.start.run_id, "u")
    assert isinstance(told.error, NotFound)


def test_a_closed_workflow_is_followed_by_another_unless_the_policy_forbids_it() -> None:
    desk = Desk()
    desk.started("u", "one")
    desk.terminate()
    refused = desk.refused("u", "two", workflow_id_reuse_policy=REJECT_DUPLICATE)
    assert isinstance(refused.errors[0], WorkflowAlreadyStarted)
    assert desk.started("u", "two").start.started


def test_a_start_whose_workflow_closed_is_not_made_again() -> None:
    desk = Desk()
    desk.started("u", "one")
    desk.terminate()
    start, update = desk.refused("u", "one").errors
    assert isinstance(start, OperationAborted)
    assert isinstance(update, NotFound)


def test_a_completed_update_is_the_answer_also_when_its_workflow_is_closed() -> None:
    desk = Desk()
    first = desk.started("u", "one")
    desk.chain.runs[first.start.run_id].facts.updates = {"u": Update(accepted_event_id=5, completed_event_id=6)}
    desk.terminate()
    reply = desk.started("u", "two", workflow_id_reuse_policy=REJECT_DUPLICATE)
    assert reply.update.completed_event_id == 6
    assert not reply.start.started
    assert reply.start.status != RUNNING


def test_an_update_over_the_limit_starts_and_terminates_nothing() -> None:
    desk = Desk(Limits(updates_in_flight_bytes_max=1))
    start, update = desk.refused("u", "one").errors
    assert isinstance(start, OperationAborted)
    assert isinstance(update, ResourceExhausted)
    desk.decide(StartWorkflow(_start("one")))
    desk.refused("u", "two", workflow_id_conflict_policy=TERMINATE_EXISTING)


def test_an_update_that_nobody_knows_is_not_found() -> None:
    desk = Desk()
    desk.started("u", "one")
    assert desk.decide(FindUpdate("", "u")).reply.stage == ADMITTED
    refusal = desk.decide(FindUpdate("", 'a "b" \\')).refusal
    assert isinstance(refusal, NotFound)
    assert refusal.message == 'update "a \\"b\\" \\\\" not found'
