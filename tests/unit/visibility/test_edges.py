"""Values and filters at the edge of what numbers and databases hold."""

import msgspec
import pytest
from temporalio.api.common.v1 import Payload

from perdure.base.errors import InvalidArgument
from perdure.visibility.evaluate import decode
from perdure.visibility.literals import duration_ns
from perdure.visibility.parse import parse_filter
from perdure.visibility.token import position_of
from perdure.visibility.tree import Equals


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59Z", "2262-04-11T23:47:16.854775808Z", "0001-01-01T00:00:00+23:59"]
)
def test_a_time_beyond_64_bits_of_nanoseconds_is_kept_as_a_fraction(text: str) -> None:
    payload = Payload(metadata={"type": b"Datetime"}, data=f'"{text}"'.encode())
    (value,) = decode(payload.SerializeToString())
    assert isinstance(value, float)


@pytest.mark.parametrize(("text", "value"), [("9" * 19, 10**19 - 1), ("9" * 100, 1e100), ("-" + "9" * 19, 1 - 10**19)])
def test_whole_numbers_of_any_length_are_read(text: str, value: float) -> None:
    assert parse_filter(f"HistoryLength = {text}", {}) == Equals("HistoryLength", value)


@pytest.mark.parametrize("text", ["9" * 100_000, "-" + "9" * 5000, "1e999999999", "-1e400"])
def test_numbers_beyond_all_numbers_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="out of range"):
        parse_filter(f"HistoryLength = {text}", {})


@pytest.mark.parametrize("text", ["9" * 400 + "s", "9" * 5000 + ":00:00", "1s" * 1000])
def test_durations_of_unreasonable_length_are_none(text: str) -> None:
    assert duration_ns(text) is None


@pytest.mark.parametrize(
    "token",
    [b"\xff", b"\x92\x01\xa2\xff\xfe", msgspec.msgpack.encode((1 << 63, "r")), msgspec.msgpack.encode(("r", 1))],
)
def test_a_forged_token_is_refused(token: bytes) -> None:
    with pytest.raises(InvalidArgument):
        position_of(token)
