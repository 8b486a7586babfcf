"""`perdure admin` as an operator calls it, on one process."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio
from click.testing import CliRunner
from temporalio import activity, workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws
from temporalio.client import Client as SdkClient
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.server.main import main
from tests.conformance.harness.rpc import Client
from tests.e2e.commands import Running, running
from tests.e2e.processes import free_port

_SLOWLY = RetryPolicy(initial_interval=timedelta(minutes=1))
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Operator:
    """Somebody with a terminal, at one server."""

    def __init__(self, server: Running) -> None:
        self.server = server

    async def run(self, *arguments: str) -> tuple[int | None, str]:
        """`perdure admin ARGUMENTS`: exit code, output with errors."""
        return await admin(*arguments, "--address", self.server.address)

    async def told(self, *arguments: str) -> Any:
        """The same as JSON; it must go well."""
        code, output = await self.run(*arguments, "-o", "json")
        assert code == 0, output
        return orjson.loads(output)


async def admin(*arguments: str) -> tuple[int | None, str]:
    """The command in a thread of this process, which is much faster than a process of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, main, ["admin", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output.strip()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Operator]:
    async with running(["dev", "--port", "0"], tmp_path_factory.mktemp("admin")) as server:
        client = Client(server.address)
        start = ws.StartWorkflowExecutionRequest(namespace="default", workflow_id="wf", request_id="1")
        start.workflow_type.name, start.task_queue.name = "type", "q"
        await client.call(start)
        await client.close()
        yield Operator(server)


async def test_one_process_is_a_ring_of_one(operator: Operator) -> None:
    (member,) = (await operator.told("ring"))["members"]
    assert (member["state"], member["roles"]) == ("serving", ["frontend", "history", "matching"])
    code, output = await operator.run("ring")
    assert code == 0
    assert "serving (self)" in output


async def test_a_workflow_that_waits_for_a_worker(operator: Operator) -> None:
    told = await operator.told("diagnose", "wf")
    assert [reason["kind"] for reason in told["reasons"]] == ["no_poller"]
    code, output = await operator.run("diagnose", "wf")
    assert code == 0
    assert "no worker polls workflow queue q" in output
    assert "-> Start a worker" in output
    (part,) = (await operator.told("queues", "q", "--type", "workflow"))["partitions"]
    assert (part["backlog_count"], part["pollers"], part["rate_limit"]) == (1, [], None)
    (task,) = (await operator.told("tasks", "q"))["tasks"]
    assert (task["workflow_id"], task["type"], task["scheduled_event_id"]) == ("wf", "workflow", 2)
    for command in ("queues", "tasks"):
        code, output = await operator.run(command, "q")
        assert code == 0, output


@workflow.defn(name="Stuck")
class Stuck:
    """Whose tasks fail, or that waits for an activity that fails."""

    @workflow.run
    async def run(self, fails: bool) -> None:
        if fails:
            raise RuntimeError("no such thing")
        await workflow.execute_activity("refuse", start_to_close_timeout=timedelta(seconds=5), retry_policy=_SLOWLY)


@activity.defn(name="refuse")
async def refuse() -> None:
    raise ValueError("not today")


async def test_workflows_whose_worker_fails(operator: Operator) -> None:
    client = await SdkClient.connect(operator.server.address)
    runner = UnsandboxedWorkflowRunner()

    async def waits_for(workflow_id: str, kind: str) -> str:
        async with asyncio.timeout(20):
            while True:
                told = await operator.told("diagnose", workflow_id)
                for reason in told["reasons"]:
                    if reason["kind"] == kind:
                        return str(reason["text"])

    async with Worker(client, task_queue="sdk", workflows=[Stuck], activities=[refuse], workflow_runner=runner):
        await client.start_workflow(Stuck.run, True, id="failing", task_queue="sdk")
        await client.start_workflow(Stuck.run, False, id="backoff", task_queue="sdk")
        failing = await waits_for("failing", "workflow_task_failing")
        assert "no such thing" in failing
        backoff = await waits_for("backoff", "activity_backoff")
        assert "(refuse), attempt 2, is in backoff until" in backoff
        assert "not today" in backoff


async def test_there_is_no_such_workflow(operator: Operator) -> None:
    told = await operator.told("diagnose", "none", "--namespace", "default")
    assert [reason["kind"] for reason in told["reasons"]] == ["not_found"]
    code, output = await operator.run("diagnose", "none", "--namespace", "nowhere")
    assert (code, output) == (1, "Error: Namespace nowhere is not found. (NOT_FOUND)")


async def test_shards_are_split_and_merged(operator: Operator) -> None:
    (shard,) = (await operator.told("shards"))["shards"]
    created = (await operator.told("shard", "split", shard["shard"], "--parts", "4"))["created"]
    shards = (await operator.told("shard", "list"))["shards"]
    assert [each["shard"] for each in shards] == created
    assert {each["state"] for each in shards} == {"serving"}
    assert [reason["kind"] for reason in (await operator.told("diagnose", "wf"))["reasons"]] == ["no_poller"]
    code, output = await operator.run("shard", "merge", created[0], created[2])
    assert code == 1
    assert "Only neighbours are merged" in output
    await operator.told("shard", "merge", *created)
    code, output = await operator.run("shard", "list")
    assert code == 0
    assert "0-65535" in output


async def test_what_needs_another_host(operator: Operator) -> None:
    (shard,) = (await operator.told("shards"))["shards"]
    code, output = await operator.run("shard", "move", shard["shard"], "--host", "sole")
    assert code == 1
    assert "there is no other host" in output


async def test_a_command_line_that_is_wrong(operator: Operator) -> None:
    for arguments in (["shard", "move", "x"], ["shard", "merge", "x"], ["ring", "--tls-cert-path", "x"]):
        code, output = await operator.run(*arguments)
        assert code == 2, output
    code, output = await operator.run("shard", "split", "x")
    assert code == 1
    assert "There is no shard x" in output


async def test_nobody_there() -> None:
    code, output = await admin("ring", "--address", f"127.0.0.1:{free_port()}", "--timeout", "5")
    assert code == 1
    assert "doesn't answer" in output
