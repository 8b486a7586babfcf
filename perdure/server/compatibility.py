"""Writes docs/compatibility.md: what of the API is there, read from the code that serves it.

Nothing in the page is maintained by hand but what is stricter than the reference: methods come from the frontend's
table, commands from the handlers' registry, events from the core (what it writes). A test compares the committed page
with `page()`.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path

from google.protobuf.descriptor import ServiceDescriptor
from temporalio.api.enums.v1 import CommandType, EventType

import perdure.workflow
from perdure.frontend.frontend import TOPICS
from perdure.frontend.methods import OPERATOR_SERVICE, WORKFLOW_SERVICE, marked_names
from perdure.workflow.commands import HANDLERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
_HEAD = """\
# Compatibility

Written from the code by `make compat`. What is *not there* answers UNIMPLEMENTED and says so; a field of a request that
can't be carried out is refused by its name. Nothing is accepted and ignored.

The TestService is there, all of it, where a development server is told to skip time: `perdure-test-server`,
`--time-skipping`.
"""
# What is refused, and with which answer.
_STRICTER = (
    (
        "`worker_instance_key` of a poll or of ShutdownWorker, longer than `limit.maxIDLength`",
        "INVALID_ARGUMENT `WorkerInstanceKey length exceeds limit.`",
    ),
    (
        "`deployment_options` of a poll, larger than 2,000 bytes",
        "INVALID_ARGUMENT `DeploymentOptions exceed 2000 bytes.`",
    ),
    (
        "`worker_version_capabilities` of a poll, larger than 2,000 bytes",
        "INVALID_ARGUMENT `WorkerVersionCapabilities exceed 2000 bytes.`",
    ),
    (
        "more than 1,000 heartbeats of workers in one call",
        "INVALID_ARGUMENT `more than 1000 worker heartbeats in one call`",
    ),
    (
        "a sticky queue of a workflow task's answer, longer than `limit.maxIDLength` or with a reserved name",
        "INVALID_ARGUMENT `taskQueue length exceeds limit`, `task queue name cannot start with reserved prefix /_sys/`",
    ),
    (
        "a filter over workers that names an unknown field, or compares one in a way that there is not",
        "INVALID_ARGUMENT; the reference finds nothing",
    ),
    (
        "a namespace that isn't there, named for the first time in a second while the host's limit is met",
        "RESOURCE_EXHAUSTED; the reference asks its store, and answers NOT_FOUND",
    ),
)
_CREATED = re.compile(r"\b(\w+)EventAttributes\(")


def page() -> str:
    """The whole page."""
    served = {name for topic in TOPICS for name in marked_names(topic)}
    parts = [_HEAD]
    parts += [
        _section(service.name, "method", _methods(service, served)) for service in (WORKFLOW_SERVICE, OPERATOR_SERVICE)
    ]
    parts += [_section("Commands", "command", _commands()), _section("Events", "event", _events())]
    return "\n".join([*parts, _stricter()])


def _section(title: str, what: str, rows: Iterable[tuple[str, bool]]) -> str:
    listed = list(rows)
    there = sum(present for _, present in listed)
    lines = [f"## {title}", "", f"{there} of {len(listed)}.", "", f"| {what} | state |", "|---|---|"]
    lines += [f"| {name} | {'there' if present else 'not there'} |" for name, present in listed]
    return "\n".join([*lines, ""])


def _stricter() -> str:
    lines = ["## Refused here and not by the reference", "", "| what | answer |", "|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {answer} |" for what, answer in _STRICTER), ""])


def _methods(service: ServiceDescriptor, served: set[str]) -> Iterable[tuple[str, bool]]:
    return [(method.name, method.name in served) for method in service.methods]


def _commands() -> Iterable[tuple[str, bool]]:
    _sources()
    return [
        (_words(name, "COMMAND_TYPE_"), number in HANDLERS)
        for name, number in sorted(CommandType.items(), key=lambda item: item[1])
        if number
    ]


def _events() -> Iterable[tuple[str, bool]]:
    """An event is there if the core writes it: makes its attributes somewhere."""
    written = {name for source in _sources() for name in _CREATED.findall(source)}
    return [
        (shown, shown in written)
        for name, number in sorted(EventType.items(), key=lambda item: item[1])
        if number and (shown := _words(name, "EVENT_TYPE_"))
    ]


def _words(name: str, prefix: str) -> str:
    return "".join(word.capitalize() for word in name.removeprefix(prefix).split("_"))


def _sources() -> list[str]:
    """The sources of all modules of the core; importing them fills its registries."""
    names = [info.name for info in pkgutil.walk_packages(perdure.workflow.__path__, "perdure.workflow.")]
    return [inspect.getsource(importlib.import_module(name)) for name in names]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
