"""Search attributes of a start: known names, values of their types, sizes; and the types written beside the values.

History keeps the bytes that come out of here, so a reader never needs the namespace's table to know a value's type.
Messages are the reference's, which shows values as Go prints them.
"""

from typing import Any

import orjson
from temporalio.api.common.v1 import Payload, SearchAttributes

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.cluster.namespaces import Namespace
from perdure.visibility.attributes import BOOL, DATETIME, DOUBLE, INT, KEYWORD_LIST, OWN, SETTABLE, type_name
from perdure.visibility.literals import rfc3339_ns

_INT64 = 1 << 63
_UNREADABLE = object()


def fill_search_attributes(attributes: SearchAttributes, namespace: Namespace, limits: Limits) -> None:
    """Check `attributes` and write each one's type into its metadata. Raises InvalidArgument."""
    fields = attributes.indexed_fields
    if not fields:
        return
    for name in fields:
        if name not in OWN and name not in namespace.search_attributes:
            message = f"Namespace {namespace.name} has no mapping defined for search attribute {name}"
            raise InvalidArgument(message)
    if len(fields) > limits.search_attributes_max:
        raise InvalidArgument(f"number of search attributes {len(fields)} exceeds limit {limits.search_attributes_max}")
    types: dict[str, int] = {}
    for name, payload in fields.items():
        if name in OWN and name not in SETTABLE:
            raise InvalidArgument(f"{name} attribute can't be set in SearchAttributes")
        types[name] = SETTABLE[name] if name in SETTABLE else namespace.search_attributes[name]
        _check_value(name, payload, types[name])
    _check_sizes(attributes, limits)
    for name, payload in fields.items():
        payload.metadata["type"] = type_name(types[name]).encode()


def _check_value(name: str, payload: Payload, value_type: int) -> None:
    value = _decoded(payload)
    if value is _UNREADABLE or not _fits(value, value_type):
        shown = _described(payload) if value is _UNREADABLE else go_text(value)
        message = f"invalid value for search attribute {name} of type {type_name(value_type)}: {shown}"
        raise InvalidArgument(message)


def _check_sizes(attributes: SearchAttributes, limits: Limits) -> None:
    for name, payload in attributes.indexed_fields.items():
        size, limit = len(payload.data), limits.search_attribute_bytes_max
        if size > limit:
            raise InvalidArgument(f"search attribute {name} value size {size} exceeds size limit {limit}")
    total, limit = attributes.ByteSize(), limits.search_attributes_bytes_max
    if total > limit:
        raise InvalidArgument(f"total size of search attributes {total} exceeds size limit {limit}")


def _decoded(payload: Payload) -> Any:
    encoding = payload.metadata.get("encoding", b"")
    if encoding == b"binary/null":
        return None
    if encoding != b"json/plain":
        return _UNREADABLE
    try:
        return orjson.loads(payload.data)
    except orjson.JSONDecodeError:
        return _UNREADABLE


def _fits(value: Any, value_type: int) -> bool:
    """A value of the type, a list of at most one (of any number for a KeywordList), or null, which unsets."""
    if value is None:
        return True
    if value_type == KEYWORD_LIST:
        return isinstance(value, list) and all(item is None or isinstance(item, str) for item in value)
    if isinstance(value, list):
        return not value or (len(value) == 1 and _is_of(value[0], value_type))
    return _is_of(value, value_type)


def _is_of(value: Any, value_type: int) -> bool:
    if value_type == BOOL:
        return isinstance(value, bool)
    if value_type == INT:
        return isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64
    if value_type == DOUBLE:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if value_type == DATETIME:
        return isinstance(value, str) and rfc3339_ns(value) is not None
    return isinstance(value, str)


def go_text(value: Any) -> str:
    """A JSON value as Go's `%v` prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case list():
            return f"[{' '.join(map(go_text, value))}]"
        case dict():
            return f"map[{' '.join(f'{key}:{go_text(value[key])}' for key in sorted(value))}]"
        case _:
            return _go_number(float(value))


def _go_number(number: float) -> str:
    """The shortest form; an exponent below 1e-4 and from 1e21 up."""
    size = abs(number)
    if size != 0 and (size < 1e-4 or size >= 1e21):
        digits, _, exponent = repr(number).partition("e")
        return f"{digits.removesuffix('.0')}e{int(exponent):+03d}" if exponent else f"{number:e}"
    if number == int(number):
        return f"{number:.0f}" if size < 1e20 else repr(number).replace(".0", "")
    return repr(number)


def _described(payload: Payload) -> str:
    """A payload that has no value, in protobuf's text form."""
    parts = [
        f'metadata:{{key:"{key}" value:"{value.decode(errors="replace")}"}}' for key, value in payload.metadata.items()
    ]
    if payload.data:
        data = payload.data.decode(errors="replace").replace("\\", "\\\\").replace('"', '\\"')
        parts.append(f'data:"{data}"')
    return f"value from <{' '.join(parts)}>"
