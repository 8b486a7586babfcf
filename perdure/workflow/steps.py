"""The log record: what one decision changes, as an ordered list of steps per run.

Replaying a record's steps on the state they were made from gives the live state without its ephemeral part. Steps
carry results, never instructions: an event's bytes as they will be read for ever, a field's new value, an entry's new
value. So replay does not depend on the decision code of the version that reads it.

A record is a frame (format, checksum) around msgpack. Reading an unknown format or a wrong checksum raises
`CorruptFrame`; nothing is guessed.
"""

from typing import Any

import msgspec

from perdure.base.errors import Bug
from perdure.base.framing import CorruptFrame, frame, unframe
from perdure.base.slots import ChainKey
from perdure.workflow.state import CurrentRun, Durable, Ephemeral, Facts, section_of

FORMAT = 1


class Create(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A new run with this durable state, and empty facts unless it begins as a copy (a reset). Always a run's first
    step.
    """

    durable: Durable
    facts: Facts | None = None


class Append(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """A numbered event (an encoded HistoryEvent) that arrives and is numbered at once."""

    event: bytes


class Buffer(msgspec.Struct, frozen=True, array_like=True, tag="b"):
    """An event that arrives while a workflow task is started: effective now, numbered later (event id 0)."""

    event: bytes


class Unbuffer(msgspec.Struct, frozen=True, array_like=True, tag="u"):
    """The buffered event at `index` never happened: its timer was cancelled."""

    index: int


class Flush(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """The whole buffer gets its ids: these are its events, reordered and numbered. Empty: the buffer is dropped
    (close).
    """

    events: tuple[bytes, ...]


class Assign(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """A durable field's new value."""

    field: str
    value: Any


class Put(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """A durable map's new entry."""

    field: str
    key: Any
    value: Any


class Drop(msgspec.Struct, frozen=True, array_like=True, tag="d"):
    """A durable map's entry is gone."""

    field: str
    key: Any


class Delete(msgspec.Struct, frozen=True, array_like=True, tag="x"):
    """The run is gone, with its history. Always the last step of its run. `branches`: those that no other run lies on
    and that go with it; None = all of the run's, as before there were resets. `start_ns`: when the run started, which a
    list may know it by; 0 = not told, as before there was Cassandra.
    """

    branches: tuple[str, ...] | None = None
    start_ns: int = 0


Step = Create | Append | Buffer | Unbuffer | Flush | Assign | Put | Drop | Delete


class Mutation(msgspec.Struct, array_like=True):
    """What happens to one run. `batches`: how many of its numbered events form each history batch, in order."""

    run_id: str
    steps: list[Step]
    batches: tuple[int, ...] = ()


class Record(msgspec.Struct, array_like=True):
    """All mutations of one decision: all or nothing. `current` is the pointer afterwards, None if there is none.
    `shared`: the chain's shared branches afterwards; None = as before.
    """

    key: ChainKey
    position: int
    time_ns: int
    mutations: list[Mutation]
    current: CurrentRun | None
    shared: dict[str, int] | None = None


def _encode_extra(value: Any) -> Any:
    raise TypeError(f"no {type(value).__name__} in a record")


_encoder = msgspec.msgpack.Encoder(enc_hook=_encode_extra)
_decoder = msgspec.msgpack.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """The framed bytes of a record."""
    return frame(FORMAT, _encoder.encode(record))


def decode_record(data: bytes) -> Record:
    """The record in `data`; field values of deltas have their declared types. Raises CorruptFrame."""
    body = unframe(FORMAT, data, "a log record")
    try:
        record = _decoder.decode(body)
        for mutation in record.mutations:
            mutation.steps = [_typed(step) for step in mutation.steps]
    except (msgspec.MsgspecError, KeyError) as error:
        raise CorruptFrame(f"a log record that this version can't read: {error}") from error
    return record


_FIELD_TYPES: dict[str, Any] = {
    field.name: field.type for struct in (Facts, Durable, Ephemeral) for field in msgspec.structs.fields(struct)
}


def _typed(step: Step) -> Step:
    """`step` with its untyped msgpack values converted to the declared type of the field."""
    match step:
        case Assign(field, value):
            return Assign(field, msgspec.convert(value, _FIELD_TYPES[field], strict=True))
        case Put(field, key, value):
            key_type, value_type = _FIELD_TYPES[field].__args__
            return Put(field, msgspec.convert(key, key_type), msgspec.convert(value, value_type))
        case _:
            return step


def check_durable(field: str) -> None:
    """Raises Bug if a delta names a field that is not declared durable."""
    if section_of(field) != "durable":
        raise Bug(f"a delta writes {field}, which is not durable state")
