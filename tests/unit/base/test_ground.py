"""Ids, slots, frames and durations: what every room takes for granted."""

import uuid
from itertools import pairwise

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from perdure.base.clock import (
    DURATION_NS_MAX,
    SECOND_NS,
    from_duration,
    from_timestamp,
    to_duration,
    to_timestamp,
)
from perdure.base.entropy import derive_id, derive_timed_id
from perdure.base.framing import CorruptFrame, frame, unframe
from perdure.base.slots import SLOTS, ChainKey, SlotRange, even_ranges, slot_of


def test_a_slot_never_changes() -> None:
    assert slot_of("namespace", "workflow") == ChainKey("namespace", "workflow").slot == 26_734
    assert slot_of("default-id", "order-1") == 55_125
    assert slot_of("a", "bc") != slot_of("ab", "c")


@pytest.mark.parametrize("shards", [1, 2, 3, 7, 64, 65_536])
def test_even_ranges_cover_the_hash_space_without_overlap(shards: int) -> None:
    ranges = even_ranges(shards)
    assert ranges[0].first == 0
    assert ranges[-1].end == SLOTS
    assert all(left.end == right.first for left, right in pairwise(ranges))
    assert max(r.end - r.first for r in ranges) - min(r.end - r.first for r in ranges) <= 1


def test_a_range_holds_its_first_slot_and_not_its_end() -> None:
    assert 5 in SlotRange(5, 7)
    assert 7 not in SlotRange(5, 7)


def test_a_derived_id_depends_on_every_part_and_on_nothing_else() -> None:
    seed = bytes(16)
    assert derive_id(seed, "run", 1) == derive_id(seed, "run", 1)
    others = {derive_id(seed, "run", 2), derive_id(seed, "ru", "n1"), derive_id(bytes(15) + b"\1", "run", 1)}
    assert derive_id(seed, "run", 1) not in others
    assert len(others) == 3


def test_a_timed_id_is_a_uuid_that_tells_its_millisecond() -> None:
    now_ns = 1_700_000_000_123_456_789
    made = uuid.UUID(derive_timed_id(now_ns, bytes(16), "run"))
    assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, now_ns // 1_000_000)
    assert str(made) == derive_timed_id(now_ns + 1, bytes(16), "run")
    assert derive_timed_id(now_ns + 1_000_000, bytes(16), "run") > str(made)
    others = {derive_timed_id(now_ns, bytes(16), "ruin"), derive_timed_id(now_ns, bytes(15) + b"\1", "run")}
    assert len(others - {str(made)}) == 2


def test_a_frame_gives_its_body_back() -> None:
    assert unframe(3, frame(3, b"body"), "a thing") == b"body"


@pytest.mark.parametrize("damage", ["format", "body", "checksum", "length"])
def test_a_damaged_frame_is_refused(damage: str) -> None:
    data = bytearray(frame(3, b"body"))
    if damage == "format":
        data[0] = 4
    elif damage == "length":
        del data[5:]
    else:
        data[-1 if damage == "body" else 2] ^= 1
    with pytest.raises(CorruptFrame, match="a thing"):
        unframe(3, bytes(data), "a thing")


def test_times_and_durations_round_trip() -> None:
    assert from_timestamp(to_timestamp(1_234_567_890_123_456_789)) == 1_234_567_890_123_456_789
    assert from_duration(to_duration(1_500_000_000)) == 1_500_000_000
    assert from_timestamp(Timestamp()) == 0
    assert from_duration(Duration()) == 0


def test_the_longest_duration_of_the_protocol_fits_64_bits() -> None:
    assert from_duration(Duration(seconds=315_576_000_000)) == DURATION_NS_MAX
    assert DURATION_NS_MAX + 4_102_444_800 * SECOND_NS < 2**63
