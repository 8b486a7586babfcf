"""Queries: rejected, answered by a worker directly through matching, or carried by a workflow task.

A query is a call, not a task: it lives in the process that waits for it. Direct dispatch is consistent only while no
workflow task is outstanding; else the query waits for the task's completion, which answers it, fails it or lets it go
directly.
"""

import asyncio
from contextlib import suppress
from typing import NamedTuple

from temporalio.api.enums.v1 import QueryResultType
from temporalio.api.query.v1 import QueryRejected, WorkflowQueryResult
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RespondQueryTaskCompletedRequest,
)

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.entropy import Entropy, new_id
from perdure.base.errors import (
    Bug,
    DeadlineExceeded,
    NotFound,
    PerdureError,
    QueryFailed,
    ShardLost,
    StickyUnavailable,
    Unavailable,
)
from perdure.base.slots import ChainKey, SlotRange
from perdure.base.tasks import Background
from perdure.cluster.roles import Call, Directory, QueryTask
from perdure.history.transacting import Transacting
from perdure.workflow.decide import QueryAnswered, QueryReleased
from perdure.workflow.requests import AbandonQuery, BeginQuery, QueryPlan, ResetSticky
from perdure.workflow.tasks import QueueKey, QueueKind
from perdure.workflow.tokens import QueryToken

QueryNotice = QueryAnswered | QueryReleased

_MARGIN_NS = SECOND_NS // 10


class _Waiter(NamedTuple):
    """Somebody who waits for a buffered query of a chain in `slot`."""

    slot: int
    notice: asyncio.Future[QueryNotice]


class Queries:
    """The queries that this process waits for."""

    def __init__(
        self, service: Transacting, directory: Directory, clock: Clock, entropy: Entropy, timeout_ns: int
    ) -> None:
        self._service = service
        self._directory = directory
        self._clock = clock
        self._entropy = entropy
        self._timeout_ns = timeout_ns
        self._waiting: dict[str, _Waiter] = {}
        self.background = Background(lambda error: None)

    def notify(self, notice: QueryNotice) -> None:
        """A workflow task answered, failed or released a buffered query."""
        waiter = self._waiting.get(notice.query_id)
        if waiter is not None and not waiter.notice.done():
            waiter.notice.set_result(notice)

    def lost(self, slots: SlotRange, error: ShardLost) -> None:
        """The shard of these slots is gone, and the queries that it had buffered."""
        for query_id, waiter in self._waiting.items():
            if waiter.slot in slots and not waiter.notice.done():
                waiter.notice.set_result(QueryReleased("", query_id, error))

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        """Answer `request` within the caller's time. Raises QueryFailed, NotFound, WorkflowNotReady, DeadlineExceeded,
        Unavailable.
        """
        timeout_ns = call.timeout_ns or self._timeout_ns
        deadline_ns = self._clock.monotonic_ns() + timeout_ns
        query_id = new_id(self._entropy)
        run_id, condition = request.execution.run_id, int(request.query_reject_condition)
        ends_ns = self._clock.now_ns() + timeout_ns
        plan = await self._begin(key, BeginQuery(run_id, request.query, query_id, condition, ends_ns), call)
        if plan.buffered:
            answer = await self._buffered(key, plan, call, query_id, deadline_ns)
            if answer is not None:
                return answer
            again = BeginQuery(run_id or plan.run_id, request.query, query_id, condition, ends_ns)
            plan = await self._begin(key, again, call)
            if plan.buffered:
                await self._abandon(key, plan.run_id, query_id)
        if plan.rejected_status:
            rejected = QueryRejected(status=plan.rejected_status)  # type: ignore[arg-type]  # an enum
            return QueryWorkflowResponse(query_rejected=rejected)
        return await self._direct(key, request, plan, call, deadline_ns)

    async def _begin(self, key: ChainKey, begin: BeginQuery, call: Call) -> QueryPlan:
        query_id = begin.query_id
        self._waiting[query_id] = _Waiter(key.slot, asyncio.get_running_loop().create_future())
        try:
            plan = await self._service.transact(key, begin, call)
        except BaseException as error:
            self._waiting.pop(query_id, None)
            # Where what it read isn't known to be durable in time it is buffered all the same.
            if isinstance(error, asyncio.CancelledError | Unavailable):
                self.background.spawn(self._abandon(key, begin.run_id, query_id))
            raise
        assert isinstance(plan, QueryPlan)
        if not plan.buffered:
            self._waiting.pop(query_id, None)
        return plan

    async def _buffered(
        self, key: ChainKey, plan: QueryPlan, call: Call, query_id: str, deadline_ns: int
    ) -> QueryWorkflowResponse | None:
        """Wait for the workflow task that carries the query; None: it may go directly now."""
        waiter = self._waiting[query_id]
        try:
            async with asyncio.timeout(self._left(deadline_ns) / SECOND_NS):
                notice = await waiter.notice
        except TimeoutError as error:
            await self._abandon(key, plan.run_id, query_id)
            raise DeadlineExceeded("context deadline exceeded") from error
        except asyncio.CancelledError:
            self.background.spawn(self._abandon(key, plan.run_id, query_id))
            raise
        finally:
            self._waiting.pop(query_id, None)
        if isinstance(notice, QueryAnswered):
            return _result(WorkflowQueryResult.FromString(notice.result))
        if notice.error is not None:
            raise notice.error
        return None

    async def _abandon(self, key: ChainKey, run_id: str, query_id: str) -> None:
        self._waiting.pop(query_id, None)
        try:
            await self._service.transact(key, AbandonQuery(run_id, query_id), Call())
        except (NotFound, Unavailable):
            return

    async def _direct(
        self, key: ChainKey, request: QueryWorkflowRequest, plan: QueryPlan, call: Call, deadline_ns: int
    ) -> QueryWorkflowResponse:
        if plan.sticky_queue:
            limit_ns = min(self._left(deadline_ns), plan.sticky_timeout_ns or self._left(deadline_ns))
            try:
                return await self._dispatch(key, request, plan, call, plan.sticky_queue, limit_ns)
            except (DeadlineExceeded, StickyUnavailable):
                with suppress(NotFound):
                    await self._service.transact(key, ResetSticky(plan.run_id), call)
        return await self._dispatch(key, request, plan, call, plan.task_queue, self._left(deadline_ns))

    async def _dispatch(
        self, key: ChainKey, request: QueryWorkflowRequest, plan: QueryPlan, call: Call, queue: str, timeout_ns: int
    ) -> QueryWorkflowResponse:
        if timeout_ns <= 0:
            raise DeadlineExceeded("context deadline exceeded")
        partition = QueueKey(key.namespace_id, queue, QueueKind.WORKFLOW)
        token = QueryToken(key.namespace_id, queue, new_id(self._entropy))
        sticky = queue == plan.sticky_queue
        task = QueryTask(key, plan.run_id, request.query.SerializeToString(), token, sticky)
        matching = self._directory.matching(partition)
        limited = Call(caller=call.caller, timeout_ns=timeout_ns, request_id=call.request_id)
        return _answer(await matching.query(partition, task, limited))

    def _left(self, deadline_ns: int) -> int:
        return max(0, deadline_ns - self._clock.monotonic_ns())


def _result(result: WorkflowQueryResult) -> QueryWorkflowResponse:
    """The response for what a workflow task said of a query."""
    if result.result_type == QueryResultType.QUERY_RESULT_TYPE_ANSWERED:
        return QueryWorkflowResponse(query_result=result.answer if result.HasField("answer") else None)
    if result.result_type == QueryResultType.QUERY_RESULT_TYPE_FAILED:
        raise QueryFailed(result.error_message, result.failure if result.HasField("failure") else None)
    raise Bug("a query was answered with neither a result nor a failure")


def _answer(answer: RespondQueryTaskCompletedRequest) -> QueryWorkflowResponse:
    """The response for a worker's direct answer."""
    if answer.completed_type == QueryResultType.QUERY_RESULT_TYPE_ANSWERED:
        return QueryWorkflowResponse(query_result=answer.query_result if answer.HasField("query_result") else None)
    if answer.completed_type == QueryResultType.QUERY_RESULT_TYPE_FAILED:
        raise QueryFailed(answer.error_message, answer.failure if answer.HasField("failure") else None)
    raise PerdureError("unknown query completion type")
