"""Children that start: the events of both sides, what the child gets, and how each of its ends reaches the parent."""

from __future__ import annotations

from typing import Any

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.sdk.v1 import user_metadata_pb2 as sdk
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_external,
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    record_marker,
    signal_external,
    start_child,
)
from tests.conformance.harness.payloads import (
    duration,
    header,
    memo,
    payload,
    payloads,
    retry_policy,
    search_attributes,
)
from tests.conformance.harness.render import Rule
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until
from tests.conformance.scenarios.continue_as_new import THROTTLED

# The next task comes with the reply, and is started by then.
ANOTHER = {"return_new_workflow_task": True, "force_create_new_workflow_task": True}
STARTED = kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED


def child(s: Session, workflow: str = "child", **fields: Any) -> command.Command:
    """Start a child on the queue of the children."""
    return start_child(s.children, s.unique(workflow), **fields)


async def parent_with_child(s: Session, **fields: Any) -> str:
    """A parent whose child is started and whose task for that is done; its run id."""
    run_id = await s.start_quietly()
    await s.advance(child(s, **fields))
    await s.wait_for_event(STARTED)
    await s.advance()
    return run_id


async def no_pending_child(s: Session) -> None:
    """Wait until the parent knows that its child has ended; while it has a task, its history doesn't show that."""
    request = ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution("wf"))

    async def ended() -> bool:
        return not (await s.quiet(request)).pending_children

    await until("the child's end", ended)


@scenario()
async def child_completes(s: Session) -> None:
    """Initiated, started, completed: a task for each of the last two."""
    await s.start_quietly()
    await s.advance(child(s, input=payloads("in")))
    await s.poll()
    await s.show_history("child")
    await s.advance_child(complete_workflow("out"))
    await s.closed("child")
    await s.show_history(first=5)


@scenario()
async def child_completes_to_idle_parent(s: Session) -> None:
    """The child's end makes a task of its own when the parent has none."""
    await parent_with_child(s)
    await s.advance_child(complete_workflow("out"))
    await s.poll()
    await s.show_history(first=5)
    await s.show_history("child")


@scenario()
async def child_fails(s: Session) -> None:
    """Failure, with the child's own failure inside."""
    await parent_with_child(s)
    await s.advance_child(fail_workflow("no use"))
    await s.take()
    await s.show_history(first=9)


@scenario()
async def child_is_cancelled(s: Session) -> None:
    """The parent requests cancellation of its child, and the child accepts."""
    run_id = await s.start_quietly()
    await s.advance(child(s))
    await s.wait_for_event(STARTED)
    await s.advance(cancel_external(s.unique("child"), child_workflow_only=True, reason="enough", control="c"))
    await s.wait_for_event(kinds.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED, run_id=run_id)
    await s.advance()
    await s.advance_child(cancel_workflow())
    await s.take()
    await s.show_history(first=5)
    await s.show_history("child")


@scenario()
async def child_is_terminated(s: Session) -> None:
    """A terminated child."""
    await parent_with_child(s)
    await s.terminate("child")
    await s.take()
    await s.show_history(first=9)


@scenario()
async def child_times_out(s: Session) -> None:
    """A child whose run timeout passes before anybody took its task."""
    await parent_with_child(s, workflow_run_timeout=duration(1))
    await s.take()
    await s.show_history(first=5)
    await s.show_history("child")


@scenario()
async def child_is_signalled(s: Session) -> None:
    """A signal from parent to child, by its id alone."""
    await s.start_quietly()
    await s.advance(child(s))
    await s.wait_for_event(STARTED)
    target = common.WorkflowExecution(workflow_id=s.unique("child"))
    await s.advance(signal_external(target, child_workflow_only=True, input=payloads("x"), header=header(k="v")))
    await s.wait_for_event(kinds.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED)
    await s.show_history(first=5)
    await s.show_history("child")


@scenario()
async def child_with_everything(s: Session) -> None:
    """All that the command may say, on the parent's events and on the child's."""
    await s.start_quietly(workflow_execution_timeout=duration(500), workflow_run_timeout=duration(400))
    start = child(
        s,
        input=payloads("in"),
        workflow_execution_timeout=duration(300),
        workflow_run_timeout=duration(200),
        workflow_task_timeout=duration(5),
        parent_close_policy=enums.PARENT_CLOSE_POLICY_ABANDON,
        control="control",
        workflow_id_reuse_policy=enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
        retry_policy=retry_policy(initial=1),
        header=header(h="1"),
        memo=memo(m="2"),
        search_attributes=search_attributes(CustomKeywordField="k"),
        priority=common.Priority(priority_key=2, fairness_key="f", fairness_weight=2.0),
    )
    start.user_metadata.CopyFrom(sdk.UserMetadata(summary=payload("sum"), details=payload("det")))
    await s.advance(start)
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)
    await s.show_history("child")
    await s.describe("child")
    await s.describe()


@scenario()
async def child_inherits_little(s: Session) -> None:
    """Memo, header, attributes, priority and timeouts of the parent are not the child's, unless it names none."""
    await s.start_quietly(
        workflow_execution_timeout=duration(500),
        workflow_run_timeout=duration(400),
        workflow_task_timeout=duration(7),
        header=header(h="1"),
        memo=memo(m="2"),
        search_attributes=search_attributes(CustomKeywordField="k"),
        priority=common.Priority(priority_key=2),
    )
    await s.advance(child(s, priority=None))
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)
    await s.show_history("child")
    await s.describe("child")


@scenario()
async def child_timeouts_are_cut(s: Session) -> None:
    """A run timeout above the execution timeout, a task timeout above the run timeout."""
    await s.start_quietly()
    await s.advance(
        child(
            s,
            workflow_execution_timeout=duration(100),
            workflow_run_timeout=duration(200),
            workflow_task_timeout=duration(500),
        )
    )
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)
    await s.show_history("child")


@scenario()
async def child_on_the_parents_queue(s: Session) -> None:
    """Without a task queue of its own the child uses its parent's."""
    await s.start_quietly()
    await s.advance(child(s, task_queue=None))
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)
    await s.show_history("child")


@scenario(rules=THROTTLED)
async def child_retries(s: Session) -> None:
    """The parent hears of the last attempt only; which run the events name."""
    await parent_with_child(s, retry_policy=retry_policy(initial=1, attempts=2))
    await s.advance_child(fail_workflow("first"))
    await s.advance_child(fail_workflow("second"))
    await s.take()
    await s.show_history(first=5)
    await s.show_history("child")


@scenario(rules=THROTTLED)
async def child_continues_as_new(s: Session) -> None:
    """The same for a child that continues as new; what the second run knows of its parent."""
    await parent_with_child(s)
    await s.advance_child(continue_as_new(workflow_type=common.WorkflowType(name="child"), task_queue=s.children))
    await s.advance_child(complete_workflow("out"))
    await s.take()
    await s.show_history(first=5)
    await s.show_history("child")
    await s.describe("child")


@scenario()
async def child_started_during_task(s: Session) -> None:
    """Started and completed while the parent's task is started: both are held back."""
    await s.start_quietly()
    task = (await s.quiet(s.completion(await s.take(), child(s), **ANOTHER))).workflow_task
    one = await s.take(task_queue=s.children)
    await s.signal("one")
    await s.quiet(s.completion(one, complete_workflow()))
    await no_pending_child(s)
    await s.signal("two")
    await s.describe()
    await s.complete(task, record_marker())
    await s.show_history(first=2)


@scenario()
async def child_is_pending(s: Session) -> None:
    """What Describe says of children: one that is started, one that is not yet."""
    await s.start_quietly()
    await s.advance(child(s, "one"), child(s, "two", parent_close_policy=enums.PARENT_CLOSE_POLICY_ABANDON))
    await s.wait_for_event(STARTED, count=2)
    found = await s.quiet(ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution("wf")))
    for pending in sorted(found.pending_children, key=lambda pending: str(pending.workflow_id)):
        s.show("pending", pending)


@scenario()
async def child_ends_during_task(s: Session) -> None:
    """A child's end comes after the signals that came with it."""
    await parent_with_child(s)
    await s.signal("wake")
    task = await s.take()
    await s.advance_child(complete_workflow())
    await no_pending_child(s)
    await s.signal("one")
    await s.complete(task, complete_workflow())
    await s.show_history(first=9)


@scenario(rules=(Rule("started_event_id", "either of the two starts first"),))
async def two_children_end(s: Session) -> None:
    """Two children of one task, ending in the other order."""
    await s.start_quietly()
    await s.advance(child(s, "one"), child(s, "two"))
    await s.wait_for_event(STARTED, count=2)
    taken = [await s.take(task_queue=s.children), await s.take(task_queue=s.children)]
    tasks = {task.workflow_execution.workflow_id: task for task in taken}
    await s.quiet(s.completion(tasks[s.unique("two")], complete_workflow("two")))
    await s.wait_for_event(kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED)
    await s.quiet(s.completion(tasks[s.unique("one")], fail_workflow("one")))
    await s.wait_for_event(kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED)
    found = await s.events()
    for event in found:
        if event.event_type == kinds.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            s.show("initiated", event.start_child_workflow_execution_initiated_event_attributes)
        elif event.event_type == kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED:
            s.show("completed", event.child_workflow_execution_completed_event_attributes)
        elif event.event_type == kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED:
            s.show("failed", event.child_workflow_execution_failed_event_attributes)


@scenario()
async def child_of_a_child(s: Session) -> None:
    """Parent and root of a grandchild."""
    await parent_with_child(s)
    await s.advance_child(start_child(s.queue, s.unique("grandchild")))
    await s.wait_for_event(STARTED, "child")
    await s.show_history("grandchild")
    await s.describe("grandchild")
