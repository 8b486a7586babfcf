"""`perdure server start`, `perdure config` and `--store`, as operators call them. Without a Cassandra."""

import asyncio
import os
import re
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from perdure.server.main import main
from tests.conformance.harness.rpc import Client
from tests.e2e.commands import PERDURE, Ended, running, spawn
from tests.e2e.processes import free_port

PASSWORD = "hunter2"


def _invoked(*arguments: str, environment: Mapping[str, str | None] | None = None) -> Result:
    """Without a process: what the command line refuses it refuses before it opens anything."""
    return CliRunner().invoke(main, arguments, env=environment)


def _configuration(folder: Path, text: str) -> str:
    path = folder / "perdure.yaml"
    path.write_text(text)
    return str(path)


async def _started(folder: Path, *arguments: str) -> Process:
    """A command that doesn't serve yet, and perhaps never will."""
    return await asyncio.create_subprocess_exec(
        str(PERDURE), *arguments, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )


async def _stores(address: str) -> set[str]:
    client = Client(address)
    try:
        info: ws.GetClusterInfoResponse = await client.call(ws.GetClusterInfoRequest())
    finally:
        await client.close()
    return {info.persistence_store, info.visibility_store}


# ------------------------------------------------------------------------------------------------------- configuration


async def test_a_server_on_a_file_that_a_configuration_names(tmp_path: Path) -> None:
    metrics_port = free_port()
    path = _configuration(
        tmp_path,
        f"store: {{sqlite: {{file: {tmp_path}/kept.db}}}}\nfrontend: {{port: 1}}\nmetrics: {{port: {metrics_port}}}\n"
        "log: {level: info}\nnamespaces: [{name: one}, {name: two}]\ndynamic: {no.such.key: 1}\n",
    )
    through = ["env", "PERDURE_FRONTEND__PORT=0", "PERDURE_HISTORY__SHARDS=3"]
    async with running(["server", "start", "--config", path], tmp_path, through) as server:
        assert await server.line() == (
            f"Namespaces one, two; data {tmp_path}/kept.db; metrics http://127.0.0.1:{metrics_port}/metrics"
        )
        assert await _stores(server.address) == {"sqlite"}
        client = Client(server.address)
        info: ws.GetClusterInfoResponse = await client.call(ws.GetClusterInfoRequest())
        assert info.history_shard_count == 3
        await client.close()
        server.send(signal.SIGTERM)
        assert await server.ended(15) == 0
        records = [orjson.loads(line) for line in server.errors.splitlines()]
        assert any(record.get("key") == "no.such.key" for record in records)
        assert not [record for record in records if record["level"] == "error"]
    # The number of shards is the store's own, once it has some.
    async with running(["server", "start", "-c", path], tmp_path, through[:2]) as server:
        client = Client(server.address)
        assert (await client.call(ws.GetClusterInfoRequest())).history_shard_count == 3
        await client.close()


def test_a_configuration_is_checked_and_shown_without_a_store(tmp_path: Path) -> None:
    text = "store: {cassandra: {contact_points: [nowhere.invalid], user: perdure}}\ndynamic: {no.such.key: 1}\n"
    path = _configuration(tmp_path, text)
    secret = {"PERDURE_STORE__CASSANDRA__PASSWORD": PASSWORD}
    checked = _invoked("config", "check", "--config", path, environment=secret)
    assert checked.exit_code == 0, checked.output
    assert checked.output.splitlines() == [
        "dynamic.no.such.key: not known here, and without effect",
        (
            f"{path} is a configuration. Roles: frontend, history, matching. "
            "Data: keyspace perdure of Cassandra at nowhere.invalid, port 9042."
        ),
    ]
    shown = _invoked("config", "show", environment={**secret, "PERDURE_CONFIG": path})
    assert shown.exit_code == 0, shown.output
    assert "conditional_timeout: 1.0" in shown.output
    assert PASSWORD not in shown.output


@pytest.mark.parametrize("command", [("server", "start"), ("config", "check"), ("config", "show")])
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("store: {memory: {}}", "store.memory: there is no such key"),
        ("store: {sqlite: {file: ':memory:'}}", "store: sqlite: a server keeps its data"),
        (f"store: {{cassandra: {{contact_points: a, user: u, pasword: {PASSWORD}}}}}", "did you mean password?"),
        ("store: {sqlite: {file: a}}\ndynamic: {limit.maxIDLength: x}", "limit.maxIDLength: expected a whole number"),
    ],
)
def test_a_bad_configuration_is_refused_by_every_command(
    tmp_path: Path, command: Sequence[str], text: str, fault: str
) -> None:
    refused = _invoked(*command, "--config", _configuration(tmp_path, text))
    assert refused.exit_code == 1
    assert fault in refused.output
    assert refused.output.startswith(f"Error: {tmp_path}/perdure.yaml can't be used:")
    assert PASSWORD not in refused.output
    assert "Traceback" not in refused.output


def test_a_configuration_has_to_be_named_and_there(tmp_path: Path) -> None:
    assert _invoked("server", "start").exit_code == 2
    missing = _invoked("server", "start", "--config", str(tmp_path / "no.yaml"))
    assert (missing.exit_code, missing.output) == (1, f"Error: {tmp_path}/no.yaml: No such file or directory\n")


# -------------------------------------------------------------------------------------------------------------- --store


async def test_addresses_of_a_file_and_of_memory(tmp_path: Path) -> None:
    async def served(address: str, name: str, *command: str) -> None:
        async with running([*command, "--port", "0", "--store", address], tmp_path) as server:
            assert await _stores(server.address) == {name}

    await asyncio.gather(
        served(f"sqlite:///{tmp_path}/absolute.db", "sqlite", "dev"),
        served("sqlite:///relative.db", "sqlite", "server", "start-dev"),
        served("memory:", "memory", "dev"),
    )
    assert {"absolute.db", "relative.db"} <= set(os.listdir(tmp_path))
    assert "perdure.db" not in os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--store", "memory:", "--db-filename", "a.db"], "--store and --db-filename name two stores"),
        (["--store", "mysql://host/x"], "expected cassandra://"),
        (["--store", "sqlite:///"], "expected cassandra://"),
        (["--store", "sqlite:///:memory:"], "expected cassandra://"),
        (["--store", f"cassandra:{PASSWORD}@host"], "--store: "),
        (["--store", f"cassandra://u:{PASSWORD}@host:port/ks"], "--store: "),
        (["--store", f"cassandra://u:{PASSWORD}@host/ks?colour=red"], "colour"),
        (["--store", f"cassandra://u:{PASSWORD}@host/ks?replication=many"], "replication"),
        (["--store", "sqlite:///a.db", "--time-skipping"], "--time-skipping is for data in memory"),
    ],
)
def test_a_bad_address_is_refused_without_its_password(arguments: list[str], text: str) -> None:
    refused = _invoked("dev", *arguments)
    assert refused.exit_code == 2
    assert text in refused.output
    assert PASSWORD not in refused.output


# ------------------------------------------------------------------------------------------ a Cassandra that is away


async def test_a_cassandra_that_is_away_is_waited_for_and_then_named(tmp_path: Path) -> None:
    port = free_port()
    text = (
        f"store: {{cassandra: {{contact_points: 127.0.0.1, port: {port}, user: u, password: {PASSWORD}}}}}\n"
        "start: {store_wait: 1s}\nfrontend: {port: 0}\nmetrics: {port: 0}\n"
    )
    with pytest.raises(Ended) as ended:
        (await spawn(["server", "start", "--config", _configuration(tmp_path, text)], tmp_path)).send(signal.SIGKILL)
    assert ended.value.code == 1
    *records, error = ended.value.errors.splitlines()
    assert orjson.loads(records[0])["msg"] == "waiting for Cassandra"
    assert "Connection refused" in orjson.loads(records[0])["cause"]
    cause = f"127.0.0.1:{port}: Connection refused"
    where = f"keyspace perdure of Cassandra at 127.0.0.1, port {port}"
    assert error == f"Error: Cassandra can't be reached: {cause}. Data: {where}."
    assert PASSWORD not in str(ended.value)


async def _stopped(process: Process) -> None:
    """Told to stop, it does so at once."""
    begun = asyncio.get_running_loop().time()
    process.terminate()
    try:
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert asyncio.get_running_loop().time() - begun < 8
    assert (process.returncode, output) == (0, b"")
    assert not re.search(rb"Traceback|error", errors)


async def test_who_is_told_to_stop_while_it_waits_stops_at_once(tmp_path: Path) -> None:
    store = f"cassandra://127.0.0.1:{free_port()}/ks?connect_wait=300"
    process = await _started(tmp_path, "dev", "--port", "0", "--store", store, "--log-format", "json")
    assert process.stderr is not None
    assert orjson.loads(await process.stderr.readline())["msg"] == "waiting for Cassandra"
    await _stopped(process)


async def test_a_node_that_does_not_answer_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        store = f"cassandra://127.0.0.1:{listener.getsockname()[1]}/ks?connect_timeout=50"
        process = await _started(tmp_path, "dev", "--port", "0", "--store", store)
        connection, _ = await asyncio.get_running_loop().sock_accept(listener)
        with connection:
            await _stopped(process)
