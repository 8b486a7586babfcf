"""How many calls a second, and which are refused first; how many wait at once; limits that change."""

import asyncio
from typing import Any

import msgspec
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
)

from perdure.base.errors import ResourceExhausted
from perdure.base.limits import Limits
from perdure.base.tasks import Background
from perdure.cluster.roles import HistoryPage
from perdure.frontend.grades import GRADE, LOWEST, waits
from perdure.frontend.rates import GradedBuckets, Rates
from perdure.rpc.call import CallMeta
from perdure.workflow.tokens import TaskToken, encode_token
from tests.unit.frontend.fakes import AWAY, HOME, Desk, FakeClock, open_desk, with_limits

SECOND_NS = 1_000_000_000
ANSWER, START, LIST = 0, 1, 4


class Changing:
    """Limits that a test changes, for all namespaces or for one."""

    def __init__(self, **limits: Any) -> None:
        self.everywhere = Limits(**limits)
        self.own: dict[str, Limits] = {}

    def of(self, namespace: str = "", task_queue: str = "", task_type: str = "") -> Limits:
        return self.own.get(namespace, self.everywhere)

    def change(self, namespace: str = "", **limits: Any) -> None:
        changed = msgspec.structs.replace(self.of(namespace), **limits)
        if namespace:
            self.own[namespace] = changed
        else:
            self.everywhere = changed


def taken(rates: Rates, namespace: str, grade: int = LIST, *, visibility: bool = False) -> int:
    """How many calls go through until one is refused."""
    count = 0
    while count < 10_000:
        try:
            rates.admit(namespace, grade, visibility=visibility)
        except ResourceExhausted:
            return count
        count += 1
    return count


def test_higher_grades_find_tokens_where_lower_ones_find_none() -> None:
    rates = Rates(Limits(namespace_rps=10, burst_ratio=2.0), FakeClock())
    assert taken(rates, "a", LIST) == 20
    assert taken(rates, "a", LIST) == 0
    assert taken(rates, "a", START) == 20
    assert taken(rates, "a", ANSWER) == 20
    assert taken(rates, "a", ANSWER) == 0
    assert taken(rates, "b", LIST) == 20


def test_higher_grades_take_from_lower_ones() -> None:
    clock = FakeClock()
    rates = Rates(Limits(namespace_rps=10, burst_ratio=1.0), clock)
    for _ in range(10):
        rates.admit("a", START)
    assert taken(rates, "a", LIST) == 0
    for _ in range(5):
        clock.time_ns += SECOND_NS
        assert taken(rates, "a", START) == 10
        assert taken(rates, "a", LIST) == 0
    clock.time_ns += SECOND_NS
    assert taken(rates, "a", LIST) == 10


def test_what_lower_grades_owe_is_bounded() -> None:
    buckets = GradedBuckets()
    buckets.resize(10, 10)
    for grade in reversed(range(LOWEST + 1)):
        while buckets.take(grade, SECOND_NS):
            pass
    assert not buckets.take(LOWEST, 2 * SECOND_NS)
    assert buckets.take(LOWEST, 3 * SECOND_NS)


def test_a_steady_rate_goes_through_and_no_more() -> None:
    clock = FakeClock()
    rates = Rates(Limits(namespace_rps=3, burst_ratio=1.0), clock)
    assert taken(rates, "a") == 3
    passed = 0
    for _ in range(1_000):
        clock.time_ns += SECOND_NS // 100
        passed += min(1, taken(rates, "a"))
    assert 29 <= passed <= 30


def test_a_refusal_says_which_limit_it_was() -> None:
    rates = Rates(Limits(namespace_rps=1, host_rps=2, burst_ratio=1.0), FakeClock())
    rates.admit("a")
    with pytest.raises(ResourceExhausted, match="namespace rate limit exceeded") as refused:
        rates.admit("a")
    assert refused.value.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
    assert refused.value.scope == ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE
    rates.admit("b")
    with pytest.raises(ResourceExhausted, match="service rate limit exceeded") as refused:
        rates.admit("c")
    assert refused.value.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
    assert refused.value.scope == ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM


def test_limits_that_change_count_from_the_next_call_on() -> None:
    limits, clock = Changing(namespace_rps=5, burst_ratio=1.0), FakeClock()
    rates = Rates(limits, clock)
    assert taken(rates, "a") == 5
    limits.change("a", namespace_rps=50)
    clock.time_ns += SECOND_NS
    assert (taken(rates, "a"), taken(rates, "b")) == (50, 5)
    limits.change(host_rps=0)
    clock.time_ns += SECOND_NS
    assert taken(rates, "a") == 0


def test_global_limits_are_shared_by_the_frontends_that_serve() -> None:
    limits, clock, frontends = (
        Changing(burst_ratio=1.0, global_namespace_rps=60, global_visibility_rps=12),
        FakeClock(),
        3,
    )
    rates = Rates(limits, clock, frontends=lambda: frontends)
    assert (taken(rates, "a"), taken(rates, "a", visibility=True)) == (20, 4)
    frontends = 2
    clock.time_ns += SECOND_NS
    assert (taken(rates, "a"), taken(rates, "a", visibility=True)) == (30, 6)
    frontends = 0  # nobody is known yet: the limits of one
    limits.change(namespace_rps=7)
    clock.time_ns += SECOND_NS
    assert taken(rates, "a") == 7
    frontends = 4
    limits.change(global_rps=40, global_namespace_rps=0, global_visibility_rps=0, namespace_rps=1_000)
    clock.time_ns += SECOND_NS
    assert taken(rates, "a") == 10


def test_lists_have_an_allowance_of_their_own() -> None:
    rates = Rates(Limits(namespace_rps=5, visibility_rps=2, burst_ratio=1.0), FakeClock())
    assert (taken(rates, "a", visibility=True), taken(rates, "a")) == (2, 5)
    free = Rates(Limits(namespace_rps=5, visibility_rps=2, burst_ratio=1.0), FakeClock(), list_throttled=False)
    assert taken(free, "a", visibility=True) == 2_400


def test_answers_go_before_starts_before_looks_before_polls() -> None:
    order = [
        "RespondWorkflowTaskCompleted",
        "StartWorkflowExecution",
        "TerminateWorkflowExecution",
        "DescribeWorkflowExecution",
        "PollWorkflowTaskQueue",
    ]
    assert [GRADE[method] for method in order] == [0, 1, 2, 3, 4]
    assert waits("GetWorkflowExecutionHistory", GetWorkflowExecutionHistoryRequest(wait_new_event=True))
    assert not waits("GetWorkflowExecutionHistory", GetWorkflowExecutionHistoryRequest())


async def test_answers_of_workers_pass_when_looks_are_refused() -> None:
    desk = await open_desk(with_limits(host_rps=3, burst_ratio=1.0))
    desk.history.reply = b""
    execution = WorkflowExecution(workflow_id="wf")
    look = DescribeWorkflowExecutionRequest(namespace=HOME.name, execution=execution)
    for _ in range(3):
        await desk.call(look)
    with pytest.raises(ResourceExhausted):
        await desk.call(look)
    await desk.call(SignalWorkflowExecutionRequest(namespace=HOME.name, workflow_execution=execution, signal_name="s"))
    token = encode_token(TaskToken(HOME.id, "wf", "run", 2, 3))
    await desk.call(RespondWorkflowTaskCompletedRequest(task_token=token))


async def test_reads_that_wait_are_refused_before_those_that_do_not() -> None:
    desk = await open_desk(with_limits(host_rps=2, burst_ratio=1.0))
    desk.history.reply = HistoryPage(b"", b"")
    read = GetWorkflowExecutionHistoryRequest(namespace=HOME.name, execution=WorkflowExecution(workflow_id="wf"))
    waiting = GetWorkflowExecutionHistoryRequest(wait_new_event=True)
    waiting.MergeFrom(read)
    await desk.call(waiting)
    await desk.call(waiting)
    with pytest.raises(ResourceExhausted):
        await desk.call(waiting)
    await desk.call(read)


async def test_so_many_polls_of_a_kind_wait_and_no_more() -> None:
    desk = await open_desk(with_limits(waiting_polls_max=2))
    polls = Background(_raise)
    desk.matching.poll_with = _forever
    meta = CallMeta(timeout_ns=60 * SECOND_NS)
    request = poll_of(desk)
    for _ in range(2):
        polls.spawn(desk.call(request, meta))
    while len(desk.matching.polls) < 2:
        await _soon()
    with pytest.raises(ResourceExhausted, match="namespace concurrent poller limit exceeded") as refused:
        await desk.call(request, meta)
    assert refused.value.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
    assert refused.value.scope == ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE
    polls.spawn(desk.call(PollActivityTaskQueueRequest(namespace=HOME.name, task_queue=request.task_queue), meta))
    polls.spawn(desk.call(poll_of(desk, AWAY.name), meta))
    while len(desk.matching.polls) < 4:
        await _soon()
    await polls.close()
    desk.matching.poll_with = _empty
    assert await desk.call(request, meta) == b""


def poll_of(desk: Desk, namespace: str = HOME.name) -> PollWorkflowTaskQueueRequest:
    request = PollWorkflowTaskQueueRequest(namespace=namespace)
    request.task_queue.name = "queue"
    return request


async def _forever() -> bytes:
    await asyncio.get_running_loop().create_future()
    return b""


async def _empty() -> bytes:
    return b""


async def _soon() -> None:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    await future


def _raise(error: BaseException) -> None:
    raise error
