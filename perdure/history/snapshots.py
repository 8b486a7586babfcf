"""A run and a pointer as bytes: what a checkpoint holds of them. Ephemeral state is not part of it."""

import msgspec

from perdure.base.framing import frame, unframe
from perdure.workflow.state import CurrentRun, Durable, Ephemeral, Facts, Run

FORMAT = 1


class _Stored(msgspec.Struct, array_like=True):
    facts: Facts
    durable: Durable


_encoder = msgspec.msgpack.Encoder()
_run_decoder = msgspec.msgpack.Decoder(_Stored)
_pointer_decoder = msgspec.msgpack.Decoder(CurrentRun)


def encode_run(run: Run) -> bytes:
    """The run's facts and durable state."""
    return frame(FORMAT, _encoder.encode(_Stored(run.facts, run.durable)))


def decode_run(data: bytes) -> Run:
    """The run that `data` holds, with nothing ephemeral. Raises CorruptFrame."""
    stored = _run_decoder.decode(unframe(FORMAT, data, "a run's snapshot"))
    return Run(stored.facts, stored.durable, Ephemeral())


def encode_pointer(pointer: CurrentRun) -> bytes:
    """The pointer's bytes."""
    return frame(FORMAT, _encoder.encode(pointer))


def decode_pointer(data: bytes) -> CurrentRun:
    """The pointer that `data` holds. Raises CorruptFrame."""
    return _pointer_decoder.decode(unframe(FORMAT, data, "a current-run pointer"))
