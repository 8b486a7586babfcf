"""How many queries of Grafana dashboards have data here: `python -m tests.e2e.dashboards FOLDER`.

The folder holds dashboards as JSON files. A real Prometheus scrapes a real server under load, unless it is told what
to scrape. Queries for metrics that are not exported are told apart from those that found nothing.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import promql_parser
from temporalio.client import Client

from perdure.base.series import table
from tests.e2e.commands import running
from tests.e2e.metric_load import play, workers
from tests.e2e.processes import free_port
from tests.e2e.prometheus import Prometheus, plain, queries, selected

_SUFFIXES = ("_bucket", "_count", "_sum")
_NAMES = {definition.name for definition in table()}


def say(line: str) -> None:
    """To standard output: it is this program's."""
    sys.stdout.write(f"{line}\n")


def is_exported(name: str) -> bool:
    """Whether there is such a metric, also as a part of a histogram."""
    return name in _NAMES or any(name.removesuffix(suffix) in _NAMES for suffix in _SUFFIXES)


def asked_for(query: str) -> list[str]:
    """The names of all metrics of a query; "" where it is a pattern."""
    return [selector.name or "" for selector in selected(promql_parser.parse(query))]


def read(folder: Path) -> dict[str, list[str]]:
    """The queries of each file."""
    return {
        path.name: [plain(query) for query in queries(json.loads(path.read_text()))] for path in folder.glob("*.json")
    }


def selectors(folder: Path) -> Counter[str]:
    """What all queries select, and how many of them do."""
    return Counter(
        text
        for found in read(folder).values()
        for query in found
        for text in {str(selector) for selector in selected(promql_parser.parse(query))}
    )


async def tell(prometheus: Prometheus, folder: Path) -> None:
    """Print, for each file, how many queries have data, and which ones don't."""
    all_, here, full = 0, 0, 0
    for name, found in sorted(read(folder).items()):
        known = [query for query in found if any(not each or is_exported(each) for each in asked_for(query))]
        empty = [query for query in known if not await prometheus.has(query)]
        all_, here, full = all_ + len(found), here + len(known), full + len(known) - len(empty)
        with_data = len(known) - len(empty)
        say(f"{name}: {len(found)} queries, {len(known)} for metrics that are exported, {with_data} with data")
        for query in empty:
            say(f"    no data: {query}")
    say(f"all: {all_} queries, {here} for metrics that are exported, {full} with data")


async def main(arguments: Sequence[str] | None = None) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make dashboards")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", action="append", default=[], metavar="HOST:PORT", help="scrape this")
    parser.add_argument("--address", default="", help="the frontend that gets the load, with --target")
    parser.add_argument("--seconds", type=int, default=30, help="of load")
    parser.add_argument("--selectors", action="store_true", help="print what the queries select, and nothing else")
    options = parser.parse_args(arguments)
    if options.selectors:
        for text, count in sorted(selectors(options.folder).items()):
            say(f"{count} {text}")
        return
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        if options.target:
            await measure(folder, options.target, options.address, options)
            return
        port = free_port()
        async with running(["dev", "--port", "0", "--metrics-port", str(port)], folder) as server:
            await measure(folder, [f"127.0.0.1:{port}"], server.address, options)


async def measure(folder: Path, targets: Sequence[str], address: str, options: argparse.Namespace) -> None:
    """Load, scrape, ask."""
    prometheus = Prometheus(folder, targets)
    await prometheus.start()
    try:
        await prometheus.scraped(2)
        if address:
            client = await Client.connect(address)
            async with workers(client):
                run = os.urandom(4).hex()
                begun, number = asyncio.get_running_loop().time(), 0
                while asyncio.get_running_loop().time() - begun < options.seconds:
                    await play(client, f"{run}-{number}")
                    number += 1
        await prometheus.scraped(3)
        await tell(prometheus, options.folder)
    finally:
        await prometheus.stop()


if __name__ == "__main__":
    asyncio.run(main())
