"""A delay of the first workflow task is over once that is scheduled; what came while it was started is never lost."""

from typing import Any

from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.decide import decide
from perdure.workflow.evolve import numbered_events
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import FireTimer, SignalWorkflow, StartWorkflow, StartWorkflowTask, Terminate
from perdure.workflow.state import Chain, Run
from perdure.workflow.tasks import Offer, Timer, TimerKind

_TARGET = WorkflowExecution(workflow_id="wf")


class _Play:
    """One delayed run, and the types of its events so far."""

    def __init__(self) -> None:
        self.chain = Chain(ChainKey("ns", "wf"), None, {})
        self.types: list[int] = []
        self.now_s = 0

    def do(self, request: Any, now_s: int) -> None:
        self.now_s = now_s
        namespace = NamespaceView("ns", "default", SECOND_NS)
        context = Context(now_s * SECOND_NS, bytes(15) + bytes((now_s,)), now_s, namespace, Limits())
        decision = decide(self.chain, request, context)
        assert decision.refusal is None
        assert decision.record is not None
        self.chain = decision.chain
        for mutation in decision.record.mutations:
            for step in mutation.steps:
                self.types += [HistoryEvent.FromString(body).event_type for body in numbered_events(step)]

    @property
    def run(self) -> Run:
        assert self.chain.current is not None
        return self.chain.runs[self.chain.current.run_id]

    def timers(self) -> dict[TimerKind, Timer]:
        return {task.kind: task for task in outstanding(self.run) if isinstance(task, Timer)}

    def begin(self) -> None:
        """Start it with a delay, begin its first task, and signal it meanwhile."""
        start = StartWorkflowExecutionRequest(
            workflow_id="wf", workflow_type=WorkflowType(name="T"), task_queue=TaskQueue(name="q"), request_id="r"
        )
        start.workflow_start_delay.FromSeconds(2)
        self.do(StartWorkflow(start), 1)
        self.do(FireTimer(self.timers()[TimerKind.WORKFLOW_TASK_BACKOFF]), 3)
        offer = next(task for task in outstanding(self.run) if isinstance(task, Offer))
        self.do(StartWorkflowTask(offer, "poll", "worker", sticky_poll=False, poll_queue="q"), 4)
        signal = SignalWorkflowExecutionRequest(workflow_execution=_TARGET, signal_name="s", request_id="signal")
        self.do(SignalWorkflow(signal), 5)

    def time_out(self) -> None:
        """The worker does not answer."""
        timer = self.timers()[TimerKind.WORKFLOW_TASK_START_TO_CLOSE]
        self.do(FireTimer(timer), timer.due_ns // SECOND_NS + 1)


def test_a_first_task_that_timed_out_is_followed_by_another_at_once() -> None:
    play = _Play()
    play.begin()
    play.time_out()
    assert TimerKind.WORKFLOW_TASK_BACKOFF not in play.timers()
    assert play.run.durable.workflow_task is not None
    assert EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED in play.types


def test_what_a_paused_run_had_buffered_is_numbered_though_no_task_follows() -> None:
    play = _Play()
    play.begin()
    play.run.durable.paused = True  # so that no task follows
    play.time_out()
    assert play.run.durable.workflow_task is None
    assert not play.run.durable.buffered
    play.do(Terminate(TerminateWorkflowExecutionRequest(workflow_execution=_TARGET)), play.now_s + 1)
    assert play.types[-2:] == [
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
    ]
