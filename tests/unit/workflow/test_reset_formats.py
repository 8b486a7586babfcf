"""What resets added to stored formats: what was written before there were any is still read."""

import msgspec

from perdure.base.framing import frame
from perdure.base.slots import ChainKey
from perdure.history.snapshots import FORMAT as STORED
from perdure.history.snapshots import decode_pointer, encode_pointer
from perdure.workflow.state import CurrentRun, HistorySegment
from perdure.workflow.steps import FORMAT, Delete, Mutation, Record, decode_record, encode_record

POINTER = CurrentRun("run", 1, "start", 5, "first")


def test_a_record_of_before_resets_is_read() -> None:
    old = [["ns", "wf"], 7, 8, [["run", [["x"]], []]], msgspec.to_builtins(POINTER)]
    record = decode_record(frame(FORMAT, msgspec.msgpack.encode(old)))
    assert record == Record(ChainKey("ns", "wf"), 7, 8, [Mutation("run", [Delete(None)])], POINTER)


def test_a_record_keeps_what_goes_and_what_is_shared() -> None:
    record = Record(ChainKey("ns", "wf"), 7, 8, [Mutation("run", [Delete(("a", "b"))])], None, {"c": 2})
    assert decode_record(encode_record(record)) == record


def test_a_segment_of_before_resets_is_its_own_run_s() -> None:
    old = msgspec.msgpack.encode(["branch", 1, 0])
    assert msgspec.msgpack.decode(old, type=HistorySegment) == HistorySegment("branch")


def test_a_pointer_of_before_resets_shares_nothing() -> None:
    old = frame(STORED, msgspec.msgpack.encode(POINTER))
    assert decode_pointer(old) == (POINTER, {})


def test_a_pointer_is_kept_with_what_is_shared_also_where_there_is_no_current_run() -> None:
    for pointer in (POINTER, None):
        stored = encode_pointer(pointer, {"a": 2})
        assert stored is not None
        assert decode_pointer(stored) == (pointer, {"a": 2})
    assert encode_pointer(None, {}) is None
