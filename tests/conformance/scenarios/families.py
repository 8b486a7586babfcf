"""Workflows and others of theirs: across namespaces, in lists, and how their commands and ends meet."""

from __future__ import annotations

from typing import Any

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    cancel_external,
    cancel_workflow,
    complete_workflow,
    fail_workflow,
    record_marker,
    signal_external,
    start_child,
    start_timer,
)
from tests.conformance.harness.payloads import duration, failure, memo, retry_policy, search_attributes
from tests.conformance.harness.render import Rule
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until

STARTED = kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
SIGNALED = kinds.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED


def child(s: Session, workflow: str = "child", **fields: Any) -> command.Command:
    """Start a child on the queue of the children."""
    return start_child(s.children, s.unique(workflow), **fields)


async def another_namespace(s: Session) -> str:
    """A namespace of the scenario's own, as soon as it is known to the whole server."""
    name = s.unique("other")
    await s.quiet(ws.RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=duration(86400)))

    async def known() -> bool:
        try:
            await s.quiet(ws.GetWorkflowExecutionHistoryRequest(namespace=name, execution=s.execution("none")))
        except CallFailed as failed:
            return "Namespace" not in failed.text
        return True

    await until("the namespace to be usable", known)
    return name


@scenario()
async def commands_across_namespaces(s: Session) -> None:
    """Children, signals and requests stay in their own namespace, unless a server is told otherwise."""
    other = await another_namespace(s)
    for workflow, attempt in (
        ("child", child(s, namespace=other)),
        ("signal", signal_external(s.execution("target"), namespace=other)),
        ("cancel", cancel_external(s.unique("target"), namespace=other)),
    ):
        await s.start_quietly(workflow)
        await s.complete(await s.take(), attempt)
        await s.show_history(workflow, first=3)


@scenario()
async def children_in_lists(s: Session) -> None:
    """Children are found by their parent, and by the root of all."""
    run_id = await s.start_quietly()
    await s.advance(child(s, memo=memo(m="1"), search_attributes=search_attributes(CustomKeywordField="k")))
    await s.wait_for_event(STARTED)
    await s.advance_child(start_child(s.queue, s.unique("grandchild")))
    await s.wait_for_event(STARTED, "child")
    for query, count, built in (
        (f"ParentWorkflowId = '{s.unique('wf')}'", 1, 1),
        (f"ParentRunId = '{run_id}'", 1, 1),
        (f"RootWorkflowId = '{s.unique('wf')}'", 3, 2),
        (f"RootRunId = '{run_id}' AND WorkflowId = '{s.unique('grandchild')}'", 1, 0),
    ):
        s.note(query)
        reply = await listed(s, query, count, built)
        for info in sorted(reply.executions, key=lambda info: str(info.execution.workflow_id)):
            s.show("listed", info)


async def listed(s: Session, query: str, count: int, built: int = 0) -> ws.ListWorkflowExecutionsResponse:
    """List until there are so many executions, and so many of them show that a worker has answered a task."""
    request = ws.ListWorkflowExecutionsRequest(namespace=NAMESPACE, query=query)

    async def enough() -> ws.ListWorkflowExecutionsResponse | None:
        reply: ws.ListWorkflowExecutionsResponse = await s.quiet(request)
        answered = sum("BuildIds" in info.search_attributes.indexed_fields for info in reply.executions)
        return reply if len(reply.executions) == count and answered >= built else None

    found = await until(f"{count} of {query}", enough)
    assert found is not None
    return found


@scenario()
async def child_cancelled_in_the_task_that_starts_it(s: Session) -> None:
    """A request for a child that isn't started yet is refused; a signal for it is not."""
    await s.start_quietly()
    await s.complete(await s.take(), child(s), cancel_external(s.unique("child"), child_workflow_only=True))
    await s.show_history(first=3)
    await s.complete(await s.take(), child(s), signal_external(s.execution("child"), child_workflow_only=True))
    await s.wait_for_event(STARTED)


@scenario()
async def child_not_started_by_refused_task(s: Session) -> None:
    """A bad command beside it: the child was never asked for."""
    await s.start_quietly()
    await s.complete(await s.take(), child(s), signal_external(s.execution("wf"), ""), record_marker())
    await s.show_history(first=3)
    await s.describe("child")


@scenario()
async def child_with_schedule(s: Session) -> None:
    """A child with a cron schedule: it is started before its first time; its runs are no end of it."""
    await s.start_quietly()
    await s.advance(child(s, cron_schedule="@every 2s"))
    await s.wait_for_event(STARTED)
    await s.advance()
    await s.advance_child(complete_workflow("first"))
    task = await s.take(task_queue=s.children)
    await s.request_cancel("child")
    await s.quiet(s.completion(task))
    await s.advance_child(cancel_workflow())
    await s.take()
    found = await s.show_history(first=9)
    assert found[4].start_child_workflow_execution_initiated_event_attributes.cron_schedule == "@every 2s"


@scenario(rules=(Rule("first_workflow_task_backoff", "up to the next time"),))
async def child_with_schedule_begins(s: Session) -> None:
    """The events of such a child while it waits."""
    await s.start_quietly()
    await s.advance(child(s, cron_schedule="@every 25s"))
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)
    await s.show_history("child")
    await s.terminate("child")
    await s.wait_for_event(kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED)
    await s.show_history(first=8)


@scenario()
async def child_fails_without_retry(s: Session) -> None:
    """A failure that the child's policy excludes."""
    await s.start_quietly()
    await s.advance(child(s, retry_policy=retry_policy(never=("fatal",))))
    await s.wait_for_event(STARTED)
    await s.advance()
    await s.advance_child(fail_workflow(failure=failure("no", "fatal")))
    await s.take()
    await s.show_history(first=10)


@scenario()
async def child_times_out_as_execution(s: Session) -> None:
    """A child whose execution timeout passes, though it would be retried."""
    await s.start_quietly()
    await s.advance(child(s, workflow_execution_timeout=duration(1), retry_policy=retry_policy(initial=1)))
    await s.wait_for_event(kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT)
    for event in await s.events():
        if event.event_type == kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT:
            s.show("timed out", event.child_workflow_execution_timed_out_event_attributes)


@scenario()
async def child_outlives_signal_to_closed_parent(s: Session) -> None:
    """An abandoned child signals the parent that is gone."""
    await s.start_quietly()
    await s.advance(child(s, parent_close_policy=enums.PARENT_CLOSE_POLICY_ABANDON))
    await s.wait_for_event(STARTED)
    await s.advance(complete_workflow())
    await s.advance_child(signal_external(s.execution("wf")))
    await s.wait_for_event(kinds.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED, "child")
    await s.show_history("child", first=5)


@scenario()
async def child_signals_its_parent(s: Session) -> None:
    """A signal the other way round."""
    await s.start_quietly()
    await s.advance(child(s))
    await s.wait_for_event(STARTED)
    await s.advance(start_timer(seconds=100))
    await s.advance_child(signal_external(s.execution("wf"), "done"))
    await s.wait_for_event(SIGNALED, "child")
    await s.show_history(first=10)


@scenario()
async def child_kept_over_a_failed_task(s: Session) -> None:
    """A child starts while its parent's task fails: what was held back is written."""
    await s.start_quietly()
    another = {"return_new_workflow_task": True, "force_create_new_workflow_task": True}
    task = (await s.quiet(s.completion(await s.take(), child(s), **another))).workflow_task
    await s.take(task_queue=s.children)
    await s.fail_task(task)
    await s.show_history(first=5)


@scenario()
async def child_described_by_its_parents_task(s: Session) -> None:
    """A child's result and its parent's next task come together, and Describe forgets the child."""
    await s.start_quietly()
    await s.advance(child(s))
    await s.wait_for_event(STARTED)
    await s.advance()
    await s.advance_child(complete_workflow("out"))
    await s.take()
    await s.describe()
