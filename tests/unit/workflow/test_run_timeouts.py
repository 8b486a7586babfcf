"""A run's end and its execution's: one timer where they are the same, whatever the fraction of a millisecond."""

import pytest
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.clock import MS_NS, SECOND_NS
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.decide import decide
from perdure.workflow.requests import StartWorkflow
from perdure.workflow.state import Chain
from perdure.workflow.tasks import Timer, TimerKind


def _timers(now_ns: int, execution_s: int, run_s: int) -> set[TimerKind]:
    request = StartWorkflowExecutionRequest(
        workflow_id="wf", workflow_type=WorkflowType(name="T"), task_queue=TaskQueue(name="q"), request_id="r"
    )
    request.workflow_execution_timeout.FromSeconds(execution_s)
    request.workflow_run_timeout.FromSeconds(run_s)
    context = Context(now_ns, bytes(16), 1, NamespaceView("ns", "default", SECOND_NS), Limits())
    decision = decide(Chain(ChainKey("ns", "wf"), None, {}), StartWorkflow(request), context)
    assert decision.refusal is None
    return {task.kind for task in decision.added if isinstance(task, Timer)}


@pytest.mark.parametrize("fraction", [0, 1, MS_NS // 2 - 1, MS_NS // 2, MS_NS - 1])
@pytest.mark.parametrize("run_s", [0, 1, 5])
def test_a_run_that_may_last_as_long_as_its_execution_ends_with_it(fraction: int, run_s: int) -> None:
    assert _timers(1000 * SECOND_NS + fraction, 1, run_s) == {TimerKind.EXECUTION_TIMEOUT}


def test_a_shorter_run_has_a_timer_of_its_own() -> None:
    assert _timers(1000 * SECOND_NS, 2, 1) == {TimerKind.EXECUTION_TIMEOUT, TimerKind.RUN_TIMEOUT}
