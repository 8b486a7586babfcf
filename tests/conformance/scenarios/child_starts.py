"""Children that can't start: ids in use, unknown namespaces, commands that are refused."""

from __future__ import annotations

from typing import Any

from temporalio.api.command.v1.message_pb2 import Command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import workflow_pb2 as enums

from tests.conformance.harness.commands import complete_workflow, fail_workflow, record_marker, start_child
from tests.conformance.harness.payloads import duration, retry_policy, search_attributes
from tests.conformance.harness.render import Rule
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session

STARTED = kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
NOT_STARTED = kinds.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED


async def other(s: Session, *commands: Command) -> str:
    """A workflow with the child's id, which no parent has; closed by a command, if one is given. Its run id."""
    run_id = await s.start_quietly("child", task_queue=s.children)
    if commands:
        await s.advance_child(*commands)
    return run_id


async def refused(s: Session, **fields: Any) -> None:
    """A child that is not started; the failure is shown."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child"), **fields))
    await s.wait_for_event(NOT_STARTED)
    await s.show_history(first=5)


async def not_taken(s: Session, *commands: Command) -> None:
    """A workflow task whose completion is refused for its commands."""
    await s.start_quietly()
    await s.complete(await s.take(), *commands)
    await s.show_history(first=3)


@scenario()
async def child_id_in_use(s: Session) -> None:
    """The id runs already."""
    await other(s)
    await refused(s, control="control")


@scenario()
async def child_id_in_use_terminate_if_running(s: Session) -> None:
    """The reuse policy that terminates the running one."""
    run_id = await other(s)
    policy = enums.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child"), workflow_id_reuse_policy=policy))
    await s.take()
    await s.show_history(first=5)
    await s.show_history("child")
    await s.show_history("child", run_id=run_id)


@scenario()
async def child_id_of_completed(s: Session) -> None:
    """The id was used by a workflow that completed: allowed by default."""
    await other(s, complete_workflow())
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)


@scenario()
async def child_id_of_completed_failed_only(s: Session) -> None:
    """The id was used by a workflow that completed: failed ones only."""
    await other(s, complete_workflow())
    await refused(s, workflow_id_reuse_policy=enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY)


@scenario()
async def child_id_of_failed_failed_only(s: Session) -> None:
    """The id was used by a workflow that failed: failed ones only."""
    await other(s, fail_workflow())
    await s.start_quietly()
    policy = enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
    await s.advance(start_child(s.children, s.unique("child"), workflow_id_reuse_policy=policy))
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)


@scenario()
async def child_id_rejected_as_duplicate(s: Session) -> None:
    """The id was used by a workflow that failed: no duplicates."""
    await other(s, fail_workflow())
    await refused(s, workflow_id_reuse_policy=enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE)


@scenario(rules=(Rule("initiated_event_id", "either of the two starts first"),))
async def child_id_twice_in_one_task(s: Session) -> None:
    """Two children with the same id in one completion."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")), start_child(s.children, s.unique("child")))
    await s.wait_for_event(NOT_STARTED)
    await s.wait_for_event(STARTED)
    found = await s.events()
    for event in found:
        if event.event_type == NOT_STARTED:
            s.show("failed", event.start_child_workflow_execution_failed_event_attributes)


@scenario()
async def child_with_its_parents_id(s: Session) -> None:
    """The parent's own id."""
    await s.start_quietly()
    await s.advance(start_child(s.queue, s.unique("wf")))
    await s.wait_for_event(NOT_STARTED)
    await s.show_history(first=5)


@scenario()
async def child_in_own_namespace_by_name(s: Session) -> None:
    """The namespace may be named."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child"), namespace="default"))
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)


@scenario()
async def child_in_unknown_namespace(s: Session) -> None:
    """A namespace that isn't there."""
    await not_taken(s, start_child(s.children, s.unique("child"), namespace="no-such-namespace"))


@scenario()
async def child_without_id(s: Session) -> None:
    """No workflow id."""
    await not_taken(s, start_child(s.children, ""))


@scenario()
async def child_without_type(s: Session) -> None:
    """No workflow type."""
    await not_taken(s, start_child(s.children, s.unique("child"), workflow_type=common.WorkflowType()))


@scenario()
async def child_id_too_long(s: Session) -> None:
    """A workflow id over the limit."""
    await not_taken(s, start_child(s.children, "x" * 1001))


@scenario()
async def child_type_too_long(s: Session) -> None:
    """A workflow type over the limit."""
    await not_taken(s, start_child(s.children, s.unique("child"), workflow_type=common.WorkflowType(name="x" * 1001)))


@scenario()
async def child_timeout_negative(s: Session) -> None:
    """A negative timeout."""
    await not_taken(s, start_child(s.children, s.unique("child"), workflow_run_timeout=duration(-1)))


@scenario()
async def child_retry_policy_refused(s: Session) -> None:
    """A retry policy that makes no sense."""
    await not_taken(s, start_child(s.children, s.unique("child"), retry_policy=retry_policy(coefficient=0.5)))


@scenario()
async def child_cron_refused(s: Session) -> None:
    """A cron schedule that is none."""
    await not_taken(s, start_child(s.children, s.unique("child"), cron_schedule="no schedule"))


@scenario()
async def child_attribute_unknown(s: Session) -> None:
    """A search attribute nobody registered."""
    given = search_attributes(NoSuchAttribute="x")
    await not_taken(s, start_child(s.children, s.unique("child"), search_attributes=given))


@scenario()
async def child_beside_a_close(s: Session) -> None:
    """A child of the completion that closes its parent never starts, whatever its policy."""
    abandon = enums.PARENT_CLOSE_POLICY_ABANDON
    await s.start_quietly()
    await s.complete(
        await s.take(),
        record_marker(),
        start_child(s.children, s.unique("abandoned"), parent_close_policy=abandon),
        start_child(s.children, s.unique("child")),
        complete_workflow(),
    )
    await s.show_history(first=5)
    # A child of another parent takes the same way, so the first ones would have come before it.
    await s.start_quietly("second")
    await s.advance(start_child(s.children, s.unique("other")))
    await s.wait_for_event(STARTED, "second")
    await s.describe("abandoned")
    await s.describe("child")


@scenario()
async def child_of_a_failed_start_is_forgotten(s: Session) -> None:
    """After a start that failed, the id can be used again when it is free."""
    await other(s)
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(NOT_STARTED)
    await s.describe()
    await s.advance_child(complete_workflow())
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(STARTED)
    await s.show_history(first=9)
