"""Clusters of real processes, by role, on one keyspace: started, awaited by health, stopped and killed by name.

Each process has a folder with its configuration and its log, and ports that it gets again when it is started again.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.cassandra.fixtures import Keyspace
from tests.e2e.health import HEALTH_NAMES, health
from tests.e2e.processes import free_port

_LOOK_S = 0.1
_START_S = 120.0
_STOP_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs, and how. `host`: the address that it listens on. `through`: the beginning of its command
    line, a program that runs the rest of it. `program`: what Python is told to run.
    """

    host: str = "127.0.0.1"
    through: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "perdure.server.main")


class RoleProcess:
    """One process: `roles`, and a name. `settings`: of its configuration, besides those that it needs to run here."""

    def __init__(
        self,
        name: str,
        roles: Sequence[str],
        keyspace: Keyspace,
        folder: Path,
        settings: dict[str, object],
        place: Place = Place(),
    ) -> None:
        self.name = name
        self.place = place
        self.roles = tuple(roles)
        self.ports = {role: free_port() for role in ("frontend", "history", "matching", "metrics")}
        self._folder = folder
        self._folder.mkdir()
        self._log = folder / "errors.log"
        self._process: Process | None = None
        contact = {"contact_points": keyspace.contact.host, "port": keyspace.contact.port}
        config: dict[str, object] = {
            "roles": list(roles),
            "store": {"cassandra": {**contact, "keyspace": keyspace.name, "replication": 1}},
            "log": {"level": "info", "format": "json"},
        }
        sections = {**config, **settings}
        for role, port in self.ports.items():
            section = sections.get(role, {})
            assert isinstance(section, dict)
            sections[role] = {"listen": place.host, "port": port, **section}
        self._config = folder / "perdure.yaml"
        self._config.write_bytes(orjson.dumps(sections))  # JSON is YAML

    @property
    def address(self) -> str:
        """host:port of its frontend."""
        return self.address_of("frontend")

    def address_of(self, role: str) -> str:
        """host:port of one of its roles."""
        return f"{self.place.host}:{self.ports[role]}"

    @property
    def errors(self) -> str:
        """What all its processes wrote to their standard error."""
        return self._log.read_text() if self._log.exists() else ""

    @property
    def pid(self) -> int:
        """Of the process that runs now."""
        return self._running().pid

    async def start(self) -> None:
        """Start a process, which may not serve yet."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.place.through, sys.executable, *self.place.program,
                "server", "start", "--config", str(self._config),
                # Of a busy machine each session gets a share, so that seven processes in one would starve.
                stdin=DEVNULL, stdout=DEVNULL, stderr=log, start_new_session=True,
            )  # fmt: skip

    async def serves(self) -> None:
        """Return when each of its roles is a place for calls. Raises AssertionError if its process has ended, or
        takes longer than two minutes.
        """
        try:
            async with asyncio.timeout(_START_S):
                for role in self.roles:
                    while await health(self.ports[role], HEALTH_NAMES[role], self.place.host) != "SERVING":
                        assert self._running().returncode is None, f"{self.name} has ended:\n{self.errors[-4000:]}"
                        await passes(_LOOK_S)
        except TimeoutError:
            raise AssertionError(f"{self.name} doesn't serve:\n{self.errors[-4000:]}") from None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        if self._running().returncode is None:
            os.kill(self.pid, number)

    async def stop(self) -> int:
        """SIGTERM, and wait; the exit code."""
        self.send(signal.SIGTERM)
        async with asyncio.timeout(_STOP_S):
            return await self._running().wait()

    async def kill(self) -> None:
        """kill -9."""
        self.send(signal.SIGKILL)
        await self._running().wait()

    async def end(self) -> None:
        """Whatever state it is in, if it was ever started."""
        if self._process is not None:
            await self.kill()

    def _running(self) -> Process:
        if self._process is None:
            raise AssertionError(f"{self.name} was never started")
        return self._process


class ClusterProcesses:
    """Processes by name: `history-1`, `history-2`, and so on."""

    def __init__(self, processes: Sequence[RoleProcess]) -> None:
        self.by_name = {process.name: process for process in processes}

    def __getitem__(self, name: str) -> RoleProcess:
        return self.by_name[name]

    @property
    def frontends(self) -> list[str]:
        """The frontends' addresses."""
        return [process.address for process in self.by_name.values() if "frontend" in process.roles]

    async def start(self) -> None:
        """Start all that were never started, and wait until they serve."""
        await asyncio.gather(*(process.start() for process in self.by_name.values()))
        await asyncio.gather(*(process.serves() for process in self.by_name.values()))

    async def stop(self) -> dict[str, int]:
        """SIGTERM to all; exit codes by name."""
        codes = await asyncio.gather(*(process.stop() for process in self.by_name.values()))
        return dict(zip(self.by_name, codes, strict=True))


@asynccontextmanager
async def cluster_of(
    keyspace: Keyspace, folder: Path, *, settings: dict[str, object] | None = None, **counts: int
) -> AsyncIterator[ClusterProcesses]:
    """So many processes of each role, `frontend=2`; `all=1` is one with every role. They serve; none is left."""
    roles = {role: ("frontend", "history", "matching") if role == "all" else (role,) for role in counts}
    processes = [
        RoleProcess(f"{role}-{number}", roles[role], keyspace, folder / f"{role}-{number}", settings or {})
        for role, count in counts.items()
        for number in range(1, count + 1)
    ]
    async with AsyncExitStack() as stack:
        for process in processes:
            stack.push_async_callback(process.end)
        cluster = ClusterProcesses(processes)
        await cluster.start()
        yield cluster


async def passes(seconds: float) -> None:
    """Return when so much time has passed."""
    moment = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, moment.set)
    await moment.wait()
