"""What the driver writes to the log, as records of ours: a sentence each.

Invariant: no traceback, which would show the values of variables. While it connects, the driver says nothing: whoever
connects tells the cause.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)

_NAME = "cassandra"
# Said by whoever prepared, as the cause of the error.
_TOLD_ELSEWHERE = ("Error preparing query",)


class _Handler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.connecting = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self.connecting:
            return
        text = record.getMessage().rstrip(":")
        if not text.startswith(_TOLD_ELSEWHERE):
            cause = record.exc_info[1] if record.exc_info else None
            details = {} if cause is None else {"cause": str(cause)}
            log.warning("the driver says", text=text, **details)


_handler = _Handler()


@contextmanager
def connecting() -> Iterator[None]:
    """Take the driver's records from here on; drop those that it writes within."""
    driver = logging.getLogger(_NAME)
    if _handler not in driver.handlers:
        driver.addHandler(_handler)
        driver.propagate = False
    _handler.connecting += 1
    try:
        yield
    finally:
        _handler.connecting -= 1
