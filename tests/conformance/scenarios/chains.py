"""What a chain of runs has in common, beyond what its own topics show: links, metadata, lists, policies."""

from __future__ import annotations

from typing import Any

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.history.v1 import message_pb2 as history
from temporalio.api.sdk.v1 import user_metadata_pb2 as sdk
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    complete_workflow,
    continue_as_new,
    fail_workflow,
    record_marker,
    upsert_search_attributes,
)
from tests.conformance.harness.payloads import (
    duration,
    failure,
    memo,
    payload,
    payloads,
    retry_policy,
    search_attributes,
)
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until
from tests.conformance.scenarios.continue_as_new import THROTTLED
from tests.conformance.scenarios.cron import BACKOFF

METADATA = sdk.UserMetadata(summary=payload("summary"), details=payload("details"))
LINK = common.Link(batch_job=common.Link.BatchJob(job_id="job"))


def signed(one: command.Command) -> command.Command:
    """The command with user metadata of its own."""
    one.user_metadata.CopyFrom(sdk.UserMetadata(summary=payload("of the command")))
    return one


def both(s: Session, **fields: Any) -> ws.SignalWithStartWorkflowExecutionRequest:
    """A signal with a start."""
    return ws.SignalWithStartWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_id=s.unique("wf"),
        workflow_type=common.WorkflowType(name="flow"),
        task_queue=s.queue,
        identity="client",
        request_id=s.unique("both"),
        signal_name="hello",
        **fields,
    )


async def first_event(s: Session, run_id: str = "") -> history.HistoryEvent:
    """The run's Started event."""
    return (await s.events(run_id=run_id))[0]


@scenario(rules=THROTTLED)
async def chain_links_and_metadata_continued(s: Session) -> None:
    """The start's links are on every run, its metadata on the first only."""
    run_id = await s.start_quietly(links=[LINK], user_metadata=METADATA, request_id=s.unique("start"))
    await s.advance(signed(continue_as_new()))
    await s.take()
    await s.show_history(run_id=run_id)
    await s.show_history()
    await s.describe()


@scenario()
async def chain_links_and_metadata_retried(s: Session) -> None:
    """The same for another attempt."""
    run_id = await s.start_quietly(links=[LINK], user_metadata=METADATA, retry_policy=retry_policy(initial=25))
    await s.advance(signed(fail_workflow()))
    await s.show_history(run_id=run_id, first=5)
    await s.show_history()
    await s.describe()


@scenario(rules=BACKOFF)
async def chain_links_and_metadata_scheduled(s: Session) -> None:
    """The same for a schedule."""
    await s.start_quietly(links=[LINK], user_metadata=METADATA, cron_schedule="@every 4s")
    await s.advance(signed(complete_workflow()))
    await s.show_history()
    await s.describe()


@scenario()
async def chain_of_upserts_retried(s: Session) -> None:
    """Another attempt begins with what the first was started with, not with what it made of that."""
    await s.start_quietly(
        retry_policy=retry_policy(initial=25), search_attributes=search_attributes(CustomKeywordField="old")
    )
    await s.advance(upsert_search_attributes(search_attributes(CustomKeywordField="new")), fail_workflow())
    await s.show_history()
    await s.describe()


@scenario()
async def chain_started_with_results(s: Session) -> None:
    """A start may say what came before it."""
    await s.start(last_completion_result=payloads("before"), continued_failure=failure("earlier"))
    await s.show_history()


@scenario(rules=BACKOFF)
async def chain_started_with_results_and_schedule(s: Session) -> None:
    """Another attempt has no last result; the failure is the newest."""
    await s.start_quietly(
        last_completion_result=payloads("before"),
        continued_failure=failure("earlier"),
        cron_schedule="@every 4s",
        retry_policy=retry_policy(initial=2, attempts=2),
    )
    await s.show_history()
    await s.advance(fail_workflow("first"))
    await s.show_history()
    await s.advance(fail_workflow("second"))
    await s.show_history()


@scenario(rules=BACKOFF)
async def chain_result_kept_over_failure(s: Session) -> None:
    """A schedule's last result outlives failed runs, and runs that time out."""
    await s.start_quietly(
        last_completion_result=payloads("before"), cron_schedule="@every 5s", workflow_run_timeout=duration(3)
    )
    await s.advance(fail_workflow("first"))
    await s.show_history()
    await s.closed(run_id=(await first_event(s)).workflow_execution_started_event_attributes.original_execution_run_id)
    await s.show_history()


@scenario()
async def chain_delay_over_maximum(s: Session) -> None:
    """A failure's own delay is cut to the policy's maximum."""
    await s.start_quietly(retry_policy=retry_policy(initial=0.5, maximum=25))
    await s.advance(fail_workflow(failure=failure("later", next_retry_delay=30)))
    await s.show_history()


@scenario()
async def chain_timeout_never_retried(s: Session) -> None:
    """A run timeout that the policy excludes by name."""
    run_id = await s.start_quietly(
        workflow_run_timeout=duration(1),
        retry_policy=retry_policy(initial=0.5, never=("TemporalTimeout:StartToClose",)),
    )
    await s.closed(run_id=run_id)
    await s.show_history(run_id=run_id, first=2)


@scenario(rules=BACKOFF)
async def chain_by_signal_with_start(s: Session) -> None:
    """The policy, the schedule and the memo of a signal-with-start; the signal is the first run's."""
    request = ws.SignalWithStartWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_id=s.unique("wf"),
        workflow_type=common.WorkflowType(name="flow"),
        task_queue=s.queue,
        identity="client",
        request_id=s.unique("both"),
        signal_name="hello",
        retry_policy=retry_policy(initial=25),
        cron_schedule="@every 4s",
        memo=memo(m="1"),
    )
    await s.call(request)
    await s.show_history()
    await s.advance(fail_workflow())
    await s.show_history()


@scenario()
async def chain_signalled_with_start_in_backoff(s: Session) -> None:
    """A signal-with-start to an attempt that waits."""
    await s.start_quietly(retry_policy=retry_policy(initial=20))
    await s.advance(fail_workflow())
    await s.call(both(s))
    await s.show_history(first=2)


@scenario(rules=BACKOFF)
async def chain_signalled_with_start_before_schedule(s: Session) -> None:
    """A signal-with-start to a run whose time has not come."""
    await s.start_quietly(cron_schedule="0 0 1 1 *")
    await s.call(both(s))
    await s.show_history(first=2)


@scenario()
async def chain_makes_room(s: Session) -> None:
    """An attempt that waits counts as running: it is used, or terminated."""
    await s.start_quietly(retry_policy=retry_policy(initial=20))
    await s.advance(fail_workflow())
    using = enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    await s.attempt(s.start_request(request_id=s.unique("use"), workflow_id_conflict_policy=using))
    second = (await first_event(s)).workflow_execution_started_event_attributes.original_execution_run_id
    terminating = enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    await s.attempt(s.start_request(request_id=s.unique("end"), workflow_id_conflict_policy=terminating))
    await s.show_history(run_id=second, first=2)
    await s.show_history()


@scenario(rules=THROTTLED)
async def chain_reuse_after_failure(s: Session) -> None:
    """The id may be used again as its last run's end says, whatever the ends before."""
    await s.start_quietly(retry_policy=retry_policy(initial=0.2, attempts=2))
    await s.advance(fail_workflow())
    await s.advance(complete_workflow())
    failed_only = enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
    await s.attempt(s.start_request(request_id=s.unique("again"), workflow_id_reuse_policy=failed_only))
    await s.attempt(s.start_request(request_id=s.unique("again")))


@scenario(rules=THROTTLED)
async def chain_in_lists(s: Session) -> None:
    """A run that continued as new says so."""
    first = await s.start_quietly(memo=memo(m="x"))
    await s.advance(continue_as_new())
    request = ws.ListWorkflowExecutionsRequest(
        namespace=NAMESPACE, query=f"WorkflowId = '{s.unique('wf')}' AND ExecutionStatus = 'ContinuedAsNew'"
    )

    async def listed() -> Any:
        try:
            reply = await s.quiet(request)
        except CallFailed:
            return None
        return reply if len(reply.executions) == 1 else None

    found = await until("the closed run", listed)
    assert found.executions[0].execution.run_id == first
    s.show("continued", found)


@scenario(rules=THROTTLED)
async def chain_cancelled_by_first_run(s: Session) -> None:
    """A request for the chain reaches its current run; one for another chain none."""
    first = await s.start_quietly()
    await s.advance(continue_as_new(backoff_start_interval=duration(25)))
    await s.request_cancel(run_id=first)
    await s.request_cancel(first_execution_run_id=first, run_id=first)
    await s.request_cancel(first_execution_run_id="another")
    await s.terminate(first_execution_run_id="another")
    await s.show_history(first=2)


@scenario()
async def markers_of_sdks(s: Session) -> None:
    """Local activities and versions: markers with several details, a failure, a header."""
    await s.start_quietly()
    await s.advance(
        record_marker(
            "core_local_activity",
            details={"data": payloads("meta"), "result": payloads("result"), "type": payloads()},
            failure=failure("local"),
            header=common.Header(fields={"h": payload("x")}),
        ),
        signed(record_marker("core_patch", details={"patch-data": payloads("patched")})),
        upsert_search_attributes(
            common.SearchAttributes(
                indexed_fields={
                    "TemporalChangeVersion": common.Payload(metadata={"encoding": b"json/plain"}, data=b'["patched"]')
                }
            )
        ),
    )
    await s.show_history(first=4)
    await s.describe()
