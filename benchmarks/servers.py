"""The servers that are measured, as processes, and what the kernel says of them."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REFERENCE = "reference, in memory"
MEMORY = "perdure, in memory"
FILE = "perdure, file with fsync"
SERVERS = (REFERENCE, MEMORY, FILE)

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running server: its address and process id."""

    name: str
    address: str
    pid: int

    def cpu_seconds(self) -> float:
        """CPU time that the process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss_mb(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ENTRY = ("perdure.server.main",)


def commands(port: int, folder: str, entry: Sequence[str] = ENTRY) -> dict[str, list[str]]:
    """The command line of every server that can be measured. `entry`: the module that is run as Perdure, and
    arguments of its own.
    """
    temporal = shutil.which("temporal", path=str(Path(sys.executable).parent)) or "temporal"
    server = [sys.executable, "-m", *entry, "server", "start-dev", "--headless", "--port", str(port)]
    return {
        REFERENCE: [temporal, "server", "start-dev", "--headless", "--port", str(port)],
        MEMORY: server,
        FILE: [*server, "--db-filename", str(Path(folder) / "perdure.db")],
    }


def perdure(port: int, entry: Sequence[str] = ENTRY) -> list[str]:
    """The command line of Perdure, to which options of its store are added."""
    return [sys.executable, "-m", *entry, "dev", "--headless", "--port", str(port)]


@contextmanager
def running(name: str, entry: Sequence[str] = ENTRY) -> Iterator[Server]:
    """Start the server called `name`, one of SERVERS, and kill it afterwards. The caller waits until it answers."""
    with started(name, lambda port, folder: commands(port, folder, entry)[name]) as server:
        yield server


@contextmanager
def started(name: str, command: Callable[[int, str], list[str]]) -> Iterator[Server]:
    """Start what `command` says for a port and a folder of its own, call it `name`, and kill it afterwards."""
    port = free_port()
    # The server runs in a folder of its own, and finds these modules all the same.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with tempfile.TemporaryDirectory() as folder, Path(folder, "log").open("wb") as log:
        process = subprocess.Popen(command(port, folder), cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            yield Server(name, f"127.0.0.1:{port}", process.pid)
        except BaseException:
            sys.stderr.write(Path(folder, "log").read_text(errors="replace")[-2_000:])
            raise
        finally:
            process.kill()
            process.wait()
