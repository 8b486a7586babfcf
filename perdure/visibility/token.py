"""A list's pages, and the token of the next one: where the page before ended, as (start time in ns, run id). Opaque to
callers.
"""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from perdure.base.errors import InvalidArgument
from perdure.visibility.rows import PAGE_BYTES_MAX, VisibilityPage, VisibilityRow

_encoder = msgspec.msgpack.Encoder()
# Databases know no larger numbers.
_Time = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_decoder = msgspec.msgpack.Decoder(tuple[_Time, str])


def after_row(row: VisibilityRow) -> bytes:
    """The token of the page that follows `row`."""
    return before((row.start_time_ns, row.run_id))


def before(position: tuple[int, str]) -> bytes:
    """The token of the page of what comes behind (start time in ns, run id), whether a row is there or not."""
    return _encoder.encode(position)


def page_of(rows: Iterable[VisibilityRow], limit: int) -> VisibilityPage:
    """The first of these: `limit` at most, and what fits into `PAGE_BYTES_MAX`, though one at least. Takes no more of
    them than one beyond.
    """
    page: list[VisibilityRow] = []
    size = 0
    for row in rows:
        size += weight(row)
        if len(page) == limit or (page and size > PAGE_BYTES_MAX):
            return VisibilityPage(page, after_row(page[-1]))
        page.append(row)
    return VisibilityPage(page, b"")


def weight(row: VisibilityRow) -> int:
    """What the row counts for against `PAGE_BYTES_MAX`."""
    names = row.workflow_id, row.workflow_type, row.task_queue, row.parent_workflow_id, row.root_workflow_id
    return len(row.memo) + sum(map(len, row.search_attributes.values())) + sum(map(len, names))


def position_of(token: bytes) -> tuple[int, str] | None:
    """Where the page begins, None for the first. Raises InvalidArgument for what is no such token."""
    if not token:
        return None
    try:
        return _decoder.decode(token)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArgument("Invalid NextPageToken.") from error
