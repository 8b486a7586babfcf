"""A Perdure process on a store that can be killed at any moment and started again."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

# Below those that the kernel gives to connections.
_PORTS_FROM, _PORTS = 20_000, 10_000


def free_port() -> int:
    """A port that nobody listens on, and that no connection gets as its own: a server that is started again needs it
    again, while its clients try to connect.
    """
    while True:
        port = _PORTS_FROM + int.from_bytes(os.urandom(2)) % _PORTS
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class ServerProcess:
    """One server, by its database and port; every start is a new process on the same two.

    `database`: a file, or as text the address of a store. `log`: where its standard error goes, beside the file if not
    given. `through`: the beginning of the command line, a program that runs the rest of it. `environment`: variables
    besides this process's own.
    """

    def __init__(
        self,
        database: Path | str,
        port: int,
        *arguments: str,
        log: Path | None = None,
        through: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._database = database
        self.port = port
        self.kills = 0
        self._arguments = arguments
        self._process: Process | None = None
        self._log = log or Path(database).with_suffix(".log")
        self._through = through
        self._environment = {**os.environ, **(environment or {})}

    @property
    def address(self) -> str:
        """host:port of its frontend."""
        return f"127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        """What all its processes wrote to their standard error."""
        return self._log.read_text() if self._log.exists() else ""

    async def start(self) -> None:
        """Start the process and wait for its ready line."""
        option = "--db-filename" if isinstance(self._database, Path) else "--store"
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._through, sys.executable, "-m", "perdure.server.main", "server", "start-dev", "--headless",
                "--port", str(self.port), option, str(self._database), *self._arguments,
                stdin=DEVNULL, stdout=PIPE, stderr=log, env=self._environment,
            )  # fmt: skip
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            while line := await self._process.stdout.readline():
                if str(self.port).encode() in line:
                    return
        raise AssertionError(f"the server ended before it served:\n{self.output[-4000:]}")

    async def kill(self) -> None:
        """kill -9."""
        process = self._running()
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        self.kills += 1

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self._running().returncode is None:
            os.kill(self._running().pid, number)

    async def stop(self) -> int:
        """SIGTERM, and wait; the exit code."""
        process = self._running()
        if process.returncode is None:
            process.terminate()
        return await process.wait()

    def _running(self) -> Process:
        if self._process is None:
            raise AssertionError("the server was never started")
        return self._process
