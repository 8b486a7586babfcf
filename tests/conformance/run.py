"""Run scenarios on one server and print their transcripts: `python -m tests.conformance.run --address HOST:PORT NAME`.

Without an address the reference server is started for the run; `--perdure` starts Perdure instead. Without names every
scenario runs. `--against HOST:PORT` runs them on a second server too, and prints the differences instead. `--write`
puts each transcript into a file of a folder. `--list` prints the names.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.conformance.harness.rpc import Client
from tests.conformance.harness.scenario import Scenario, load, run_all
from tests.conformance.harness.servers import Server, perdure_command, prepare, reference_command, running
from tests.conformance.harness.transcript import difference


def arguments() -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(prog="tests.conformance.run", description=__doc__)
    parser.add_argument("names", nargs="*", help="scenarios or topics; none: all")
    parser.add_argument("--address", help="host:port of a server that runs already")
    parser.add_argument("--against", help="host:port of a second server, to print differences")
    parser.add_argument("--perdure", action="store_true", help="start Perdure instead of the reference")
    parser.add_argument("--store", help="for --perdure: where it keeps its data, as `perdure dev --store` takes it")
    parser.add_argument("--write", type=Path, help="a folder for the transcripts")
    parser.add_argument("--list", action="store_true", help="print the names of the scenarios")
    return parser.parse_args()


def chosen(names: list[str]) -> list[Scenario]:
    """The scenarios of these names or topics; all of them for no name."""
    known = load()
    for name in names:
        if not any(name in (one.name, one.topic) for one in known.values()):
            raise SystemExit(f"no scenario or topic is called {name}")
    return [one for one in known.values() if not names or one.name in names or one.topic in names]


@contextlib.asynccontextmanager
async def server(given: argparse.Namespace) -> AsyncIterator[Server]:
    """The server to run on: the one at the address, or one of its own."""
    if given.address:
        yield Server("server", given.address)
    elif given.perdure:
        more = ["--store", given.store] if given.store else []
        async with running("perdure", perdure_command(), *more) as started:
            yield started
    else:
        async with running("reference", reference_command()) as started:
            yield started


async def transcripts(listed: list[Scenario], address: str) -> dict[str, str]:
    """Transcripts of these scenarios on the server at an address, topic by topic."""
    client = Client(address)
    texts: dict[str, str] = {}
    try:
        await prepare(client)
        for topic in dict.fromkeys(one.topic for one in listed):
            texts |= await run_all((one for one in listed if one.topic == topic), client)
    finally:
        await client.close()
    return texts


async def main(given: argparse.Namespace) -> None:
    """Run what the command line asks for, and print it."""
    listed = chosen(given.names)
    async with server(given) as one:
        texts = await transcripts(listed, one.address)
    others = await transcripts(listed, given.against) if given.against else {}
    for name, text in texts.items():
        if given.write:
            given.write.mkdir(parents=True, exist_ok=True)
            (given.write / f"{name}.txt").write_text(text)
        shown = difference(text, others[name], one.address, given.against) or "equal\n" if given.against else text
        sys.stdout.write(f"=== {name}\n{shown}\n")


if __name__ == "__main__":
    options = arguments()
    if options.list:
        sys.stdout.write("".join(f"{one.topic} {one.name}\n" for one in chosen(options.names)))
    else:
        asyncio.run(main(options))
