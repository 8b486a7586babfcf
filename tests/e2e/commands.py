"""Perdure's commands as a person or an SDK's test environment runs them: with arguments, in a folder of their own."""

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

PERDURE = Path(sys.executable).parent / "perdure"
_READY = re.compile(r"serves (\S+):(\d+)")
_START_S = 60.0


class Ended(Exception):
    """A command that ended: its exit code, and what it wrote."""

    def __init__(self, code: int, output: str, errors: str) -> None:
        super().__init__(f"exit code {code}\n{output}\n{errors}")
        self.code = code
        self.output = output
        self.errors = errors


class Running:
    """A server that a command runs. `host`, `port`: of its ready line."""

    def __init__(self, process: Process, log: Path, host: str, port: int) -> None:
        self._process = process
        self._log = log
        self.host = host
        self.port = port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def errors(self) -> str:
        """Its standard error so far."""
        return self._log.read_text()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    async def line(self) -> str:
        """The next line of its standard output."""
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def ended(self, seconds: float = 20.0) -> int:
        """Its exit code. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


async def spawn(arguments: Sequence[str], folder: Path, through: Sequence[str] = ()) -> Running:
    """Run `perdure ARGUMENTS` in a folder until it serves. Raises Ended if it doesn't."""
    log = folder / "errors.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *through, str(PERDURE), *arguments, cwd=folder, stdin=DEVNULL, stdout=PIPE, stderr=errors
        )
    assert process.stdout is not None
    lines = []
    async with asyncio.timeout(_START_S):
        while line := (await process.stdout.readline()).decode():
            lines.append(line)
            if ready := _READY.search(line):
                return Running(process, log, ready[1], int(ready[2]))
    raise Ended(await process.wait(), "".join(lines), log.read_text())


@asynccontextmanager
async def running(arguments: Sequence[str], folder: Path, through: Sequence[str] = ()) -> AsyncIterator[Running]:
    """As `spawn`; the process is gone when the context ends."""
    server = await spawn(arguments, folder, through)
    try:
        yield server
    finally:
        await server.kill()
