"""`perdure dev` and `perdure server start-dev` as people, and as SDKs' test environments, call them."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import orjson
import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import common_pb2 as enums
from temporalio.api.operatorservice.v1 import request_response_pb2 as operator
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws
from temporalio.common import SearchAttributeKey
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.commands import PERDURE, Ended, Running, running, spawn
from tests.e2e.doubling import Doubling, double
from tests.e2e.networks import network
from tests.e2e.processes import free_port
from tests.e2e.siege import blob

_FIRST_WORKFLOW = Path(__file__).parents[2] / "docs" / "first_workflow.py"
_ANY_PORT = ("--port", "0")


async def _start(server: Running, workflow_id: str, **fields: object) -> None:
    client = Client(server.address)
    try:
        await client.call(
            ws.StartWorkflowExecutionRequest(
                namespace="default",
                workflow_id=workflow_id,
                workflow_type=common.WorkflowType(name="flow"),
                task_queue=taskqueue.TaskQueue(name="q"),
                request_id=workflow_id,
                **fields,  # type: ignore[arg-type]  # the tests' own
            )
        )
    finally:
        await client.close()


async def _is_there(server: Running, workflow_id: str) -> bool:
    client = Client(server.address)
    execution = common.WorkflowExecution(workflow_id=workflow_id)
    try:
        await client.call(ws.DescribeWorkflowExecutionRequest(namespace="default", execution=execution))
    except CallFailed as failed:
        if failed.code != "NOT_FOUND":
            raise
        return False
    finally:
        await client.close()
    return True


async def _refused(arguments: list[str], folder: Path, code: int, *texts: str) -> None:
    with pytest.raises(Ended) as ended:
        (await spawn(arguments, folder)).send(signal.SIGKILL)
    assert ended.value.code == code, ended.value
    for text in texts:
        assert text in ended.value.errors


# ---------------------------------------------------------------------------------------------------- data, and its end


async def test_data_is_in_a_file_of_the_folder_and_outlives_the_process(tmp_path: Path) -> None:
    async with running(["dev", *_ANY_PORT], tmp_path) as server:
        assert server.host == "127.0.0.1"
        assert (tmp_path / "perdure.db").exists()
        assert "perdure.db" in await server.line()
        await _start(server, "kept")
        server.send(signal.SIGTERM)
        assert await server.ended(5) == 0
    async with running(["dev", *_ANY_PORT], tmp_path) as server:
        assert await _is_there(server, "kept")
        server.send(signal.SIGINT)
        assert await server.ended(5) == 0
        assert not server.errors


async def test_data_in_memory_leaves_nothing(tmp_path: Path) -> None:
    async def serve(*arguments: str) -> None:
        async with running(arguments, tmp_path) as server:
            await _start(server, "gone")
            server.send(signal.SIGTERM)
            assert await server.ended(5) == 0

    await asyncio.gather(
        serve("dev", *_ANY_PORT, "--db-filename", ":memory:"), serve("server", "start-dev", *_ANY_PORT)
    )
    assert os.listdir(tmp_path) == ["errors.log"]


async def test_waiting_polls_are_answered_empty_when_the_server_stops(tmp_path: Path) -> None:
    async with running(["dev", *_ANY_PORT], tmp_path) as server:
        client = Client(server.address)
        queue = taskqueue.TaskQueue(name="quiet")

        async def fate(poll: Message) -> str:
            try:
                reply = await client.call(poll, 60)
            except CallFailed as failed:
                return str(failed)
            return "a task" if reply.task_token else "empty"

        polls = [
            asyncio.ensure_future(fate(poll))
            for _ in range(20)
            for poll in (
                ws.PollWorkflowTaskQueueRequest(namespace="default", task_queue=queue),
                ws.PollActivityTaskQueueRequest(namespace="default", task_queue=queue),
            )
        ]
        for _ in range(20):
            await client.call(ws.GetSystemInfoRequest())
        server.send(signal.SIGTERM)
        fates = await asyncio.gather(*polls)
        assert "empty" in fates
        # One that the server hadn't taken up yet is told to go elsewhere.
        assert not [fate for fate in fates if fate != "empty" and "UNAVAILABLE: the server is stopping" not in fate]
        assert await server.ended(5) == 0
        assert not server.errors
        await client.close()


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with running(["dev", *_ANY_PORT], tmp_path) as server:
        await _start(server, "kept")
        await server.line()
        server.send(signal.SIGTERM)
        assert await server.line() == "Stopping."
        server.send(signal.SIGTERM)
        assert await server.ended(1) in (128 + signal.SIGTERM, 0)  # 0: it was quicker
    async with running(["dev", *_ANY_PORT], tmp_path) as server:
        assert await _is_there(server, "kept")


# ------------------------------------------------------------------------------------------------ where it can't begin


async def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        await _refused(["dev", "--port", port], tmp_path, 1, f"127.0.0.1:{port}", "Address already in use")


async def test_a_file_in_use(tmp_path: Path) -> None:
    async with running(["dev", *_ANY_PORT], tmp_path):
        await _refused(["dev", *_ANY_PORT], tmp_path, 1, str(tmp_path / "perdure.db"), "in use by process")


async def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 1000)
    await asyncio.gather(
        _refused(["dev", *_ANY_PORT, "--db-filename", "notes.txt"], tmp_path, 1, "notes.txt", "not a database"),
        _refused(["dev", *_ANY_PORT, "--db-filename", "no/such/folder.db"], tmp_path, 1, "no/such/folder.db"),
    )


@pytest.mark.parametrize(
    ("argument", "value", "text"),
    [
        ("--search-attribute", "Kind", "Kind"),
        ("--search-attribute", "Kind=Colour", "Kind=Colour"),
        ("--search-attribute", "=Text", "=Text"),
        ("--search-attribute", "RunId=Keyword", "RunId"),
        ("--namespace", "", "--namespace"),
        ("--namespace", "x" * 1001, "--namespace"),
        ("--dynamic-config-value", "limit.blobSize.error", "limit.blobSize.error"),
        ("--dynamic-config-value", "limit.blobSize.error=ten", "limit.blobSize.error"),
        ("--dynamic-config-value", 'limit.blobSize.error="10"', "limit.blobSize.error"),
        ("--dynamic-config-value", "limit.blobSize.error=-1", "limit.blobSize.error"),
        ("--dynamic-config-value", 'history.longPollExpirationInterval="soon"', "history.longPollExpirationInterval"),
        ("--dynamic-config-value", "history.longPollExpirationInterval=-1", "history.longPollExpirationInterval"),
        ("--log-level", "loud", "loud"),
        ("--log-format", "xml", "xml"),
        ("--port", "65536", "65536"),
        ("--no-such-option", "x", "--no-such-option"),
    ],
)
def test_a_bad_option_is_named(argument: str, value: str, text: str) -> None:
    """Without a process for each: what the command line refuses it refuses before it opens anything."""
    from click.testing import CliRunner  # noqa: PLC0415 - of this test only

    from perdure.server.main import main  # noqa: PLC0415 - of this test only

    result = CliRunner().invoke(main, ["dev", argument, value])
    assert result.exit_code == 2
    assert text in result.output


# -------------------------------------------------------------------------------------------------------------- options


async def test_namespaces_attributes_and_limits(tmp_path: Path) -> None:
    arguments = [
        "dev", *_ANY_PORT, "--namespace", "one", "-n", "two", "--search-attribute", "Kind=Keyword",
        "--search-attribute", "Size=Int", "--dynamic-config-value", "limit.blobSize.error=1000",
        "--dynamic-config-value", "no.such.key=true", "--log-format", "json",
    ]  # fmt: skip
    async with running(arguments, tmp_path) as server:
        client = Client(server.address)
        for namespace in ("default", "one", "two"):
            listed: operator.ListSearchAttributesResponse = await client.call(
                operator.ListSearchAttributesRequest(namespace=namespace)
            )
            assert dict(listed.custom_attributes) == {
                "Kind": enums.INDEXED_VALUE_TYPE_KEYWORD,
                "Size": enums.INDEXED_VALUE_TYPE_INT,
            }
        await client.close()
        await _start(server, "small", input=blob(900))
        with pytest.raises(CallFailed, match="Blob data size exceeds limit"):
            await _start(server, "large", input=blob(1100))
        (record,) = map(orjson.loads, server.errors.splitlines())
        assert record["level"] == "warning"
        assert record["key"] == "no.such.key"
    await _refused(["dev", *_ANY_PORT, "--search-attribute", "Kind=Int"], tmp_path, 1, "Kind", "Keyword", "Int")


async def test_every_line_of_the_log_is_json(tmp_path: Path) -> None:
    arguments = ["dev", *_ANY_PORT, "--log-format", "json", "--log-level", "debug"]
    async with running(arguments, tmp_path) as server:
        await _start(server, "w")
        server.send(signal.SIGTERM)
        assert await server.ended(5) == 0
        lines = server.errors.splitlines()
    assert lines
    for line in lines:
        record = orjson.loads(line)
        assert record.keys() >= {"ts", "level", "msg", "service"}, line
        # A role's rooms are told from the rest of the process.
        assert record["service"] == ("history" if "shard_id" in record else "perdure"), line


async def test_a_log_for_people_and_none_at_all(tmp_path: Path) -> None:
    async def logged(name: str, *options: str) -> str:
        folder = tmp_path / name
        folder.mkdir()
        async with running(["dev", *_ANY_PORT, "--dynamic-config-value", "no.such.key=1", *options], folder) as server:
            return server.errors

    text, nothing = await asyncio.gather(
        logged("text", "--log-format", "text"), logged("nothing", "--log-level", "never")
    )
    assert "no.such.key" in text
    assert not text.startswith("{")
    assert not nothing


async def test_all_addresses_and_names_of_them(tmp_path: Path) -> None:
    async def reach(ip: str) -> None:
        async with running(["server", "start-dev", "--headless", *_ANY_PORT, "--ip", ip], tmp_path) as server:
            for host in ("127.0.0.1", "localhost"):
                client = Client(f"{host}:{server.port}")
                await client.call(ws.GetSystemInfoRequest())
                await client.close()

    await asyncio.gather(reach("0.0.0.0"), reach("localhost"))


# ----------------------------------------------------------------------------------------------------- SDKs, and people


async def test_the_command_line_of_sdk_test_environments(tmp_path: Path) -> None:
    port = free_port()
    arguments = [
        "server", "start-dev", "--port", str(port), "--namespace", "default", "--ip", "127.0.0.1",
        "--log-format", "pretty", "--log-level", "warn", "--ui-port", "8233",
        "--dynamic-config-value", "frontend.enableServerVersionCheck=false",
        "--dynamic-config-value", "frontend.enableUpdateWorkflowExecution=true",
        "--db-filename", "environment.db", "--search-attribute", "Kind=Keyword",
    ]  # fmt: skip
    async with running(arguments, tmp_path) as server:
        assert server.port == port
        assert (tmp_path / "environment.db").exists()


async def test_the_test_environment_of_the_official_sdk() -> None:
    async with await WorkflowEnvironment.start_local(
        namespace="of-the-sdk",
        search_attributes=[SearchAttributeKey.for_keyword("Kind")],
        dev_server_existing_path=str(PERDURE),
        dev_server_log_level="error",
    ) as environment:
        client = environment.client
        async with Worker(client, task_queue="q", workflows=[Doubling], activities=[double]):
            assert await client.execute_workflow(Doubling.run, 21, id="d", task_queue="q") == 42


async def test_the_first_workflow_of_the_readme(tmp_path: Path) -> None:
    """In a network of its own, because the program and the command use the port that everybody uses."""
    with network() as through:
        async with running(["dev"], tmp_path, through) as server:
            assert server.port == 7233
            program = await asyncio.create_subprocess_exec(
                *through,
                str(PERDURE.parent / "python"),
                "-u",
                str(_FIRST_WORKFLOW),
                stdout=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(60):
                output, _ = await program.communicate()
            # A native thread of the SDK now and then aborts the interpreter while it ends, after all is done.
            assert program.returncode in (0, -signal.SIGABRT)
            assert b"result: Hello, world! Approved by you." in output
            assert output.startswith(b"state: ")
