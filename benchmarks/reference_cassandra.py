"""The reference server on Cassandra, from programs that somebody has built: no package holds them.

A folder is expected to have `temporal-server`, `temporal-cassandra-tool` and `schema`, the reference's
schema/cassandra/temporal/versioned. All roles run in one process; lists of runs are in SQLite in memory, since the
reference keeps none in Cassandra, so that its figures lack what they would cost.
"""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest

from benchmarks.calls import CallFailed, Calls
from benchmarks.cassandra_node import MeasuredNode
from benchmarks.one_activity import start_request
from benchmarks.servers import Server, free_port, started

NAME = "reference"
_KEYSPACE = "reference_bench"
_SHARDS = 64
_ROLES = ("frontend", "history", "matching", "worker")
_READY_SECONDS = 60.0


def configuration(host: str, cql_port: int, port: int) -> dict[str, object]:
    """The reference's configuration, with a frontend on `port`."""
    ports = {role: (port if role == "frontend" else free_port(), free_port()) for role in _ROLES}
    in_memory = {
        "pluginName": "sqlite",
        "databaseName": "visibility",
        "connectAddr": "localhost",
        "connectProtocol": "tcp",
        "connectAttributes": {"mode": "memory", "cache": "private", "setup": "true"},
        "maxConns": 1,
        "maxIdleConns": 1,
        "maxConnLifetime": "1h",
    }
    cluster = {"enabled": True, "initialFailoverVersion": 1, "rpcName": "frontend", "rpcAddress": f"127.0.0.1:{port}"}
    return {
        "log": {"stdout": True, "level": "error"},
        "persistence": {
            "defaultStore": "main",
            "visibilityStore": "lists",
            "numHistoryShards": _SHARDS,
            "datastores": {
                "main": {"cassandra": {"hosts": host, "port": cql_port, "keyspace": _KEYSPACE}},
                "lists": {"sql": in_memory},
            },
        },
        "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
        "services": {
            role: {"rpc": {"grpcPort": rpc, "membershipPort": membership, "bindOnLocalHost": True}}
            for role, (rpc, membership) in ports.items()
        },
        "clusterMetadata": {
            "enableGlobalNamespace": False,
            "failoverVersionIncrement": 10,
            "masterClusterName": "active",
            "currentClusterName": "active",
            "clusterInformation": {"active": cluster},
        },
        "dcRedirectionPolicy": {"policy": "noop"},
    }


def apply_schema(programs: Path, node: MeasuredNode) -> None:
    """Make the reference's keyspace and tables with its own tool."""
    host, _, port = node.server.address.rpartition(":")
    tool = [str(programs / "temporal-cassandra-tool"), "--ep", host, "--port", port]
    for arguments in (
        ["create-keyspace", "--keyspace", _KEYSPACE, "--replication-factor", "1"],
        ["--keyspace", _KEYSPACE, "setup-schema", "--version", "0.0"],
        ["--keyspace", _KEYSPACE, "update-schema", "--schema-dir", str(programs / "schema")],
    ):
        done = subprocess.run([*tool, *arguments], capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")


@contextmanager
def running_reference(programs: Path, node: MeasuredNode) -> Iterator[Server]:
    """Start it on `node`, with the namespace `default`; kill it afterwards."""
    apply_schema(programs, node)
    version = subprocess.run([programs / "temporal-server", "--version"], capture_output=True, text=True, check=True)

    def command(port: int, folder: str) -> list[str]:
        host, _, cql_port = node.server.address.rpartition(":")
        file = Path(folder) / "server.yaml"
        file.write_text(yaml.safe_dump(configuration(host, int(cql_port), port)))
        return [str(programs / "temporal-server"), "--config-file", str(file), "--allow-no-auth", "start"]

    with started(f"{NAME} {version.stdout.split()[-1]}", command) as server:
        asyncio.run(_make_namespace(server))
        yield server


async def _make_namespace(server: Server) -> None:
    """Register `default`, and wait until workflows can be started in it."""
    calls = await Calls.connect(server.address)
    request = RegisterNamespaceRequest(
        namespace="default", workflow_execution_retention_period=Duration(seconds=24 * 3600)
    )
    end = time.monotonic() + _READY_SECONDS
    for method, body in (
        ("RegisterNamespace", request.SerializeToString()),
        ("StartWorkflowExecution", start_request("first")),
    ):
        while True:
            try:
                await calls.call(method, body, timeout_s=10)
                break
            except CallFailed:
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.5)
    calls.close()
