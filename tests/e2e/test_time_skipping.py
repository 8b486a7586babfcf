"""Time skipping as users of the Python SDK test with it: the environments start Perdure and skip through days."""

import asyncio
import time
from datetime import timedelta

import pytest
from google.protobuf.empty_pb2 import Empty
from temporalio import activity, workflow
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.e2e.commands import PERDURE

_TEST_SERVER = str(PERDURE.with_name("perdure-test-server"))
_QUICK_S = 20.0


@activity.defn
async def work() -> str:
    return "worked"


@workflow.defn
class Month:
    """Sleeps for half a month, works, and sleeps for the other half."""

    @workflow.run
    async def run(self) -> str:
        begin = workflow.now()
        await asyncio.sleep(timedelta(days=15).total_seconds())
        result = await workflow.execute_activity(work, start_to_close_timeout=timedelta(seconds=10))
        await asyncio.sleep(timedelta(days=15).total_seconds())
        return f"{result} in {(workflow.now() - begin).days} days"


def _worker(env: WorkflowEnvironment) -> Worker:
    return Worker(
        env.client,
        task_queue="q",
        workflows=[Month],
        activities=[work],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )


async def test_an_environment_skips_through_a_month_while_a_result_is_awaited() -> None:
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=_TEST_SERVER, test_server_startup_timeout=timedelta(seconds=60)
    ) as env:
        before, began = await env.get_current_time(), time.monotonic()
        async with _worker(env):
            assert await env.client.execute_workflow(Month.run, id="awaited", task_queue="q") == "worked in 30 days"
            passed = await env.get_current_time() - before
            assert timedelta(days=30) <= passed < timedelta(days=30, seconds=_QUICK_S)

            handle = await env.client.start_workflow(Month.run, id="slept", task_queue="q")
            await env.sleep(timedelta(days=16))
            assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
            passed = await env.get_current_time() - before
            assert timedelta(days=46) <= passed < timedelta(days=46, seconds=_QUICK_S)
            with env.auto_time_skipping_disabled(), pytest.raises(TimeoutError):
                await asyncio.wait_for(handle.result(), 1)
            assert await handle.result() == "worked in 30 days"
            # What ended a month ago is still there.
            awaited = await env.client.get_workflow_handle("awaited").describe()
            assert awaited.status == WorkflowExecutionStatus.COMPLETED
        assert time.monotonic() - began < _QUICK_S


async def test_an_environment_forwards_one_workflow() -> None:
    async with (
        await WorkflowEnvironment.start_time_skipping_v2(
            dev_server_existing_path=str(PERDURE),
            dev_server_extra_args=["--dynamic-config-value", "frontend.WorkflowTimeSkippingEnabled=true"],
            dev_server_startup_timeout=timedelta(seconds=60),
        ) as env,
        _worker(env),
    ):
        with env.with_time_skipping_disabled():  # or it would be at its end at once
            handle = await env.client.start_workflow(Month.run, id="wf", task_queue="q")
        began = (await handle.describe()).start_time
        for days in (10, 20):
            assert await env.fast_forward(handle, timedelta(days=10))
            passed = await env.get_current_time(handle) - began
            assert timedelta(days=days) <= passed < timedelta(days=days, seconds=_QUICK_S)
        assert not await env.fast_forward(handle)
        assert await handle.result() == "worked in 30 days"


async def test_no_other_server_has_a_clock_that_is_moved() -> None:
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(PERDURE), dev_server_startup_timeout=timedelta(seconds=60)
    ) as env:
        with pytest.raises(RPCError) as refused:
            await env.client.test_service.get_current_time(Empty())
        assert refused.value.status == RPCStatusCode.UNIMPLEMENTED
        assert refused.value.message == "unknown service temporal.api.testservice.v1.TestService"
