"""What becomes of children when their parent closes: each policy, for each way to close."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import workflow_pb2 as enums

from tests.conformance.harness.commands import (
    cancel_workflow,
    complete_workflow,
    continue_as_new,
    fail_workflow,
    start_child,
)
from tests.conformance.harness.payloads import duration, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session
from tests.conformance.scenarios.continue_as_new import THROTTLED

STARTED = kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
CANCEL_REQUESTED = kinds.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED
TERMINATE = enums.PARENT_CLOSE_POLICY_TERMINATE
ABANDON = enums.PARENT_CLOSE_POLICY_ABANDON
REQUEST_CANCEL = enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL


async def parent_with_child(s: Session, policy: int, **fields: Any) -> str:
    """A parent with a started child of this policy, at the task for it; its run id."""
    run_id = await s.start_quietly(**fields)
    await s.advance(start_child(s.children, s.unique("child"), parent_close_policy=policy))
    await s.wait_for_event(STARTED)
    return run_id


async def show_cancel_requested(s: Session) -> None:
    """Wait until the child is asked to cancel, and show its history."""
    await s.wait_for_event(CANCEL_REQUESTED, "child")
    await s.show_history("child")


async def show_terminated(s: Session) -> None:
    """Wait until the child is closed, and show its history."""
    await s.closed("child")
    await s.show_history("child")


async def show_abandoned(s: Session) -> None:
    """The child takes its first task and goes on, whoever was told of the parent's end."""
    await s.advance_child(complete_workflow())
    await s.closed("child")
    await s.show_history("child")


@scenario()
async def parent_completes_terminate(s: Session) -> None:
    """The default policy after a completion."""
    await parent_with_child(s, enums.PARENT_CLOSE_POLICY_UNSPECIFIED)
    await s.advance(complete_workflow())
    await show_terminated(s)
    await s.show_history(first=5)


@scenario()
async def parent_completes_request_cancel(s: Session) -> None:
    """Cancellation is asked for; the child's end reaches nobody."""
    await parent_with_child(s, REQUEST_CANCEL)
    await s.advance(complete_workflow())
    await show_cancel_requested(s)
    await s.advance_child(cancel_workflow())
    await s.show_history("child", first=3)
    await s.show_history(first=9)


@scenario()
async def parent_completes_abandon(s: Session) -> None:
    """The child goes on."""
    await parent_with_child(s, ABANDON)
    await s.advance(complete_workflow())
    await show_abandoned(s)
    await s.show_history(first=5)


@scenario()
async def parent_fails_terminate(s: Session) -> None:
    """A failure of the parent."""
    await parent_with_child(s, TERMINATE)
    await s.advance(fail_workflow())
    await show_terminated(s)


@scenario()
async def parent_cancelled_request_cancel(s: Session) -> None:
    """A parent that accepts its cancellation."""
    await parent_with_child(s, REQUEST_CANCEL)
    await s.request_cancel()
    await s.advance(cancel_workflow())
    await show_cancel_requested(s)


@scenario()
async def parent_terminated_terminate(s: Session) -> None:
    """A terminated parent."""
    await parent_with_child(s, TERMINATE)
    await s.terminate()
    await show_terminated(s)


@scenario()
async def parent_terminated_request_cancel(s: Session) -> None:
    """A terminated parent, and a child that is asked to cancel."""
    await parent_with_child(s, REQUEST_CANCEL)
    await s.terminate()
    await show_cancel_requested(s)


@scenario()
async def parent_times_out_terminate(s: Session) -> None:
    """A parent whose run timeout passes."""
    await parent_with_child(s, TERMINATE, workflow_run_timeout=duration(8))
    await s.take()
    await show_terminated(s)
    await s.show_history(first=5)


@scenario()
async def parent_continues_as_new_terminate(s: Session) -> None:
    """Continue-as-new closes a run like any other end."""
    run_id = await parent_with_child(s, TERMINATE)
    await s.advance(continue_as_new(workflow_type=common.WorkflowType(name="flow"), task_queue=s.queue))
    await show_terminated(s)
    await s.show_history(run_id=run_id, first=5)


@scenario(rules=THROTTLED)
async def parent_continues_as_new_abandon(s: Session) -> None:
    """The next run hears nothing of the child of the run before."""
    await parent_with_child(s, ABANDON)
    await s.advance(continue_as_new(workflow_type=common.WorkflowType(name="flow"), task_queue=s.queue))
    await show_abandoned(s)
    await s.take()
    await s.show_history(first=2)
    await s.describe()


@scenario()
async def parent_retries_terminate(s: Session) -> None:
    """A failed attempt of the parent ends its children too."""
    await parent_with_child(s, TERMINATE, retry_policy=retry_policy(initial=1))
    await s.advance(fail_workflow())
    await show_terminated(s)


@scenario()
async def parent_replaced_terminate(s: Session) -> None:
    """A start that terminates the running parent."""
    await parent_with_child(s, TERMINATE)
    policy = enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    await s.start_quietly(workflow_id_conflict_policy=policy, request_id=s.unique("again"))
    await show_terminated(s)


@scenario()
async def parent_closes_over_closed_child(s: Session) -> None:
    """A child that is closed already is left alone."""
    await parent_with_child(s, TERMINATE)
    await s.advance()
    await s.advance_child(complete_workflow())
    await s.advance(complete_workflow())
    await s.show_history("child", first=5)


@scenario(rules=THROTTLED)
async def parent_closes_over_continued_child(s: Session) -> None:
    """A child in its second run is found there."""
    await parent_with_child(s, TERMINATE)
    await s.advance()
    await s.advance_child(continue_as_new(workflow_type=common.WorkflowType(name="child"), task_queue=s.children))
    await s.take(task_queue=s.children)
    await s.terminate()
    await show_terminated(s)


@scenario()
async def parent_closes_over_replaced_child(s: Session) -> None:
    """A later workflow with the child's id is nobody's child."""
    await parent_with_child(s, TERMINATE)
    await s.advance()
    await s.advance_child(complete_workflow())
    await s.take()
    await s.start_quietly("child", task_queue=s.children)
    await s.terminate()
    await s.take(task_queue=s.children)
    await s.show_history("child")


@scenario()
async def parent_close_reaches_grandchild(s: Session) -> None:
    """One end brings the next."""
    await parent_with_child(s, TERMINATE)
    await s.advance_child(start_child(s.children, s.unique("grandchild")))
    await s.wait_for_event(STARTED, "child")
    await s.terminate()
    await s.closed("grandchild")
    await s.show_history("grandchild")
