"""Ends that come while something is under way, whatever ends the run; what goes on after an end, and what doesn't."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_external,
    cancel_timer,
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    record_marker,
    schedule_activity,
    signal_external,
    start_child,
    start_timer,
)
from tests.conformance.harness.payloads import duration, failure, header, payloads, retry_policy
from tests.conformance.harness.render import Rule
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until

CHILD_STARTED = kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
TASK_SCHEDULED = kinds.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
TERMINATED = kinds.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
THROTTLED = (Rule("first_workflow_task_backoff", "the rest of a second", "<backoff>"),)
NO_RUN = "01234567-89ab-4cde-8f01-23456789abcd"


def anew(s: Session, **fields: Any) -> Any:
    """Continue as new on the scenario's queue."""
    return continue_as_new(task_queue=s.queue, **fields)


async def _busy(s: Session, **fields: Any) -> ws.PollWorkflowTaskQueueResponse:
    """A run with a child, timers and two activities, one of them at work, whose task is at work with events behind
    it.
    """
    await s.start_quietly(**fields)
    await s.advance(
        start_child(s.children, s.unique("child")),
        start_timer("long", seconds=100),
        schedule_activity(s.queue, "done"),
        schedule_activity(s.queue, "pending"),
    )
    await s.wait_for_event(CHILD_STARTED)
    done = await s.take_activity()
    other = await s.take_activity()
    by_id = {each.activity_id: each for each in (done, other)}
    await s.signal("wake")
    task = await s.take()
    await s.quiet(
        ws.RespondActivityTaskCompletedRequest(namespace=NAMESPACE, task_token=by_id["done"].task_token, identity="w")
    )
    await s.signal("one", input=payloads("1"), header=header(h="x"), request_id=s.unique("one"))
    await s.request_cancel(reason="enough", request_id=s.unique("cancel"))
    await s.signal("two")
    return task


async def _late(s: Session, task: ws.PollWorkflowTaskQueueResponse) -> None:
    """What comes after the end."""
    await s.complete(task, record_marker())
    await s.fail_task(task)
    await s.signal("late")
    await s.request_cancel()
    await s.terminate()
    by_id: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_id": s.unique("wf"),
        "activity_id": "pending",
        "identity": "worker",
    }
    await s.attempt(ws.RespondActivityTaskCompletedByIdRequest(**by_id))
    await s.attempt(ws.RecordActivityTaskHeartbeatByIdRequest(**by_id))


@scenario()
async def terminated_amid_everything(s: Session) -> None:
    """A termination with details fails the task at work, keeps what waited behind it and drops what is pending."""
    task = await _busy(s)
    await s.terminate(reason="enough", details=payloads("why", "and why"))
    await s.show_history(first=5)
    await s.describe()
    await _late(s, task)


@scenario()
async def timed_out_amid_everything(s: Session) -> None:
    """So does a timeout."""
    task = await _busy(s, workflow_run_timeout=duration(8))
    await s.closed()
    await s.show_history(first=5)
    await _late(s, task)


@scenario()
async def replaced_amid_everything(s: Session) -> None:
    """So does a start that makes room."""
    await _busy(s)
    request = s.start_request(
        request_id=s.unique("second"),
        workflow_id_conflict_policy=enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
    )
    first = (await s.events())[0].workflow_execution_started_event_attributes.first_execution_run_id
    await s.call(request)
    await s.show_history(run_id=first, first=5)
    await s.show_history()


@scenario()
async def ended_by_command_amid_everything(s: Session) -> None:
    """A command that ends the run has to wait for what its worker hasn't seen; then all that is pending goes."""
    for name, command in (
        ("completed", complete_workflow()),
        ("failed", fail_workflow()),
        ("cancelled", cancel_workflow()),
        ("continued", anew(s)),
    ):
        s.note(name)
        workflow = s.unique(name)
        await s.start_quietly(name)
        await s.advance(start_timer("t", seconds=100), schedule_activity(s.queue, "a"))
        await s.signal("wake", name)
        task = await s.take()
        assert task.workflow_execution.workflow_id == workflow
        await s.signal("seen never", name)
        await s.complete(task, cancel_timer("t"), command)
        await s.show_history(name, first=8)
        await s.complete(await s.take(), command)
        run_id = task.workflow_execution.run_id
        await s.show_history(name, run_id=run_id, first=11)
        await s.describe(name, run_id=run_id)


@scenario()
async def ends_of_activities_after_the_end(s: Session) -> None:
    """What a worker answers for an activity of a run that is over."""
    await s.start_quietly()
    await s.advance(*(schedule_activity(s.queue, name, heartbeat_timeout=duration(50)) for name in "abcd"))
    tasks = [await s.take_activity() for _ in range(4)]
    await s.terminate()
    await s.heartbeat(tasks[0].task_token, "x")
    await s.complete_activity(tasks[0].task_token)
    await s.fail_activity(tasks[1].task_token)
    await s.attempt(
        ws.RespondActivityTaskCanceledRequest(namespace=NAMESPACE, task_token=tasks[2].task_token, identity="worker")
    )


@scenario(rules=THROTTLED)
async def continued_by_every_initiator(s: Session) -> None:
    """A worker may say that it is another attempt, or the schedule's next run, and why."""
    for number, initiator in enumerate((0, 1, 2, 3)):
        name = f"wf{number}"
        s.note(f"initiator {initiator}")
        await s.start_quietly(name, retry_policy=retry_policy(attempts=9))
        command = anew(
            s,
            initiator=initiator,
            failure=failure("the last"),
            last_completion_result=payloads("result"),
            input=payloads("input"),
            backoff_start_interval=duration(2),
        )
        first = (await s.advance(command)).workflow_execution.run_id
        await s.show_history(name, run_id=first, first=4)
        await s.show_history(name)


@scenario(rules=THROTTLED)
async def signals_around_a_continuation(s: Session) -> None:
    """Signals that came before a task belong to the old run; those behind it keep it from going on; later ones are the
    new run's.
    """
    first = await s.start_quietly()
    await s.signal("seen")
    task = await s.take()
    await s.signal("behind", request_id=s.unique("behind"))
    await s.complete(task, anew(s))
    await s.signal("behind", request_id=s.unique("behind"))
    await s.advance(anew(s, backoff_start_interval=duration(25)))
    await s.signal("behind", request_id=s.unique("behind"))
    await s.signal("later")
    await s.signal("to the first", run_id=first)
    await s.show_history(run_id=first, first=3)
    await s.show_history()


@scenario(rules=THROTTLED)
async def a_chain_ended_by_its_first_run(s: Session) -> None:
    """Who means the chain may end it by its first run's id; who means another chain may not."""
    first = await s.start_quietly()
    await s.advance(anew(s, backoff_start_interval=duration(25)))
    second = (await s.events())[0].workflow_execution_started_event_attributes.original_execution_run_id
    await s.terminate(first_execution_run_id=NO_RUN)
    await s.terminate(run_id=first)
    await s.terminate(run_id=first, first_execution_run_id=first)
    await s.request_cancel(first_execution_run_id=NO_RUN)
    await s.request_cancel(first_execution_run_id=first)
    await s.terminate(run_id=second, first_execution_run_id=second)
    await s.terminate(first_execution_run_id=first, reason="end", details=payloads("why"))
    await s.show_history()


async def _sent(s: Session, command: Any, name: str) -> None:
    """Show what becomes of a signal or request to another workflow."""
    await s.start_quietly(name)
    await s.advance(command)
    await s.wait_for_event(TASK_SCHEDULED, name, count=2)
    await s.show_history(name, first=5)
    await s.quiet(ws.TerminateWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=s.execution(name)))


@scenario(rules=THROTTLED)
async def external_to_a_chain(s: Session) -> None:
    """A signal and a request by a former run's id, to a target that was continued; then without."""
    first = await s.start_quietly("target", task_queue=s.children)
    await s.advance_child(continue_as_new(task_queue=s.children, backoff_start_interval=duration(25)))
    by_run = s.execution("target", first)
    await _sent(s, signal_external(by_run), "a")
    await _sent(s, cancel_external(s.unique("target"), run_id=first), "b")
    await _sent(s, signal_external(s.execution("target")), "c")
    await _sent(s, cancel_external(s.unique("target")), "d")
    await s.show_history("target")


@scenario()
async def external_to_a_busy_target(s: Session) -> None:
    """A signal and a request wait behind the target's task like any others, and are refused once it is over."""
    await s.start_quietly("target", task_queue=s.children)
    task = await s.take(task_queue=s.children)
    await _sent(s, signal_external(s.execution("target"), input=payloads("x")), "a")
    await _sent(s, cancel_external(s.unique("target"), reason="enough"), "b")
    await s.complete(task, complete_workflow())
    await s.show_history("target", first=3)
    await s.terminate("target")
    await _sent(s, signal_external(s.execution("target")), "c")
    await _sent(s, cancel_external(s.unique("target")), "d")


@scenario()
async def external_in_flight_when_the_sender_ends(s: Session) -> None:
    """What was sent arrives, whatever becomes of its sender meanwhile, and the sender's end stays its last word."""
    await s.start_quietly("target", task_queue=s.children)
    await s.start_quietly()
    await s.advance(signal_external(s.execution("target")), start_timer(seconds=50))
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, "target")
    await s.terminate()
    assert (await s.events())[-1].event_type == TERMINATED
    await s.show_history("target")


async def _gone(s: Session, name: str, run_id: str = "") -> None:
    async def missing() -> bool:
        try:
            execution = s.execution(name, run_id)
            await s.quiet(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=execution))
        except CallFailed as failed:
            return failed.code == "NOT_FOUND"
        return False

    await until("the run to be gone", missing)


def _delete(s: Session, name: str = "wf", run_id: str = "") -> ws.DeleteWorkflowExecutionRequest:
    return ws.DeleteWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=s.execution(name, run_id))


@scenario()
async def deleted_amid_everything(s: Session) -> None:
    """An open run goes with all that is under way; its child is treated as at any end, and the id is free again."""
    task = await _busy(s)
    await s.attempt(_delete(s))
    await _gone(s, "wf")
    await s.closed("child")
    await s.show_history("child")
    await _late(s, task)
    await s.start()
    await s.advance(complete_workflow("again"))
    await s.show_history()


@scenario()
async def deleted_and_begun_anew(s: Session) -> None:
    """After the run is gone every kind of start begins a new one, also with the former's request id."""
    await s.start_quietly()
    await s.attempt(_delete(s))
    await _gone(s, "wf")
    await s.start(
        workflow_id_reuse_policy=enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
        workflow_id_conflict_policy=enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
    )
    await s.attempt(_delete(s))
    await _gone(s, "wf")
    await s.call(
        ws.SignalWithStartWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_id=s.unique("wf"),
            workflow_type=s.start_request().workflow_type,
            task_queue=s.queue,
            signal_name="hello",
            request_id=s.unique("start-wf"),
        )
    )
    await s.show_history()


@scenario(rules=THROTTLED)
async def deleted_run_of_a_chain(s: Session) -> None:
    """The current run of a chain is deleted in its backoff; the chain doesn't go on, and its first run can be read."""
    first = await s.start_quietly()
    await s.advance(anew(s, backoff_start_interval=duration(25)))
    await s.attempt(_delete(s))
    await _gone(s, "wf")
    await s.describe()
    await s.describe(run_id=first)
    await s.signal("late")
    await s.terminate(run_id=first)
    await s.terminate(first_execution_run_id=first)
    await s.start(request_id=s.unique("second"))


@scenario()
async def deleted_target(s: Session) -> None:
    """Signals and requests of others to a run that is gone."""
    await s.start_quietly("target", task_queue=s.children)
    await s.quiet(_delete(s, "target"))
    await _gone(s, "target")
    await _sent(s, signal_external(s.execution("target")), "a")
    await _sent(s, cancel_external(s.unique("target")), "b")


@scenario()
async def deleted_parent(s: Session) -> None:
    """A child whose parent is gone ends as it likes, and nobody misses it."""
    await s.start_quietly()
    child = start_child(s.children, s.unique("child"), parent_close_policy=enums.PARENT_CLOSE_POLICY_ABANDON)
    await s.advance(child)
    await s.wait_for_event(CHILD_STARTED)
    await s.attempt(_delete(s))
    await _gone(s, "wf")
    await s.signal("still", "child")
    await s.advance_child(complete_workflow())
    await s.show_history("child")
