"""What the transcripts show. Each scenario is a function of a stage and of a way to write headings between requests."""

from collections.abc import Callable
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    CommandType,
    QueryResultType,
    TaskQueueKind,
    WorkflowIdConflictPolicy,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.query.v1 import WorkflowQueryResult
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS, to_duration
from perdure.workflow.requests import RequestCancel, SignalWithStart, SignalWorkflow, StartWorkflow, Terminate
from tests.transcripts.stage import Stage

Scenario = Callable[[Stage, Callable[[str], None]], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Registers a scenario under its function's name."""
    SCENARIOS[function.__name__] = function
    return function


def start(request_id: str = "start", **fields: Any) -> StartWorkflow:
    """Start workflow `flow` on queue `queue`."""
    given: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": "wf",
        "workflow_type": WorkflowType(name="flow"),
        "task_queue": TaskQueue(name="queue", kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
        "identity": "client",
        "request_id": request_id,
        **fields,
    }
    return StartWorkflow(StartWorkflowExecutionRequest(**given))


def signal(name: str = "signal", request_id: str = "", run_id: str = "") -> SignalWorkflow:
    """Signal the current run."""
    execution = WorkflowExecution(workflow_id="wf", run_id=run_id)
    request = SignalWorkflowExecutionRequest(
        namespace="default", workflow_execution=execution, signal_name=name, identity="client", request_id=request_id
    )
    return SignalWorkflow(request)


def cancel() -> RequestCancel:
    """Ask the current run to end."""
    execution = WorkflowExecution(workflow_id="wf")
    return RequestCancel(
        RequestCancelWorkflowExecutionRequest(workflow_execution=execution, identity="client", reason="enough")
    )


def terminate() -> Terminate:
    """Terminate the current run."""
    execution = WorkflowExecution(workflow_id="wf")
    request = TerminateWorkflowExecutionRequest(workflow_execution=execution, identity="client", reason="now")
    return Terminate(request)


def command(kind: str, **attributes: Any) -> Command:
    """A command of a type with its attributes."""
    field = kind.lower() + "_command_attributes"
    given: dict[str, Any] = {field: attributes}
    return Command(command_type=CommandType.Value("COMMAND_TYPE_" + kind), **given)


def done() -> Command:
    """The workflow returns."""
    return command("COMPLETE_WORKFLOW_EXECUTION", result=Payloads(payloads=[Payload(data=b"done")]))


def sticky(seconds: float = 5) -> dict[str, Any]:
    """The fields of a completion whose worker wants the next task itself."""
    queue = TaskQueue(name="worker-1", kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name="queue")
    timeout = to_duration(int(seconds * SECOND_NS))
    return {"sticky_attributes": StickyExecutionAttributes(worker_task_queue=queue, schedule_to_start_timeout=timeout)}


@scenario
def start_and_complete(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    stage.decide(start())
    stage.decide(start("another"))
    (offer,) = stage.offers()
    stage.poll(request_id="poll")
    note("the same poll again gets the same task, another one none")
    stage.decide(stage.poll_request(offer, request_id="poll"))
    stage.decide(stage.poll_request(offer, request_id="other"))
    stage.advance(1)
    stage.complete(done())
    note("the answer came twice")
    stage.complete(done())


@scenario
def eager_start(stage: Stage, note: Callable[[str], None]) -> None:
    eager = start("eager", request_eager_execution=True)
    stage.last = stage.do(eager).task
    note("repeated: the same task; without the wish: none")
    stage.decide(eager)
    stage.decide(start("eager"))
    note("once the task is answered there is none to have")
    stage.complete(done())
    stage.decide(eager)
    note("whose answer was lost: the task times out, and is another's")
    stage.decide(start("again", request_eager_execution=True))
    stage.advance(10)
    stage.poll()
    stage.decide(start("again", request_eager_execution=True))


@scenario
def signal_while_a_task_is_started(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    stage.poll()
    stage.advance(1)
    stage.decide(signal("first", "id-1"))
    stage.decide(signal("first", "id-1"))
    note("closing over a signal that the code has not seen")
    stage.complete(done())
    stage.poll()
    note("the workflow closes: signals are held off")
    stage.decide(signal("late", "id-2"))
    stage.complete(done())


@scenario
def transient_attempts(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    failure = Failure(message="no")
    cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE
    for _ in range(2):
        stage.poll()
        stage.fail(cause=cause, failure=failure)
    note("a signal makes the third attempt an ordinary task when it is started")
    stage.decide(signal())
    stage.poll()
    stage.fail(cause=cause, failure=failure)
    note("a transient attempt succeeds")
    stage.poll()
    stage.complete()


@scenario
def sticky_worker_is_gone(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    stage.poll()
    stage.complete(**sticky())
    stage.decide(signal())
    note("nobody fetches it from the sticky queue")
    stage.advance(5)
    stage.poll()
    stage.complete(**sticky())
    note("nobody polls the sticky queue, so matching gives it to a poller of the normal one")
    stage.decide(signal())
    stage.poll()


@scenario
def a_bad_command(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    stage.poll()
    stage.complete(command("RECORD_MARKER", marker_name="good"), command("RECORD_MARKER"))
    note("a repeated attempt's failure is not noted")
    stage.poll()
    stage.complete(command("RECORD_MARKER"))
    note("what the API has and this server does not yet")
    stage.complete(command("START_CHILD_WORKFLOW_EXECUTION"))
    note("commands after the one that closes")
    stage.complete(done(), command("RECORD_MARKER", marker_name="late"))


@scenario
def a_query_with_a_task(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    stage.query("q1")
    stage.query("q2")
    stage.poll()
    stage.complete(query_results={"q1": _answer()})
    note("nothing waits: direct")
    stage.query("q3")
    note("a signal waits: with the task; unanswered it is released")
    stage.decide(signal())
    stage.query("q4")
    stage.poll()
    stage.complete(done())
    stage.query("q5", reject_condition=2)


def _answer() -> WorkflowQueryResult:
    result_type = QueryResultType.QUERY_RESULT_TYPE_ANSWERED
    return WorkflowQueryResult(result_type=result_type, answer=Payloads(payloads=[Payload(data=b"42")]))


@scenario
def terminate_while_a_task_is_started(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    stage.poll()
    stage.decide(signal())
    stage.query("q")
    stage.decide(terminate())
    note("too late")
    stage.complete(done())
    stage.decide(signal())
    stage.decide(terminate())


@scenario
def cancellation(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    stage.decide(cancel())
    stage.decide(cancel())
    stage.poll()
    stage.complete(command("CANCEL_WORKFLOW_EXECUTION"))
    note("of a closed run")
    stage.decide(cancel())


@scenario
def heartbeats_of_a_task(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start())
    stage.poll()
    beat: dict[str, Any] = {"force_create_new_workflow_task": True, "return_new_workflow_task": True, **sticky()}
    stage.advance(9)
    stage.complete(**beat)
    note("half an hour of nothing but heartbeats is enough")
    for _ in range(200):
        stage.now_ns += 10 * SECOND_NS
    stage.complete(**beat)


@scenario
def timeouts(stage: Stage, note: Callable[[str], None]) -> None:
    execution, task = to_duration(30 * SECOND_NS), to_duration(SECOND_NS)
    stage.decide(start(workflow_run_timeout=execution, workflow_task_timeout=task))
    stage.poll()
    note("the worker does not answer")
    stage.advance(1)
    stage.poll()
    note("nor the next; then the run's time is over")
    stage.advance(29)
    note("retention")
    stage.advance(3 * 24 * 3600)


@scenario
def start_delay(stage: Stage, note: Callable[[str], None]) -> None:
    stage.decide(start(workflow_start_delay=to_duration(60 * SECOND_NS)))
    note("a signal does not end the delay")
    stage.decide(signal())
    stage.query("q")
    stage.advance(60)


@scenario
def conflicts_and_signal_with_start(stage: Stage, note: Callable[[str], None]) -> None:
    both = SignalWithStartWorkflowExecutionRequest(
        namespace="default",
        workflow_id="wf",
        workflow_type=WorkflowType(name="flow"),
        task_queue=TaskQueue(name="queue"),
        identity="client",
        request_id="both",
        signal_name="signal",
    )
    stage.decide(SignalWithStart(both))
    stage.decide(SignalWithStart(both))
    both.request_id = "more"
    stage.decide(SignalWithStart(both))
    note("policies")
    policy = WorkflowIdConflictPolicy
    stage.decide(start("use", workflow_id_conflict_policy=policy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING))
    stage.poll()
    stage.decide(start("end", workflow_id_conflict_policy=policy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING))
    note("not there yet")
    stage.decide(start("cron", cron_schedule="* * * * *"))
