"""A Cassandra node as a process of its own: configured, started, killed, stopped short, and started again on its data.

Invariant: the process ends when its parent does, whatever ended the parent.
It does not know who uses it: CassandraNode is for one node, tests/cassandra/cluster.py for several.
"""

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cassandra.addresses import CQL_PORT, STORAGE_PORT
from tests.cassandra.jars import fetched, java

_START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.1
_LOGGING = """<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%-5level %date %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
"""
# What Cassandra uses of Java's own insides.
_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
)
_OPENS = (
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.module",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "jdk.management/com.sun.management.internal",
)
# Options of Java for the node and for Cassandra's tools.
INSIDES = (
    *(f"--add-exports={name}=ALL-UNNAMED" for name in _EXPORTS),
    *(f"--add-opens={name}=ALL-UNNAMED" for name in _OPENS),
)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node is configured with.

    `said_address`: the address that clients are told, if it isn't the node's own: a proxy's. `tokens`: the node's
    places on the ring, so that nodes of a new cluster can start at once; none: drawn. `sync`: batch or periodic.
    `is_measured`: as production runs it, with the slow start that this costs. `jmx_port`: for nodetool on this machine.
    `more`: other settings of cassandra.yaml.
    """

    address: str = "127.0.0.1"
    seeds: tuple[str, ...] = ()
    tokens: tuple[int, ...] = ()
    said_address: str = ""
    ring_delay_ms: int = 1
    sync: str = "batch"
    paxos: str = "v2"
    authenticator: str = "AllowAllAuthenticator"
    heap_mb: int = 512
    is_measured: bool = False
    jmx_port: int = 0
    more: tuple[tuple[str, object], ...] = ()

    def configuration(self, folder: Path) -> dict[str, object]:
        """cassandra.yaml, with everything that the node keeps in `folder`."""
        seeds = ",".join(f"{seed}:{STORAGE_PORT}" for seed in self.seeds or (self.address,))
        parts: dict[str, object] = {
            "cluster_name": "perdure",
            "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
            "num_tokens": len(self.tokens) or 8,
            "auto_bootstrap": False,
            "endpoint_snitch": "SimpleSnitch",
            "seed_provider": [
                {"class_name": "org.apache.cassandra.locator.SimpleSeedProvider", "parameters": [{"seeds": seeds}]}
            ],
            "listen_address": self.address,
            "storage_port": STORAGE_PORT,
            "rpc_address": self.address,
            "native_transport_port": CQL_PORT,
            "authenticator": self.authenticator,
            "paxos_variant": self.paxos,
            "commitlog_sync": self.sync,
            "auto_snapshot": False,
            "data_file_directories": [str(folder / "data")],
        }
        for name in ("commitlog_directory", "saved_caches_directory", "hints_directory", "cdc_raw_directory"):
            parts[name] = str(folder / name.removesuffix("_directory"))
        if self.sync == "periodic":
            parts["commitlog_sync_period"] = "10000ms"
        if self.tokens:
            parts["initial_token"] = ",".join(map(str, self.tokens))
        if self.said_address:
            parts["broadcast_rpc_address"] = self.said_address
        return parts | dict(self.more)


def write_settings(folder: Path, configuration: Mapping[str, object]) -> None:
    """Write what a node in `folder` reads when it starts, into `folder`/conf."""
    conf = folder / "conf"
    conf.mkdir(parents=True, exist_ok=True)
    (conf / "cassandra.yaml").write_text(yaml.safe_dump(dict(configuration)))
    (conf / "logback.xml").write_text(_LOGGING)


def java_arguments(options: NodeOptions, folder: Path, jars: Path) -> list[str]:
    """What Java is told: to run a node in the foreground, with its settings and data in `folder`."""
    conf = folder / "conf"
    heap = options.heap_mb
    told = [f"-Xms{heap}m", f"-Xmx{heap}m", "-XX:+ExitOnOutOfMemoryError", "-XX:-UsePerfData", *INSIDES]
    # What runs for a minute isn't worth the better compiler's time.
    quick = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
    told += ("-XX:+UseG1GC",) if options.is_measured else quick
    properties = {
        "cassandra.config": f"file://{conf / 'cassandra.yaml'}",
        "cassandra.storagedir": folder,
        "cassandra.ring_delay_ms": options.ring_delay_ms,
        "cassandra.skip_wait_for_gossip_to_settle": 0,
        "cassandra.consistent.rangemovement": "false",
        "cassandra-foreground": "yes",
        "logback.configurationFile": conf / "logback.xml",
        "jdk.attach.allowAttachSelf": "true",
    }
    if options.jmx_port:
        properties["cassandra.jmx.local.port"] = options.jmx_port
    told += [f"-D{name}={value}" for name, value in properties.items()]
    return [*told, "-cp", f"{jars}/*:{conf}", "org.apache.cassandra.service.CassandraDaemon"]


class CassandraNode:
    """One node on a folder of its own; every start is a new process on the same data. Raises CassandraMissing."""

    def __init__(self, folder: Path, options: NodeOptions) -> None:
        self.options = options
        self.folder = folder
        self.kills = 0
        self._process: subprocess.Popen[bytes] | None = None
        # Looked for at once: who can't run one is told before anything else.
        self._java, self._jars = java(), fetched()

    @property
    def address(self) -> str:
        """host:port of its native protocol."""
        return f"{self.options.address}:{CQL_PORT}"

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        return self._running().pid

    @property
    def output(self) -> str:
        """What all its processes logged."""
        path = self.folder / "node.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process and wait until it answers in the native protocol."""
        self.begin()
        self.wait()

    def begin(self) -> None:
        """Start the process."""
        write_settings(self.folder, self.options.configuration(self.folder))
        with (self.folder / "node.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for whoever started it, who then stops it.
                start_new_session=True,
            )

    def _command(self) -> list[str]:
        command = [self._java, *java_arguments(self.options, self.folder, self._jars)]
        # Who is killed with -9 can't end a node; the kernel does.
        tied = shutil.which("setpriv")
        return [tied, "--pdeathsig", "KILL", *command] if tied else command

    def wait(self) -> None:
        """Wait until the node answers. Raises AssertionError if it ends before, or doesn't within two minutes."""
        process, deadline = self._running(), time.monotonic() + _START_SECONDS
        while not answers(self.options.address):
            if process.poll() is not None:
                raise AssertionError(f"the node ended with {process.returncode}:\n{self.output[-4000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"the node does not answer:\n{self.output[-4000:]}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)

    def stop(self) -> None:
        """SIGTERM, and wait; does nothing if it doesn't run."""
        if not self.is_running:
            return
        process = self._running()
        process.terminate()
        # Who is stopped short does not hear SIGTERM.
        os.kill(process.pid, signal.SIGCONT)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """kill -9."""
        process = self._running()
        process.kill()
        process.wait()
        self.kills += 1

    def discard(self) -> None:
        """Kill it if it runs: its data is not needed any more."""
        if self.is_running:
            self.kill()

    def freeze(self) -> None:
        """SIGSTOP: from now on it takes in what it is sent and answers nobody, neither clients nor other nodes."""
        os.kill(self._running().pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        os.kill(self._running().pid, signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise AssertionError("the node was never started")
        return self._process


def answers(host: str, port: int = CQL_PORT) -> bool:
    """Whether somebody there answers OPTIONS of the native protocol."""
    try:
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.settimeout(5)
            connection.sendall(struct.pack(">BBhBI", 4, 0, 0, 0x05, 0))
            return connection.recv(1) == b"\x84"
    except OSError:
        return False
