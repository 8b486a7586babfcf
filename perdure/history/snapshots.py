"""A run and a pointer as bytes: what a checkpoint holds of them. Ephemeral state is not part of it."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from perdure.base.framing import frame, unframe
from perdure.workflow.state import CurrentRun, Durable, Ephemeral, Facts, Run

FORMAT = 1


class _Stored(msgspec.Struct, array_like=True):
    facts: Facts
    durable: Durable


class _StoredPointer(CurrentRun, frozen=True, omit_defaults=True):
    """`run_id` "" = there is no current run, but there are shared branches."""

    shared: dict[str, int] = msgspec.field(default_factory=dict)


NO_BRANCHES: Mapping[str, int] = MappingProxyType({})
_NOBODY = CurrentRun("", 0, "", 0, "")
_encoder = msgspec.msgpack.Encoder()
_run_decoder = msgspec.msgpack.Decoder(_Stored)
_pointer_decoder = msgspec.msgpack.Decoder(_StoredPointer)


def encode_run(run: Run) -> bytes:
    """The run's facts and durable state."""
    return frame(FORMAT, _encoder.encode(_Stored(run.facts, run.durable)))


def decode_run(data: bytes) -> Run:
    """The run that `data` holds, with nothing ephemeral. Raises CorruptFrame."""
    stored = _run_decoder.decode(unframe(FORMAT, data, "a run's snapshot"))
    return Run(stored.facts, stored.durable, Ephemeral())


def encode_pointer(pointer: CurrentRun | None, shared: Mapping[str, int]) -> bytes | None:
    """The bytes of a pointer and of the chain's shared branches; None if there is neither."""
    if pointer is None and not shared:
        return None
    fields = msgspec.structs.asdict(pointer or _NOBODY)
    return frame(FORMAT, _encoder.encode(_StoredPointer(**fields, shared=dict(shared))))


def decode_pointer(data: bytes) -> tuple[CurrentRun | None, Mapping[str, int]]:
    """(the pointer, the shared branches) that `data` holds. Raises CorruptFrame."""
    stored = _pointer_decoder.decode(unframe(FORMAT, data, "a current-run pointer"))
    shared = stored.shared or NO_BRANCHES
    if not stored.run_id:
        return None, shared
    return CurrentRun(*(getattr(stored, name) for name in CurrentRun.__struct_fields__)), shared
