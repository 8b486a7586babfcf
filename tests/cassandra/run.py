"""A node for a person to play with: `make cassandra`. It keeps its data in `.cassandra` and runs until Ctrl-C.

`--nodes 3` runs three, on 127.0.0.1 to 127.0.0.3; each number of nodes has data of its own.
"""

import argparse
import shutil
import signal
import sys
import threading
from pathlib import Path

from tests.cassandra.cluster import CassandraCluster
from tests.cassandra.jars import CassandraMissing
from tests.cassandra.node import answers

_KEYSPACE = "perdure"


def arguments() -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(prog="make cassandra", description=__doc__)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1)
    parser.add_argument("--address", default="127.0.0.1", help="of the first node; the others follow")
    parser.add_argument("--folder", type=Path, default=Path(".cassandra"), help="where the data is kept")
    parser.add_argument("--fresh", action="store_true", help="throw away what is kept there")
    parser.add_argument("--heap", type=int, default=512, metavar="MB", help="of each node")
    return parser.parse_args()


def main() -> None:
    """The command line."""
    given = arguments()
    net, _, host = given.address.rpartition(".")
    addresses = [f"{net}.{int(host) + number}" for number in range(given.nodes)]
    for address in addresses:
        if answers(address):
            raise SystemExit(f"a Cassandra serves on {address} already: perdure dev --store {_url(address)}")
    folder = given.folder.absolute() / f"{given.nodes}-{given.address}"
    if given.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    try:
        cluster = CassandraCluster(folder, addresses, heap_mb=given.heap)
    except CassandraMissing as missing:
        raise SystemExit(str(missing)) from None
    try:
        cluster.start()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        sys.stdout.write(
            f"Cassandra serves on {', '.join(addresses)}, with its data in {folder}. Ctrl-C ends it.\n"
            f"    .venv/bin/perdure dev --store {_url(addresses[0])}\n"
        )
        sys.stdout.flush()
        while not stop.wait(1.0) and all(node.is_running for node in cluster.nodes):
            continue
        for node in cluster.nodes:
            if not stop.is_set() and not node.is_running:
                sys.stderr.write(f"the node on {node.address} has ended: {node.folder / 'node.log'}\n")
    finally:
        cluster.stop()


def _url(address: str) -> str:
    return f"cassandra://{address}/{_KEYSPACE}"


if __name__ == "__main__":
    main()
