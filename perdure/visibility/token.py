"""The token of a list's next page: where the page before ended, as (start time in ns, run id). Opaque to callers."""

from typing import Annotated

import msgspec

from perdure.base.errors import InvalidArgument
from perdure.visibility.rows import VisibilityRow

_encoder = msgspec.msgpack.Encoder()
# Databases know no larger numbers.
_Time = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_decoder = msgspec.msgpack.Decoder(tuple[_Time, str])


def after_row(row: VisibilityRow) -> bytes:
    """The token of the page that follows `row`."""
    return _encoder.encode((row.start_time_ns, row.run_id))


def position_of(token: bytes) -> tuple[int, str] | None:
    """Where the page begins, None for the first. Raises InvalidArgument for what is no such token."""
    if not token:
        return None
    try:
        return _decoder.decode(token)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidArgument("Invalid NextPageToken.") from error
