"""Steps of clients: signal, cancel, terminate, query, delete, and reads of histories."""

from __future__ import annotations

from temporalio.api.enums.v1 import workflow_pb2 as filters
from temporalio.api.query.v1 import message_pb2 as queries
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import PAUSE_SECONDS, Case, Flow, action, still_open
from tests.conformance.generated.rows import rows_of
from tests.conformance.harness.payloads import header, payloads
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.session import NAMESPACE
from tests.conformance.harness.waiting import until

# The reference tries again later and later what it cannot delete yet.
_DELETION_SECONDS = 70.0
_NOBODY = "00000000-0000-4000-8000-000000000000"


def run_id(case: Case, flow: Flow) -> str:
    """The current run unnamed; rarely a run by its id, or one that does not exist."""
    return case.of(["", "", "", "", *flow.runs[-2:], "", "", _NOBODY])


@action(weight=6, suits=still_open)
async def signal(case: Case, flow: Flow) -> None:
    """A signal, rarely with the request id of the one before."""
    case.saw("signal", (await case.state(flow))[0])
    if flow.signals == 0 or not case.rarely(6):
        flow.signals += 1
    fields = case.fields(
        [
            {"request_id": case.session.unique(f"signal-{flow.name}-{flow.signals}")},
            {"input": payloads("one", "two")},
            {"header": header(trace="s"), "control": "c"},
        ]
    )
    await case.session.signal(f"signal-{flow.signals}", flow.name, run_id(case, flow), **fields)


@action(weight=2, suits=still_open)
async def cancel(case: Case, flow: Flow) -> None:
    """A request for cancellation."""
    case.saw("cancel", (await case.state(flow))[0])
    fields = case.fields([{}, {"reason": "why"}, {"request_id": case.session.unique("cancel")}, _wrong_first(flow)])
    await case.session.request_cancel(flow.name, run_id(case, flow), **fields)


@action(weight=1, suits=still_open)
async def terminate(case: Case, flow: Flow) -> None:
    """A termination."""
    case.saw("terminate", (await case.state(flow))[0])
    fields = case.fields([{}, {"reason": "why", "details": payloads("d")}, _wrong_first(flow)])
    await case.session.terminate(flow.name, run_id(case, flow), **fields)


def _wrong_first(flow: Flow) -> dict[str, str]:
    return {"first_execution_run_id": flow.runs[0] if flow.runs else _NOBODY}


@action(weight=1)
async def delete(case: Case, flow: Flow) -> None:
    """A deletion of the current run or of one by its id, awaited."""
    state, info = await case.state(flow)
    if state == "closed" and not case.rarely(5):
        # It takes the reference half a minute.
        return
    case.saw("delete", state)
    named = case.of(["", *flow.runs[-2:]])
    gone = named or (info.workflow_execution_info.execution.run_id if info is not None else "")
    request = ws.DeleteWorkflowExecutionRequest(
        namespace=NAMESPACE, workflow_execution=case.session.execution(flow.name, named)
    )
    # The reference does not begin to delete before it has written the row of what is to go, and tries again late.
    await rows_of(case, flow, flow.runs)
    if await case.session.attempt(request) is None:
        return

    async def away() -> bool:
        return await case.look(flow, gone) is None

    await until(f"deletion of {flow.name}", away, seconds=_DELETION_SECONDS, pause_seconds=PAUSE_SECONDS)
    if flow.task is not None and flow.task.workflow_execution.run_id == gone:
        flow.let_go()


@action(weight=2)
async def read(case: Case, flow: Flow) -> None:
    """A read of the history, whole or in pages, or of the close event."""
    state, _ = await case.state(flow)
    case.saw("read", state)
    # See AVOIDED in intended.py.
    sizes = [0] if state == "paused" else [0, 1, 2, 3]
    request = ws.GetWorkflowExecutionHistoryRequest(
        namespace=NAMESPACE,
        execution=case.session.execution(flow.name, run_id(case, flow)),
        maximum_page_size=case.of(sizes),
    )
    info = await case.look(flow)
    closed = info is not None and not still_open(flow, info)
    if closed and not request.execution.run_id and case.of([False, True]):
        request.history_event_filter_type = filters.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
    # What the pages hold, not where they end: the reference gives a token for a last page that is full.
    try:
        reply = await case.session.quiet(request)
        while reply.next_page_token:
            request.next_page_token = reply.next_page_token
            page = await case.session.quiet(request)
            reply.history.MergeFrom(page.history)
            reply.next_page_token = page.next_page_token
    except CallFailed as failed:
        case.session.transcript.failure(failed)
    else:
        case.session.show(f"read of {flow.name}", reply)


@action(weight=3, suits=still_open)
async def query(case: Case, flow: Flow) -> None:
    """A query of a workflow that has no task under way, answered by a worker; or refused by a condition."""
    state, info = await case.state(flow)
    condition = case.of([0, 1, 2, 3])
    request = ws.QueryWorkflowRequest(
        namespace=NAMESPACE,
        execution=case.session.execution(flow.name),
        query=queries.WorkflowQuery(query_type="q", query_args=payloads("ask")),
        query_reject_condition=condition,  # type: ignore[arg-type]  # a plain int is what an enum is
    )
    refused = (condition == 2 and state == "closed") or (
        condition == 3 and info is not None and state == "closed" and info.workflow_execution_info.status != 2
    )
    if state == "none" or refused or await _never_begun(case, flow, state):
        case.saw("query refused", state)
        await case.session.attempt(request)
        return
    if state not in ("idle", "closed") or flow.tight:
        return
    case.saw("query", state)
    pending = case.session.begin(request)
    if flow.sticky_poll is not None:
        poll, flow.sticky_poll = flow.sticky_poll, None
        task = await case.session.finish(poll, "sticky poll of a query")
    else:
        task = await case.session.attempt(case.poll_request(flow))
    if task is None or not task.HasField("query"):
        flow.task = task if task is not None and task.task_token else None
        await case.session.finish(pending, "query without a query task")
        return
    answer = case.fields(
        [
            {"completed_type": 1, "query_result": payloads("answer")},
            {"completed_type": 2, "error_message": "no answer"},
            {"completed_type": 1},
        ]
    )
    await case.session.attempt(
        ws.RespondQueryTaskCompletedRequest(namespace=NAMESPACE, task_token=task.task_token, **answer)
    )
    await case.session.finish(pending, "query")


async def _never_begun(case: Case, flow: Flow, state: str) -> bool:
    return state == "closed" and not any(
        event.HasField("workflow_task_started_event_attributes") for event in await case.events(flow)
    )


@action(weight=1, suits=still_open)
async def reset_sticky(case: Case, flow: Flow) -> None:
    """A worker gives up its sticky queue."""
    flow.is_unstuck = True
    case.saw("reset_sticky", (await case.state(flow))[0])
    case.end_sticky_poll(flow)
    await case.session.attempt(
        ws.ResetStickyTaskQueueRequest(namespace=NAMESPACE, execution=case.session.execution(flow.name))
    )
