"""Reading histories: pages, long polls, the close event alone, backwards, and tokens that aren't the server's."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, record_marker, start_timer
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session

CLOSE_EVENT = enums.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


def _request(s: Session, workflow: str = "wf", **fields: Any) -> ws.GetWorkflowExecutionHistoryRequest:
    return ws.GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE, execution=s.execution(workflow), **fields)


async def _pages(s: Session, size: int, **fields: Any) -> None:
    request = _request(s, maximum_page_size=size, **fields)
    pages = []
    while True:
        reply: ws.GetWorkflowExecutionHistoryResponse = await s.quiet(request)
        pages.append(" ".join(str(event.event_id) for event in reply.history.events))
        if not reply.next_page_token:
            break
        request.next_page_token = reply.next_page_token
    # Whether a server knows that a full page was the last, or says so with an empty one, is its store's affair.
    s.note(f"pages of size {size}: {' | '.join(page for page in pages if page)}")


async def _long_history(s: Session) -> None:
    await s.start_quietly()
    await s.advance(record_marker("a"), record_marker("b"), record_marker("c"))
    for number in range(3):
        await s.signal(f"s{number}")
    await s.advance(start_timer("t", 100), start_timer("u", 100))


@scenario()
async def history_pages_running(s: Session) -> None:
    """Pages end on the boundaries of batches, whatever size was asked for."""
    await _long_history(s)
    for size in (0, 1, 2, 3, 5, 100, 100_000):
        await _pages(s, size)


@scenario()
async def history_pages_closed(s: Session) -> None:
    """The same for a closed execution, which has no token after its last page."""
    await _long_history(s)
    await s.signal("end")
    await s.advance(complete_workflow())
    for size in (0, 1, 4):
        await _pages(s, size)


@scenario()
async def history_negative_page_size(s: Session) -> None:
    """A page size below zero."""
    await s.start_quietly()
    await s.attempt(_request(s, maximum_page_size=-1))


@scenario()
async def history_of_nothing(s: Session) -> None:
    """Missing executions, missing runs, bad ids and bad tokens."""
    await s.attempt(_request(s, "missing"))
    await s.attempt(_request(s, ""))
    await s.attempt(ws.GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE))
    await s.start_quietly()
    await s.attempt(_request(s, next_page_token=b"forged"))
    missing_run = s.execution("wf", "01234567-89ab-4cde-8f01-23456789abcd")
    await s.attempt(ws.GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE, execution=missing_run))
    no_uuid = s.execution("wf", "x")
    await s.attempt(ws.GetWorkflowExecutionHistoryRequest(namespace=NAMESPACE, execution=no_uuid))


@scenario()
async def history_token_of_another_run(s: Session) -> None:
    """A token is good for its own run only."""
    await s.start_quietly()
    await s.start_quietly("other")
    reply = await s.quiet(_request(s, maximum_page_size=1, wait_new_event=True))
    await s.attempt(_request(s, "other", next_page_token=reply.next_page_token))
    run_id = (await s.quiet(s.start_request())).run_id
    named = s.execution("wf", run_id)
    request = ws.GetWorkflowExecutionHistoryRequest(
        namespace=NAMESPACE, execution=named, next_page_token=reply.next_page_token
    )
    await s.attempt(request)


@scenario()
async def history_long_poll(s: Session) -> None:
    """A reader that waits is woken by the next event; each answer brings what is new."""
    await s.start_quietly()
    reply = await s.call(_request(s, wait_new_event=True))
    waiting = s.begin(_request(s, wait_new_event=True, next_page_token=reply.next_page_token))
    await s.settle()
    await s.signal("wake")
    reply = await s.finish(waiting, "the waiting read")
    waiting = s.begin(_request(s, wait_new_event=True, next_page_token=reply.next_page_token))
    await s.settle()
    await s.terminate()
    await s.finish(waiting, "the last waiting read")


@scenario()
async def history_long_poll_gives_up(s: Session) -> None:
    """Without events a waiting read ends empty, with a token, before its deadline."""
    await s.start_quietly()
    reply = await s.quiet(_request(s, wait_new_event=True))
    await s.attempt(_request(s, wait_new_event=True, next_page_token=reply.next_page_token), seconds=3)


@scenario()
async def history_close_event(s: Session) -> None:
    """With the filter for the close event, a reader gets it alone, and may wait for it."""
    await s.start_quietly()
    s.note("without waiting: empty all the same, and not before the deadline is near")
    await s.call(_request(s, history_event_filter_type=CLOSE_EVENT), seconds=3)
    waiting = s.begin(_request(s, wait_new_event=True, history_event_filter_type=CLOSE_EVENT))
    await s.settle()
    await s.signal("not yet")
    await s.settle()
    await s.advance(record_marker(), complete_workflow())
    await s.finish(waiting, "the waiting read")
    await s.call(_request(s, history_event_filter_type=CLOSE_EVENT))
    await s.call(_request(s, wait_new_event=True, history_event_filter_type=CLOSE_EVENT))


@scenario()
async def history_backwards(s: Session) -> None:
    """The reverse read has the same events, the last first."""
    await _long_history(s)
    for size in (0, 2, 3):
        request = ws.GetWorkflowExecutionHistoryReverseRequest(
            namespace=NAMESPACE, execution=s.execution("wf"), maximum_page_size=size
        )
        pages = []
        for _ in range(20):
            reply: ws.GetWorkflowExecutionHistoryReverseResponse = await s.quiet(request)
            pages.append(" ".join(str(event.event_id) for event in reply.history.events))
            request.next_page_token = reply.next_page_token
            if not reply.next_page_token:
                break
        s.note(f"pages of size {size}: {' | '.join(pages)}")
    missing = s.execution("missing")
    await s.attempt(ws.GetWorkflowExecutionHistoryReverseRequest(namespace=NAMESPACE, execution=missing))


@scenario()
async def history_hides_transient_task_from_tools(s: Session) -> None:
    """The unwritten attempt of a workflow task is shown to SDKs and not to the command line and the web."""
    await s.start_quietly()
    await s.fail_task(await s.take())
    await s.take()
    for client in ("", "temporal-python", "temporal-go", "temporal-cli", "temporal-ui"):
        s.note(f"client {client!r}")
        named = {"client-name": client, "client-version": "1.20.0"} if client else {}
        reply = await s.client.call(_request(s), metadata=named)
        s.show("events", reply)
