"""Queries: on idle, busy, unstarted, closed and missing workflows, answered and failed."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import query_pb2 as enums
from temporalio.api.query.v1 import message_pb2 as query
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import cancel_timer, complete_workflow, start_timer
from tests.conformance.harness.payloads import duration, failure, payloads
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session


def _query(s: Session, workflow: str = "wf", kind: str = "state", **fields: Any) -> ws.QueryWorkflowRequest:
    asked = query.WorkflowQuery(query_type=kind, query_args=payloads("arg"))
    plain: dict[str, Any] = {"namespace": NAMESPACE, "execution": s.execution(workflow), "query": asked}
    return ws.QueryWorkflowRequest(**{**plain, **fields})


def _answer(task: ws.PollWorkflowTaskQueueResponse, **fields: Any) -> ws.RespondQueryTaskCompletedRequest:
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "task_token": task.task_token,
        "completed_type": enums.QUERY_RESULT_TYPE_ANSWERED,
        "query_result": payloads("answer"),
    }
    return ws.RespondQueryTaskCompletedRequest(**{**plain, **fields})


async def _idle(s: Session) -> None:
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))


@scenario()
async def query_idle(s: Session) -> None:
    """An idle workflow's query is a task of its own, with the whole history and no event."""
    await _idle(s)
    asked = s.begin(_query(s, query=query.WorkflowQuery(query_type="state", header=common.Header())))
    task = await s.poll()
    await s.call(_answer(task))
    await s.finish(asked, "answer")
    await s.show_history(first=4)
    s.note("the token is used up")
    await s.attempt(_answer(task))


@scenario()
async def query_fails(s: Session) -> None:
    """A worker that doesn't know the query says so."""
    await _idle(s)
    asked = s.begin(_query(s, kind="unknown"))
    task = await s.take()
    failed = enums.QUERY_RESULT_TYPE_FAILED
    await s.call(_answer(task, completed_type=failed, query_result=None, error_message="unknown query"))
    await s.finish(asked, "answer")
    asked = s.begin(_query(s, kind="broken"))
    task = await s.take()
    broken = failure("handler broke", "ValueError")
    await s.call(_answer(task, completed_type=failed, query_result=None, error_message="broke", failure=broken))
    await s.finish(asked, "answer")


@scenario()
async def query_with_task(s: Session) -> None:
    """While a workflow task is due, a query goes along with it and is answered by its completion."""
    await _idle(s)
    await s.signal("go")
    asked = s.begin(_query(s))
    await s.settle()
    task = await s.poll()
    answers = {
        key: query.WorkflowQueryResult(result_type=enums.QUERY_RESULT_TYPE_ANSWERED, answer=payloads("both"))
        for key in task.queries
    }
    await s.complete(task, start_timer("next", 100), query_results=answers)
    await s.finish(asked, "answer")
    await s.show_history(first=6)


@scenario()
async def query_with_task_fails(s: Session) -> None:
    """A query that went along with a task may fail alone."""
    await _idle(s)
    await s.signal("go")
    asked = s.begin(_query(s))
    await s.settle()
    task = await s.take()
    answers = {
        key: query.WorkflowQueryResult(
            result_type=enums.QUERY_RESULT_TYPE_FAILED, error_message="no such query", failure=failure("no such query")
        )
        for key in task.queries
    }
    await s.complete(task, query_results=answers)
    await s.finish(asked, "answer")


@scenario()
async def query_during_task(s: Session) -> None:
    """A query that comes while the task is started waits, and becomes a task of its own after it."""
    await s.start_quietly()
    task = await s.take()
    asked = s.begin(_query(s))
    await s.settle()
    await s.complete(task, start_timer(seconds=100))
    task = await s.poll()
    await s.call(_answer(task))
    await s.finish(asked, "answer")


@scenario()
async def query_before_first_task(s: Session) -> None:
    """A query of a workflow whose first task nobody has completed goes along with that."""
    await s.start_quietly()
    asked = s.begin(_query(s))
    await s.settle()
    task = await s.take()
    s.note(f"queries beside the first task: {len(task.queries)}")
    answers = {
        key: query.WorkflowQueryResult(result_type=enums.QUERY_RESULT_TYPE_ANSWERED, answer=payloads("first"))
        for key in task.queries
    }
    await s.complete(task, query_results=answers)
    if not answers:
        await s.call(_answer(await s.poll()))
    await s.finish(asked, "answer")


@scenario()
async def query_before_delayed_task(s: Session) -> None:
    """While the first task is delayed, a query waits for it if its caller waits long enough."""
    await s.start_quietly(workflow_start_delay=duration(3))
    await s.attempt(_query(s), seconds=2)
    asked = s.begin(_query(s), seconds=15)
    await s.settle()
    task = await s.poll()
    answers = {
        key: query.WorkflowQueryResult(result_type=enums.QUERY_RESULT_TYPE_ANSWERED, answer=payloads("delayed"))
        for key in task.queries
    }
    await s.complete(task, query_results=answers)
    await s.finish(asked, "answer")


@scenario(differs="the reference forgets the query with the failed task, and its client gets no answer")
async def query_with_refused_completion(s: Session) -> None:
    """A completion that is refused answers no query: the next attempt carries it again."""
    await _idle(s)
    await s.signal("go")
    asked = s.begin(_query(s))
    await s.settle()
    for text, commands in ("refused", [cancel_timer("unknown")]), ("kept", []):
        task = await s.poll()
        answers = {
            key: query.WorkflowQueryResult(result_type=enums.QUERY_RESULT_TYPE_ANSWERED, answer=payloads(text))
            for key in task.queries
        }
        await s.complete(task, *commands, query_results=answers)
        await s.settle()
    await s.finish(asked, "answer")


@scenario()
async def query_closed(s: Session) -> None:
    """A closed workflow can be queried; a condition can reject that."""
    await s.start_quietly()
    await s.advance(complete_workflow())
    asked = s.begin(_query(s))
    task = await s.poll()
    await s.call(_answer(task))
    await s.finish(asked, "answer")
    await s.attempt(_query(s, query_reject_condition=enums.QUERY_REJECT_CONDITION_NOT_OPEN))
    await s.start_quietly("other")
    await s.terminate("other")
    not_cleanly = enums.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY
    await s.attempt(_query(s, "other", query_reject_condition=not_cleanly))


@scenario()
async def query_refused(s: Session) -> None:
    """Missing workflows and queries."""
    await s.attempt(_query(s, "missing"))
    await s.attempt(_query(s, execution=None))
    await s.attempt(_query(s, query=None))
    await s.attempt(_query(s, execution=s.execution("wf", "no-uuid")))
    await _idle(s)
    await s.attempt(_query(s, kind=""), seconds=3)


@scenario()
async def query_without_worker(s: Session) -> None:
    """A query that nobody fetches ends with its deadline, or before if no worker was seen at all."""
    await s.start_quietly()
    await s.terminate()
    await s.attempt(_query(s), seconds=3)


@scenario()
async def query_after_failed_tasks(s: Session) -> None:
    """A workflow whose tasks keep failing is not ready for queries."""
    await s.start_quietly()
    for _ in range(2):
        await s.fail_task(await s.take())
    await s.attempt(_query(s), seconds=3)


@scenario()
async def query_answer_refused(s: Session) -> None:
    """Answers with tokens that no query has."""
    nothing = ws.PollWorkflowTaskQueueResponse()
    await s.attempt(_answer(nothing))
    await s.attempt(_answer(nothing, task_token=b"forged"))
    await _idle(s)
    asked = s.begin(_query(s))
    task = await s.take()
    await s.attempt(_answer(task, namespace="no-such-namespace"))
    await s.call(_answer(task))
    await s.finish(asked, "answer")
