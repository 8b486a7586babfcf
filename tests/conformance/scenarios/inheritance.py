"""What a run has from the one before it, or from its parent: each chain begun with everything that can be given."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.sdk.v1 import user_metadata_pb2 as sdk
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    complete_workflow,
    continue_as_new,
    fail_workflow,
    modify_properties,
    start_child,
    upsert_search_attributes,
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
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session

THROTTLED = (Rule("first_workflow_task_backoff", "the rest of a second"),)
LINK = common.Link(batch_job=common.Link.BatchJob(job_id="job"))


def _everything(**fields: Any) -> dict[str, Any]:
    return {
        "input": payloads("in"),
        "memo": memo(kept="first", changed="first"),
        "search_attributes": search_attributes(CustomKeywordField="first"),
        "header": header(h="x"),
        "user_metadata": sdk.UserMetadata(summary=payload("summary"), details=payload("details")),
        "priority": common.Priority(priority_key=2, fairness_key="k", fairness_weight=2),
        "versioning_override": workflow.VersioningOverride(auto_upgrade=True),
        "links": [LINK],
        "workflow_execution_timeout": duration(1000),
        "workflow_run_timeout": duration(500),
        "workflow_task_timeout": duration(20),
        **fields,
    }


def _changes() -> tuple[Any, ...]:
    """Commands that change what the run was given."""
    return (
        upsert_search_attributes(search_attributes(CustomKeywordField="second")),
        modify_properties(memo(changed="second", added="second")),
    )


async def _attach(s: Session, name: str) -> None:
    """A later start attaches its request id and a link."""
    await s.quiet(
        s.start_request(
            name,
            request_id=s.unique("attached"),
            links=[LINK],
            workflow_id_conflict_policy=enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
            on_conflict_options=workflow.OnConflictOptions(attach_request_id=True, attach_links=True),
        )
    )


async def _show(s: Session, name: str) -> None:
    await s.describe(name)
    await s.show_history(name)


@scenario(rules=THROTTLED)
async def inherited_by_continuation(s: Session) -> None:
    """Continue-as-new hands on what its command says, the chain's own facts and little else."""
    await s.start_quietly(**_everything(retry_policy=retry_policy(attempts=5)))
    await _attach(s, "wf")
    await s.advance(*_changes(), continue_as_new())
    await _show(s, "wf")


@scenario(rules=THROTTLED)
async def inherited_by_continuation_of_schedule(s: Session) -> None:
    """A schedule is what the command says too."""
    await s.start_quietly(**_everything(workflow_start_delay=duration(0.1)))
    await s.advance(*_changes(), continue_as_new(cron_schedule="@every 1h", retry_policy=retry_policy(attempts=5)))
    await _show(s, "wf")


@scenario(rules=THROTTLED)
async def inherited_by_retry(s: Session) -> None:
    """Another attempt begins as the first one was begun."""
    await s.start_quietly(**_everything(retry_policy=retry_policy(initial=0.1, attempts=5)))
    await _attach(s, "wf")
    await s.advance(*_changes(), fail_workflow())
    await _show(s, "wf")


@scenario(rules=THROTTLED)
async def inherited_by_retry_of_continuation(s: Session) -> None:
    """An attempt of a run that continues another."""
    await s.start_quietly(**_everything())
    await s.advance(
        continue_as_new(
            retry_policy=retry_policy(initial=0.1, attempts=5),
            memo=memo(m="continued"),
            header=header(h="continued"),
            input=payloads("continued"),
            search_attributes=search_attributes(CustomKeywordField="continued"),
        )
    )
    await s.advance(*_changes(), fail_workflow())
    await _show(s, "wf")


@scenario(rules=(Rule("first_workflow_task_backoff", "up to the next time"), Rule("execution_time", "the same")))
async def inherited_by_schedule(s: Session) -> None:
    """A schedule's next run begins as the first one was begun, and knows the last result."""
    await s.start_quietly(**_everything(cron_schedule="@every 1s"))
    await s.advance(*_changes(), complete_workflow("result"))
    await _show(s, "wf")


@scenario(rules=(Rule("first_workflow_task_backoff", "up to the next time"), Rule("execution_time", "the same")))
async def inherited_by_schedule_after_failure(s: Session) -> None:
    """A schedule goes on after its attempts are used up."""
    policy = retry_policy(initial=0.1, attempts=1)
    await s.start_quietly(**_everything(cron_schedule="@every 1s", retry_policy=policy))
    await s.advance(*_changes(), fail_workflow())
    await _show(s, "wf")


@scenario()
async def inherited_by_child(s: Session) -> None:
    """A child that is given nothing, and one that is given everything."""
    await s.start_quietly(**_everything(retry_policy=retry_policy(attempts=5)))
    plain = start_child(s.children, s.unique("plain"))
    given = start_child(
        s.children,
        s.unique("given"),
        input=payloads("child"),
        memo=memo(m="child"),
        header=header(h="child"),
        search_attributes=search_attributes(CustomKeywordField="child"),
        priority=common.Priority(priority_key=4),
        workflow_execution_timeout=duration(90),
        workflow_run_timeout=duration(80),
        workflow_task_timeout=duration(7),
        retry_policy=retry_policy(attempts=2),
    )
    given.user_metadata.summary.CopyFrom(payload("of the child"))
    await s.advance(*_changes(), plain, given)
    for _ in range(2):
        await s.take(task_queue=s.children)
    await _show(s, "plain")
    await _show(s, "given")


@scenario(rules=THROTTLED)
async def inherited_by_continuation_of_child(s: Session) -> None:
    """A child that continues as new stays its parent's."""
    await s.start_quietly(**_everything())
    await s.advance(start_child(s.children, s.unique("child"), retry_policy=retry_policy(initial=0.1, attempts=5)))
    await s.advance_child(continue_as_new())
    await _show(s, "child")


@scenario(rules=THROTTLED)
async def inherited_by_retry_of_child(s: Session) -> None:
    """A child's next attempt stays its parent's."""
    await s.start_quietly(**_everything())
    given = start_child(
        s.children,
        s.unique("child"),
        retry_policy=retry_policy(initial=0.1, attempts=5),
        priority=common.Priority(priority_key=4),
        memo=memo(m="child"),
    )
    given.user_metadata.summary.CopyFrom(payload("of the child"))
    await s.advance(given)
    await s.advance_child(fail_workflow())
    await _show(s, "child")


@scenario(rules=THROTTLED)
async def inherited_after_changed_priority(s: Session) -> None:
    """A priority that was changed later is the continuation's too, and the children's."""
    await s.start_quietly(priority=common.Priority(priority_key=2))
    task = await s.take()
    request = ws.UpdateWorkflowExecutionOptionsRequest(
        namespace=NAMESPACE,
        workflow_execution=s.execution("wf"),
        workflow_execution_options=workflow.WorkflowExecutionOptions(priority=common.Priority(priority_key=5)),
        identity=CLIENT,
    )
    request.update_mask.paths.append("priority")
    await s.quiet(request)
    await s.complete(task, start_child(s.children, s.unique("child")))
    await s.take(task_queue=s.children)
    await s.show_history("child")
    await s.advance(continue_as_new())
    await _show(s, "wf")
