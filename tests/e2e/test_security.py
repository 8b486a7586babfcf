"""A server with TLS, tokens and an audit log, as an operator configures it, and the official SDK through all of it."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import orjson
import pytest
from temporalio import workflow
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, TLSConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure.base.clock import SystemClock
from perdure.rpc.tls import ChannelTls
from tests.e2e.commands import Running, running
from tests.unit.frontend.issuers import AUDIENCE, GOOD_SET, ISSUER, claims, token
from tests.unit.rpc.certificates import Folder

SERVICE = "/temporal.api.workflowservice.v1.WorkflowService/"
CHILD = CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION
SIGNAL = CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION
CANCEL = CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION


@workflow.defn
class Greeting:
    """A workflow that waits for a signal."""

    def __init__(self) -> None:
        self._name = ""

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self._name))
        return f"Hello, {self._name}"

    @workflow.signal
    def go(self, name: str) -> None:
        self._name = name


def key(*permissions: str, **changes: object) -> str:
    """A token that is good for ten minutes, without its scheme."""
    return token(claims(*permissions, **{"exp": int(time.time()) + 600, **changes})).removeprefix("Bearer ")


class Place:
    """A server, and who may connect to it."""

    def __init__(self, server: Running, folder: Folder) -> None:
        self.server = server
        self.folder = folder
        self._files = folder.channel("client", "client.example")

    async def sdk(self, api_key: str | None) -> Client:
        files = self._files
        tls = TLSConfig(
            server_root_ca_cert=Path(files.authority).read_bytes(),  # noqa: ASYNC240 - a test's small file
            domain="localhost",
            client_cert=Path(files.certificate).read_bytes(),  # noqa: ASYNC240 - as above
            client_private_key=Path(files.key).read_bytes(),  # noqa: ASYNC240 - as above
        )
        return await Client.connect(self.server.address, tls=tls, api_key=api_key)

    def channel(self) -> grpc.aio.Channel:
        return ChannelTls(self._files, SystemClock()).open(self.server.address)

    def audited(self) -> list[dict[str, Any]]:
        records = [orjson.loads(line) for line in self.server.errors.splitlines()]
        return [record for record in records if record.get("logger") == "perdure.audit"]


@asynccontextmanager
async def secured(path: Path) -> AsyncIterator[Place]:
    folder = Folder(path / "tls")
    certificate, private = folder.issue("server")
    (path / "keys.json").write_bytes(GOOD_SET)
    (path / "perdure.yaml").write_text(
        f"""
        store: {{sqlite: {{file: {path}/kept.db}}}}
        frontend: {{port: 0}}
        metrics: {{port: 0}}
        namespaces: [{{name: default}}, {{name: other}}]
        tls: {{frontend: {{certificate: {certificate}, key: {private}, client_authority: {folder.ca}}}}}
        auth: {{issuer: {ISSUER}, audience: {AUDIENCE}, keys: {path}/keys.json}}
        audit: {{calls: all}}
        """
    )
    async with running(["server", "start", "--config", str(path / "perdure.yaml")], path) as server:
        yield Place(server, folder)


@contextmanager
def denied() -> Iterator[None]:
    with pytest.raises(RPCError) as refused:
        yield
    assert (refused.value.status, refused.value.message) == (RPCStatusCode.PERMISSION_DENIED, "Request unauthorized.")


async def test_the_official_sdk_works_with_certificates_and_tokens_and_nobody_without(tmp_path: Path) -> None:
    async with secured(tmp_path) as place:
        starter = await place.sdk(key("default:write", sub="starter"))
        worker = await place.sdk(key("default:worker", sub="worker"))
        async with Worker(worker, task_queue="q", workflows=[Greeting], workflow_runner=UnsandboxedWorkflowRunner()):
            handle = await starter.start_workflow(Greeting.run, id="wf", task_queue="q")
            stranger = (await place.sdk(key("other:admin"))).get_workflow_handle("wf")
            nobody = (await place.sdk(None)).get_workflow_handle("wf")
            with pytest.raises(RuntimeError, match="Request unauthorized"):
                await place.sdk(key("default:admin", exp=int(time.time()) - 60))
            reader = (await place.sdk(key("default:read"))).get_workflow_handle("wf")
            for other in (stranger, nobody, worker.get_workflow_handle("wf"), reader):
                with denied():
                    await other.signal(Greeting.go, "nobody")
            assert (await reader.describe()).id == "wf"
            await handle.signal(Greeting.go, "world")
            assert await handle.result() == "Hello, world"
        signals = [r for r in place.audited() if r["operation"] == "SignalWorkflowExecution"]
        assert [record["outcome"] for record in signals] == ["PERMISSION_DENIED"] * 4 + ["OK"]
        assert (signals[-1]["subject"], signals[-1]["workflow_id"]) == ("jwt:starter", "wf")
        assert any(record["operation"] == "RespondWorkflowTaskCompleted" for record in place.audited())


async def test_a_completion_that_names_another_namespace_changes_nothing_and_is_told_nothing(tmp_path: Path) -> None:
    """Each command, naming a namespace that is there and one that isn't."""
    async with secured(tmp_path) as place, place.channel() as channel:

        async def call(request: Any, *permissions: str) -> Any:
            name = type(request).__name__.removesuffix("Request")
            method: Any = channel.unary_unary(
                SERVICE + name,
                request_serializer=type(request).SerializeToString,
                response_deserializer=getattr(ws, f"{name}Response").FromString,
            )
            return await method(request, metadata=(("authorization", f"Bearer {key(*permissions)}"),), timeout=30)

        start = ws.StartWorkflowExecutionRequest(namespace="default", workflow_id="wf")
        start.workflow_type.name, start.task_queue.name = "type", "q"
        await call(start)
        poll = ws.PollWorkflowTaskQueueRequest(namespace="default")
        poll.task_queue.name = "q"
        task = await call(poll, "default:worker")
        for command in _commands("other", "nope"):
            for permissions in (["default:worker"], ["default:admin", "temporal-system:worker"]):
                completion = ws.RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=[command])
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(completion, *permissions)
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
                assert refused.value.details() == "Request unauthorized."
        for namespace in ("other", "nope"):
            completion = ws.RespondWorkflowTaskCompletedRequest(task_token=task.task_token, namespace=namespace)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(completion, "default:admin", "elsewhere:admin")
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        await call(ws.RespondWorkflowTaskCompletedRequest(task_token=task.task_token), "default:worker")
        read = ws.GetWorkflowExecutionHistoryRequest(namespace="default", execution=WorkflowExecution(workflow_id="wf"))
        history = (await call(read, "default:read")).history
        assert [event.event_type for event in history.events] == [
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
            EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        ]


def _commands(*namespaces: str) -> Iterator[Command]:
    for namespace in namespaces:
        child = Command(command_type=CHILD)
        attributes = child.start_child_workflow_execution_command_attributes
        attributes.namespace, attributes.workflow_id = namespace, "child"
        attributes.workflow_type.name = "type"
        yield child
        signal = Command(command_type=SIGNAL)
        signal.signal_external_workflow_execution_command_attributes.namespace = namespace
        signal.signal_external_workflow_execution_command_attributes.execution.workflow_id = "wf"
        signal.signal_external_workflow_execution_command_attributes.signal_name = "go"
        yield signal
        cancel = Command(command_type=CANCEL)
        cancel.request_cancel_external_workflow_execution_command_attributes.namespace = namespace
        cancel.request_cancel_external_workflow_execution_command_attributes.workflow_id = "wf"
        yield cancel
