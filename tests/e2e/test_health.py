"""`perdure health`, as a test of an installation calls it."""

import asyncio
from pathlib import Path

import pytest

from perdure.base.clock import SystemClock
from perdure.rpc.tls import ServerTls
from tests.e2e.commands import PERDURE, running
from tests.e2e.processes import free_port
from tests.unit.rpc.certificates import Folder, listening


async def _health(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        PERDURE, "health", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode().strip()


async def test_a_server_that_serves(tmp_path: Path) -> None:
    async with running(["server", "start-dev", "--port", "0"], tmp_path) as server:
        assert await _health("--address", server.address) == (0, "SERVING")
        assert await _health("--address", server.address, "--service", "another") == (1, "SERVICE_UNKNOWN")


async def test_through_tls(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "tls")
    async with listening(ServerTls(folder.server("server"), SystemClock())) as (address, _):
        given = ("--address", address, "--service", "", "--tls-ca", folder.ca, "--tls-server-name")
        assert await _health(*given, "localhost") == (0, "SERVING")
        for refused in ((*given, "another"), ("--address", address)):
            code, output = await _health(*refused)
            assert code == 1
            assert "doesn't answer" in output


async def test_nobody_there() -> None:
    code, output = await _health("--address", f"127.0.0.1:{free_port()}")
    assert code == 1
    assert "doesn't answer" in output


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [(("--tls-cert", "x"), "--tls-key"), (("--tls-server-name", "x"), "--tls-ca"), (("--tls-ca", "/none"), "/none")],
)
async def test_half_of_tls(arguments: tuple[str, ...], missing: str) -> None:
    code, output = await _health(*arguments)
    assert code != 0
    assert missing in output
