"""Waiting for the end of a fast-forward: who polls is answered at it, or in time that there is none yet."""

import asyncio

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import FastForwardConfig, TimeSkippingConfig, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import FastForwardPollingResult
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionTimeSkippingRequest,
    PollWorkflowExecutionTimeSkippingResponse,
    StartWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.errors import NotFound
from perdure.cluster.roles import Call
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import StartWorkflow
from perdure.workflow.time_skipping_requests import PollForward
from tests.unit.history.house import House, key_of
from tests.unit.shards.fakes import passes

_Result = FastForwardPollingResult
_DAY_S = 86_400


async def forwarding() -> House:
    """A house with a workflow that is to be a day ahead once its task is done."""
    loop = running_loop()
    house = await House(loop, MemoryStore(loop.clock)).open()
    config = TimeSkippingConfig(
        enabled=True,
        max_session_skip_count=9,
        fast_forward_config=FastForwardConfig(id="ff", duration=Duration(seconds=_DAY_S)),
    )
    request = StartWorkflowExecutionRequest(
        workflow_id="wf",
        request_id="start",
        workflow_type=WorkflowType(name="T"),
        task_queue=TaskQueue(name="q"),
        time_skipping_config=config,
    )
    await house.roles.history.transact(key_of("wf"), StartWorkflow(request), Call())
    return house


async def poll(
    house: House, workflow_id: str = "wf", timeout_s: float = 0
) -> PollWorkflowExecutionTimeSkippingResponse:
    execution = WorkflowExecution(workflow_id=workflow_id)
    request = PollWorkflowExecutionTimeSkippingRequest(workflow_execution=execution, fast_forward_id="ff")
    call = Call(timeout_ns=int(timeout_s * SECOND_NS))
    reply = await house.roles.history.transact(key_of(workflow_id), PollForward(request), call)
    assert isinstance(reply, PollWorkflowExecutionTimeSkippingResponse)
    return reply


def test_whoever_waits_is_answered_when_it_has_ended() -> None:
    async def work() -> None:
        house = await forwarding()

        async def worker() -> None:
            await passes(3)
            await house.complete(await house.poll())

        reply, again, _ = await asyncio.gather(poll(house), poll(house), worker())
        assert running_loop().time() < 10
        assert reply == again
        assert reply.fast_forward_polling_result == _Result.FAST_FORWARD_POLLING_RESULT_FAST_FORWARD_COMPLETED
        assert reply.fast_forward_info.has_completed
        await house.roles.stop()

    run_virtual(work())


@pytest.mark.parametrize(("timeout_s", "least_s", "most_s"), [(0, 19, 21), (6, 4, 6)])
def test_whoever_waits_too_long_is_told_so_in_time(timeout_s: float, least_s: float, most_s: float) -> None:
    async def work() -> None:
        house = await forwarding()
        before = running_loop().time()
        reply = await poll(house, timeout_s=timeout_s)
        assert least_s <= running_loop().time() - before <= most_s
        assert reply.fast_forward_polling_result == _Result.FAST_FORWARD_POLLING_RESULT_POLL_TIMEOUT
        assert not reply.fast_forward_info.has_completed
        await house.roles.stop()

    run_virtual(work())


def test_nobody_waits_for_a_workflow_that_is_not_there() -> None:
    async def work() -> None:
        house = await forwarding()
        with pytest.raises(NotFound):
            await poll(house, "another")
        await house.roles.stop()

    run_virtual(work())
