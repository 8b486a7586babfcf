"""history.rps and matching.rps: what other hosts ask of a role, by grades."""

from typing import Any

import pytest
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.errors import ResourceExhausted
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, HistoryRead, Offered, Poll
from perdure.frontend.grades import GRADE, LOWEST
from perdure.rpc.peers import Peers
from perdure.rpc.role_handlers import history_methods, matching_methods
from perdure.rpc.role_methods import HISTORY, MATCHING
from perdure.server.role_rates import _HISTORY, _MATCHING, history_grade, history_rates, matching_rates
from perdure.workflow.requests import CompleteWorkflowTask, Describe, External, Look, SignalWorkflow
from perdure.workflow.tasks import Backlog, QueueKey, QueueKind
from perdure.workflow.tokens import TaskToken
from tests.unit.rpc.certificates import FakeClock
from tests.unit.rpc.relay import FakeRole, hosting

KEY = ChainKey("namespace", "workflow")
SIGNAL = SignalWorkflow(SignalWorkflowExecutionRequest())
OUTSIDE = SignalWorkflow(SignalWorkflowExecutionRequest(), External("other", "run"))
TOKEN = TaskToken("namespace", "workflow", "run", 2, 1, 3)
COMPLETE = CompleteWorkflowTask(TOKEN, RespondWorkflowTaskCompletedRequest())
DESCRIBE = Describe(DescribeWorkflowExecutionRequest())


class Changing:
    """Limits that operators change."""

    def __init__(self, **limits: int) -> None:
        self.now = Limits(burst_ratio=1.0, **limits)  # type: ignore[arg-type]  # these are numbers

    def of(self, namespace: str = "", task_queue: str = "", task_type: str = "") -> Limits:
        return self.now


async def test_what_clients_ask_is_refused_when_calls_are_too_many_and_nothing_else_is() -> None:
    role, clock, limits = FakeRole(complete_workflow_task=b""), FakeClock(), Changing(history_rps=3)
    methods = history_methods(role, role, history_rates(limits, clock))
    suspected: list[str] = []
    peers = Peers(suspected.append)
    async with hosting(methods) as (_, port):
        history = peers.history(f"127.0.0.1:{port}")
        for _ in range(3):
            await history.transact(KEY, SIGNAL, Call())
        with pytest.raises(ResourceExhausted, match="service rate limit exceeded") as raised:
            await history.transact(KEY, SIGNAL, Call())
        assert raised.value.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
        assert raised.value.scope == ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM
        # What workers answer goes before what clients begin, and what was accepted goes on.
        await history.complete_workflow_task(KEY, COMPLETE, Call())
        for _ in range(5):
            await history.transact(KEY, OUTSIDE, Call())
            await peers.shard_host(f"127.0.0.1:{port}").let_go("host", "shard", 1, 1)
        assert len(role.calls) == 14
        limits.now = Limits()
        for _ in range(5):
            await history.transact(KEY, SIGNAL, Call())
        await peers.close()
    assert suspected == []


async def test_polls_are_refused_and_offers_are_not() -> None:
    queue = QueueKey("namespace", "queue", QueueKind.WORKFLOW)
    role, clock = FakeRole(poll=b"task", offer=Offered(0)), FakeClock()
    methods = matching_methods(role, matching_rates(Changing(matching_rps=1), clock))
    peers = Peers(lambda address: None)
    async with hosting(methods) as (_, port):
        matching = peers.matching(f"127.0.0.1:{port}")
        for _ in range(2):
            assert await matching.poll(Poll(queue, "worker", SECOND_NS), Call()) == b"task"
            with pytest.raises(ResourceExhausted):
                await matching.poll(Poll(queue, "worker", SECOND_NS), Call())
            for _ in range(3):
                await matching.offer(queue, [], Backlog("shard", 1, 0, 0))
            clock.time_ns += 10 * SECOND_NS
        await peers.close()


@pytest.mark.parametrize(
    ("method", "request_", "grade"),
    [
        ("transact", SIGNAL, GRADE["SignalWorkflowExecution"]),
        ("transact", OUTSIDE, None),
        ("transact", DESCRIBE, GRADE["DescribeWorkflowExecution"]),
        ("transact", Look(), None),
        ("read_history", HistoryRead("run", 10), GRADE["GetWorkflowExecutionHistory"]),
        ("read_history", HistoryRead("run", 10, wait_new_event=True), LOWEST),
        ("start_workflow_task", None, None),
        ("pull", None, None),
    ],
)
def test_calls_have_the_grades_of_what_they_are_for(method: str, request_: Any, grade: int | None) -> None:
    assert history_grade(method, [KEY, request_, Call()]) == grade


def test_what_has_a_grade_is_there() -> None:
    assert _HISTORY.keys() <= HISTORY.keys()
    assert _MATCHING.keys() <= MATCHING.keys()
    assert {*_HISTORY.values(), *_MATCHING.values()} <= GRADE.keys()
