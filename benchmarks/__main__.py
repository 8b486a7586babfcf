"""All measurements beside the reference server: `python -m benchmarks [--quick] [--rounds 3] [--write]`.

The servers take turns within each case, and each measurement has a server of its own. `--write` keeps the tables as
`benchmarks/results.md`.
"""

import argparse
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from benchmarks import idle, one_activity, sdk_worker, signals, updates
from benchmarks.report import Figures, machine, merged, table
from benchmarks.servers import SERVERS, Server, running

RESULTS = Path(__file__).with_name("results.md")
_EXPLAINED = "Ratios say how many times better than the reference's row; they mean something, absolute figures little."
_Row = TypeVar("_Row")


def each(names: list[str], measure: Callable[[Server], Coroutine[Any, Any, _Row]]) -> list[_Row]:
    """Measure one server after the other."""
    rows = []
    for name in names:
        with running(name) as server:
            rows.append(uvloop.run(measure(server)))
        sys.stderr.write(f"{rows[-1]}\n")
    return rows


def measured(arguments: argparse.Namespace) -> str:
    """All tables as one text."""
    names, seconds = arguments.servers, arguments.seconds
    workflows: list[Figures] = []
    signalled: list[Figures] = []
    updated: list[Figures] = []
    worked: list[Figures] = []
    idled = each(names, lambda server: idle.measure(server, seconds))
    for _ in range(arguments.rounds):
        for count in arguments.in_flight:
            workflows += each(names, lambda server: one_activity.measure(server, count, seconds))  # noqa: B023 - at once
        for count in (1, 20):
            signalled += each(names, lambda server: signals.measure(server, count, arguments.signals))  # noqa: B023 - at once
        for count in (1, 10):
            updated += each(names, lambda server: updates.measure(server, count, arguments.updates))  # noqa: B023 - at once
        worked += each(names, lambda server: sdk_worker.measure(server, 20, seconds))
    rounds = f"{arguments.rounds} round(s) of {seconds:.0f} s a case, the medians of the rounds"
    parts = [
        "# Measured beside the reference",
        f"One run of `make bench`: {rounds}; driver and server on the same machine: {machine()}. {_EXPLAINED}",
        "## One-activity workflows over raw gRPC",
        table(merged(workflows), "in flight", "workflows"),
        f"## {arguments.signals} signals to one workflow",
        table(merged(signalled), "in flight", "signals"),
        f"## {arguments.updates} updates of one workflow, each accepted and completed",
        table(merged(updated), "in flight", "updates"),
        "## One-activity workflows of an official SDK worker",
        table(merged(worked), "in flight", "workflows"),
        "## An idle server",
        idle.table(idled),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--signals", type=int, default=5_000)
    parser.add_argument("--updates", type=int, default=1_500)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--servers", nargs="+", default=list(SERVERS), choices=SERVERS)
    parser.add_argument("--quick", action="store_true", help="a second a case, to see that everything runs")
    parser.add_argument("--write", action="store_true", help="keep the tables as benchmarks/results.md")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.signals, arguments.updates = 1.0, 200, 100
    text = measured(arguments) + "\n"
    sys.stdout.write(text)
    if arguments.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
