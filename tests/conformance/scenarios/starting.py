"""Starting workflows: what the Started event holds, deduplication by request id, and policies for ids in use."""

from __future__ import annotations

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as enums

from tests.conformance.harness.commands import complete_workflow, fail_workflow
from tests.conformance.harness.payloads import duration, header, memo, payloads, retry_policy, search_attributes
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session


@scenario()
async def start_defaults(s: Session) -> None:
    """A start with nothing but what must be there."""
    await s.start()
    await s.show_history()


@scenario()
async def start_everything(s: Session) -> None:
    """Input, timeouts, header, memo and search attributes come back in the Started event."""
    await s.start(
        input=payloads("one", "two"),
        workflow_execution_timeout=duration(300),
        workflow_run_timeout=duration(200),
        workflow_task_timeout=duration(5),
        header=header(trace="t"),
        memo=memo(note="hello"),
        search_attributes=search_attributes(CustomKeywordField="k"),
    )
    await s.show_history()
    await s.describe()


@scenario()
async def start_run_timeout_above_execution_timeout(s: Session) -> None:
    """Timeouts that exceed another are cut; a task timeout above two minutes too."""
    await s.start(
        workflow_execution_timeout=duration(100),
        workflow_run_timeout=duration(200),
        workflow_task_timeout=duration(500),
    )
    await s.show_history()


@scenario()
async def start_retry_policy_defaults(s: Session) -> None:
    """An empty retry policy is filled with defaults."""
    await s.start(retry_policy=common.RetryPolicy())
    await s.show_history()


@scenario()
async def start_delay(s: Session) -> None:
    """A delayed start holds the first workflow task back; a signal doesn't wake it."""
    await s.start(workflow_start_delay=duration(2))
    await s.show_history()
    await s.poll()
    await s.show_history(first=2)


@scenario()
async def start_same_request_id(s: Session) -> None:
    """The same request id gets the same run; another one is refused with the facts of the run."""
    await s.start()
    await s.start()
    await s.attempt(s.start_request(request_id=s.unique("other")))
    await s.advance(complete_workflow())
    s.note("after close, the same request id still finds the closed run")
    await s.start()
    await s.show_history()


@scenario()
async def start_policies_while_running(s: Session) -> None:
    """Conflict policies while a run is open."""
    await s.start()
    for policy in (
        enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
        enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
    ):
        request_id = s.unique(f"conflict-{policy}")
        await s.attempt(s.start_request(request_id=request_id, workflow_id_conflict_policy=policy))


@scenario()
async def start_policies_after_completion(s: Session) -> None:
    """Reuse policies after a run completed."""
    await s.start()
    await s.advance(complete_workflow())
    for policy in (
        enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
        enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
        enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
    ):
        request_id = s.unique(f"reuse-{policy}")
        await s.attempt(s.start_request(request_id=request_id, workflow_id_reuse_policy=policy))


@scenario()
async def start_policies_after_failure(s: Session) -> None:
    """Reuse policies after a run failed."""
    await s.start()
    await s.advance(fail_workflow())
    for policy in (
        enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
        enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY,
    ):
        request_id = s.unique(f"reuse-{policy}")
        await s.attempt(s.start_request(request_id=request_id, workflow_id_reuse_policy=policy))


@scenario()
async def start_bad_requests(s: Session) -> None:
    """What a start is refused for."""
    await s.attempt(s.start_request(workflow_id=""))
    await s.attempt(s.start_request(workflow_type=None))
    await s.attempt(s.start_request(task_queue=None))
    await s.attempt(s.start_request(request_id="x" * 1001))
    await s.attempt(s.start_request(workflow_id="x" * 1001))
    await s.attempt(s.start_request(workflow_type=common.WorkflowType(name="x" * 1001)))
    await s.attempt(s.start_request(workflow_execution_timeout=duration(-1)))
    await s.attempt(s.start_request(workflow_run_timeout=duration(-1)))
    await s.attempt(s.start_request(workflow_task_timeout=duration(-1)))
    await s.attempt(s.start_request(workflow_start_delay=duration(-1)))
    await s.attempt(s.start_request(cron_schedule="not a schedule"))
    await s.attempt(s.start_request(cron_schedule="* * * * *", workflow_start_delay=duration(1)))
    await s.attempt(s.start_request(retry_policy=retry_policy(initial=0, coefficient=0.5)))
    await s.attempt(s.start_request(retry_policy=retry_policy(attempts=-1)))
    await s.attempt(s.start_request(retry_policy=retry_policy(initial=10, maximum=1)))
    await s.attempt(s.start_request(search_attributes=search_attributes(NoSuchAttribute="x")))


@scenario()
async def start_policy_combinations_refused(s: Session) -> None:
    """Reuse policy TERMINATE_IF_RUNNING is not to be combined with a conflict policy."""
    await s.attempt(
        s.start_request(
            workflow_id_reuse_policy=enums.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING,
            workflow_id_conflict_policy=enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
        )
    )
    await s.attempt(
        s.start_request(
            workflow_id_reuse_policy=enums.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
            workflow_id_conflict_policy=enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
        )
    )
