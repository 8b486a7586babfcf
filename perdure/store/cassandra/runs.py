"""A list row as Cassandra's table `run` holds it: facts, the rest, and the terms that its index knows it by.

Invariant: a row has a term exactly if `evaluate.matches` says that it matches the condition behind it, for every
condition that `has_term`. A term is a digest over namespace, attribute, kind and value, so terms of all
namespaces share one index. Knows no statement.
"""

from base64 import b85encode
from hashlib import blake2b

import msgspec

from perdure.visibility.evaluate import ALWAYS, OPTIONAL, PREDEFINED, Value, custom_values, kind_of, stored_value
from perdure.visibility.rows import VisibilityRow
from perdure.visibility.tree import Equals

# A rest beyond this lies apart, so that a span's rows stay small whatever memos there are.
REST_INLINE_MAX = 2_048
_TERM_BYTES = 16
# Attributes of every run that have terms, the most telling first. The others are compared row by row.
INDEXED = ("RunId", "WorkflowId", "ParentWorkflowId", "RootWorkflowId", "WorkflowType", "ExecutionStatus")
_FIELDS = [(name, {**ALWAYS, **OPTIONAL}[name], name in OPTIONAL) for name in INDEXED]


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """The small part of a row: the fields of `VisibilityRow` of the same names. Stored: grows at its end."""

    workflow_id: str
    version: int
    workflow_type: str
    task_queue: str
    status: int
    execution_time_ns: int
    close_time_ns: int
    history_length: int
    history_bytes: int
    state_transitions: int
    parent_workflow_id: str
    parent_run_id: str
    root_workflow_id: str
    root_run_id: str


class Rest(msgspec.Struct, frozen=True, array_like=True):
    """The part that may be large."""

    memo: bytes
    search_attributes: dict[str, bytes]


_encoder = msgspec.msgpack.Encoder()
_facts = msgspec.msgpack.Decoder(Facts)
_rest = msgspec.msgpack.Decoder(Rest)


def encode_facts(row: VisibilityRow) -> bytes:
    """The row's facts."""
    return _encoder.encode(
        Facts(
            row.workflow_id,
            row.version,
            row.workflow_type,
            row.task_queue,
            row.status,
            row.execution_time_ns,
            row.close_time_ns,
            row.history_length,
            row.history_bytes,
            row.state_transitions,
            row.parent_workflow_id,
            row.parent_run_id,
            row.root_workflow_id,
            row.root_run_id,
        )
    )


def encode_rest(row: VisibilityRow) -> bytes:
    """The row's rest; never empty."""
    return _encoder.encode(Rest(row.memo, row.search_attributes))


def row_of(namespace_id: str, start_ns: int, run_id: str, facts: bytes, rest: bytes) -> VisibilityRow:
    """The row again; without memo and custom attributes where `rest` is empty."""
    known = _facts.decode(facts)
    more = _rest.decode(rest) if rest else Rest(b"", {})
    return VisibilityRow(
        namespace_id,
        known.workflow_id,
        run_id,
        known.version,
        workflow_type=known.workflow_type,
        task_queue=known.task_queue,
        status=known.status,
        start_time_ns=start_ns,
        execution_time_ns=known.execution_time_ns,
        close_time_ns=known.close_time_ns,
        history_length=known.history_length,
        history_bytes=known.history_bytes,
        state_transitions=known.state_transitions,
        parent_workflow_id=known.parent_workflow_id,
        parent_run_id=known.parent_run_id,
        root_workflow_id=known.root_workflow_id,
        root_run_id=known.root_run_id,
        memo=more.memo,
        search_attributes=more.search_attributes,
    )


def terms_of(row: VisibilityRow) -> set[str]:
    """All terms of the row."""
    found = set()
    for name, field, optional in _FIELDS:
        value = getattr(row, field)
        if value or not optional:
            found.add(_digest(row.namespace_id, name, value))
    if row.search_attributes:
        for name, values in custom_values(row.search_attributes).items():
            if name not in PREDEFINED:
                found.update(_digest(row.namespace_id, name, value) for value in values)
    return found


def has_term(condition: Equals) -> bool:
    """Whether there is a term for it; else rows have to be compared one by one."""
    return condition.attribute in INDEXED or condition.attribute not in PREDEFINED


def term(namespace_id: str, condition: Equals) -> str:
    """The term of the namespace's runs that match."""
    return _digest(namespace_id, condition.attribute, stored_value(condition.value))


def _digest(namespace_id: str, name: str, value: Value) -> str:
    kind = kind_of(value)
    if kind == "n" and isinstance(value, float) and value.is_integer() and abs(value) < 1 << 63:
        value = int(value)  # 4 is 4.0
    # No value is cut into another's name: lengths come first.
    text = f"{len(namespace_id)}:{len(name)}:{namespace_id}{name}{kind}{value!r}"
    return b85encode(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_TERM_BYTES).digest()).decode()
