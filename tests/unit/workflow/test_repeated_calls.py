"""A call that comes again with its request id does nothing again, and a closed run is nobody's cache."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.decide import Decision, decide
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import FireTimer, SignalWithStart, StartWorkflow, Terminate
from perdure.workflow.state import Chain
from perdure.workflow.tasks import Timer, TimerKind

_RETRY = RetryPolicy(initial_interval=Duration(seconds=1), backoff_coefficient=1.0)
_TERMINATE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING


def _decided(chain: Chain, request: Any, seconds: int) -> Decision:
    context = Context(
        now_ns=seconds * SECOND_NS,
        seed=bytes(15) + bytes((seconds,)),
        position=seconds,
        namespace=NamespaceView("ns", "default", SECOND_NS),
        limits=Limits(),
    )
    decision = decide(chain, request, context)
    assert decision.refusal is None
    return decision


def _signal_with_start(request_id: str) -> SignalWithStart:
    return SignalWithStart(
        SignalWithStartWorkflowExecutionRequest(
            workflow_id="wf",
            workflow_type=WorkflowType(name="T"),
            task_queue=TaskQueue(name="q"),
            request_id=request_id,
            signal_name="s",
            workflow_run_timeout=Duration(seconds=5),
            retry_policy=_RETRY,
            workflow_id_conflict_policy=_TERMINATE_EXISTING,
        )
    )


def test_a_repeated_signal_with_start_does_not_terminate_what_it_started() -> None:
    chain = Chain(ChainKey("ns", "wf"), None, {})
    first = _decided(chain, _signal_with_start("one"), 1)
    again = _decided(first.chain, _signal_with_start("one"), 2)
    other = _decided(first.chain, _signal_with_start("two"), 3)
    assert again.record is None
    assert again.reply.run_id == first.reply.run_id
    assert other.reply.run_id != first.reply.run_id
    assert not other.chain.runs[first.reply.run_id].is_open


def _start(request_id: str) -> StartWorkflow:
    return StartWorkflow(
        StartWorkflowExecutionRequest(
            workflow_id="wf",
            workflow_type=WorkflowType(name="T"),
            task_queue=TaskQueue(name="q"),
            request_id=request_id,
            workflow_run_timeout=Duration(seconds=5),
            retry_policy=_RETRY,
            workflow_id_conflict_policy=_TERMINATE_EXISTING,
        )
    )


def _run_out(chain: Chain, seconds: int) -> Chain:
    """The chain after the current run's timeout, with the run that tries again."""
    assert chain.current is not None
    due = [task for task in outstanding(chain.runs[chain.current.run_id]) if isinstance(task, Timer)]
    timer = next(timer for timer in due if timer.kind == TimerKind.RUN_TIMEOUT)
    return _decided(chain, FireTimer(timer), seconds).chain


@pytest.mark.parametrize("request_of", [_start, _signal_with_start])
def test_a_start_that_comes_again_when_its_run_has_successors_ends_none_of_them(
    request_of: Callable[[str], StartWorkflow | SignalWithStart],
) -> None:
    begun = _decided(Chain(ChainKey("ns", "wf"), None, {}), request_of("one"), 1)
    third = _run_out(_run_out(begun.chain, 10), 20)
    assert third.current is not None
    again = _decided(third, request_of("one"), 21)
    other = _decided(third, request_of("two"), 21)
    assert again.record is None
    assert again.reply.run_id == again.reply.first_execution_run_id == begun.reply.run_id
    assert third.runs[third.current.run_id].is_open
    assert not other.chain.runs[third.current.run_id].is_open


def test_a_closed_run_has_no_sticky_worker() -> None:
    started = _decided(Chain(ChainKey("ns", "wf"), None, {}), _signal_with_start("one"), 1)
    started.chain.runs[started.reply.run_id].assign("sticky_queue", "of a worker")
    terminate = Terminate(
        TerminateWorkflowExecutionRequest(workflow_execution=WorkflowExecution(workflow_id="wf"), identity="me")
    )
    closed = _decided(started.chain, terminate, 2).chain.runs[started.reply.run_id]
    assert not closed.is_open
    assert closed.durable.sticky_queue == ""
