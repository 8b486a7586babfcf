"""A cluster of processes by role for a person to play with, and for suites that take an address: `make cluster`.

It runs on a node of Cassandra that runs already (`make cassandra`), in a keyspace that is dropped at the end, until
Ctrl-C.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.cassandra.cql import drop_keyspace
from tests.cassandra.fixtures import Contact, Keyspace
from tests.cassandra.node import answers
from tests.conformance.harness.servers import cluster_settings
from tests.e2e.clusters import cluster_of

_ROLES = ("frontend", "history", "matching")


def arguments() -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(prog="make cluster", description=__doc__)
    for role, count in zip(_ROLES, (1, 2, 1), strict=True):
        parser.add_argument(f"--{role}", type=int, default=count, metavar="N", help=f"processes of this role: {count}")
    parser.add_argument("--cassandra", default="127.0.0.1", metavar="HOST", help="a node that runs")
    parser.add_argument("--keyspace", default="perdure_cluster")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument(
        "--dynamic-config-value", action="append", default=[], metavar="KEY=JSON", help="as of `perdure dev`"
    )
    parser.add_argument(
        "--conformance", action="store_true", help="with the settings that tests/conformance --perdure-address wants"
    )
    return parser.parse_args()


def settings_of(given: argparse.Namespace) -> dict[str, object]:
    """The configuration of each process."""
    parts = (setting.partition("=") for setting in given.dynamic_config_value)
    values = {key: json.loads(value) for key, _, value in parts}
    settings = cluster_settings(values) if given.conformance else {"dynamic": {"values": values}}
    return {"history": {"shards": given.shards}, **settings}


async def run(given: argparse.Namespace) -> None:
    """Start the processes, tell where they are, and wait until this one is told to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    counts = {role: getattr(given, role) for role in _ROLES}
    keyspace = Keyspace(Contact(given.cassandra), given.keyspace)
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with cluster_of(keyspace, Path(folder), settings=settings_of(given), **counts) as cluster:
                sys.stdout.write(f"frontends: {', '.join(cluster.frontends)}; logs in {folder}. Ctrl-C ends it.\n")
                sys.stdout.flush()
                await stop.wait()
                await cluster.stop()
    finally:
        drop_keyspace(keyspace.contact.host, keyspace.name, keyspace.contact.port)


def main() -> None:
    """The command line."""
    given = arguments()
    if not answers(given.cassandra):
        raise SystemExit(f"no Cassandra serves on {given.cassandra}: make cassandra")
    asyncio.run(run(given))


if __name__ == "__main__":
    main()
