"""How log records are written: one JSON object a line with `ts level msg service`, or text for people.

Always to stderr; stdout belongs to the lines for people. `service` is the role whose room writes, where it is a role's.
Invariant: as JSON, whatever writes a record, also through the
standard library's `logging` and `warnings`, writes one such line.
"""

import logging
import sys
from typing import Any

import structlog

from perdure.server.console import wants_colour

LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "never": 50}  # nothing of ours is critical


# A room under `perdure` -> the role that it is of.
_SERVICES = {"frontend": "frontend", "history": "history", "shards": "history", "matching": "matching"}


class _Lines(structlog.PrintLogger):
    """Writes lines of one module."""

    def __init__(self, module: str) -> None:
        super().__init__(sys.stderr)
        self.service = _SERVICES.get(module.removeprefix("perdure.").partition(".")[0], "")


def _lines(*arguments: Any) -> _Lines:
    return _Lines(str(arguments[0]) if arguments else "")


def configure(level: str, log_format: str, service: str) -> None:
    """Write records of `level` and above as `json` or `text`. `service`: whose they are that are no role's."""
    number = LEVELS[level]

    def named(logger: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
        event.setdefault("service", getattr(logger, "service", "") or service)
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        last: list[Any] = [named, structlog.processors.format_exc_info, _rename, structlog.processors.JSONRenderer()]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and wants_colour())]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_lines,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(capture=True)


# What our own records call it -> what those who search logs know it by.
_TAGS = {"timestamp": "ts", "event": "msg", "shard": "shard_id"}


def _rename(_: Any, __: str, event: dict[str, Any]) -> dict[str, Any]:
    event.setdefault("event", "")
    return {_TAGS.get(key, key): value for key, value in event.items()}
