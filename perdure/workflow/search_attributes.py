"""Checking search attributes and writing their types into them.

A stored attribute always says its own type (`metadata["type"]`), so that readers need no look-up and history is read as
it was written. Sizes are checked over all attributes of a run together. Source: the reference's validator.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow.context import Context

_KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
_KEYWORD_LIST = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST
TYPE_NAMES: dict[int, str] = {
    IndexedValueType.INDEXED_VALUE_TYPE_TEXT: "Text",
    _KEYWORD: "Keyword",
    IndexedValueType.INDEXED_VALUE_TYPE_INT: "Int",
    IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE: "Double",
    IndexedValueType.INDEXED_VALUE_TYPE_BOOL: "Bool",
    IndexedValueType.INDEXED_VALUE_TYPE_DATETIME: "Datetime",
    _KEYWORD_LIST: "KeywordList",
}
_DECODED: dict[int, Any] = {
    IndexedValueType.INDEXED_VALUE_TYPE_TEXT: str | list[str] | None,
    _KEYWORD: str | list[str] | None,
    IndexedValueType.INDEXED_VALUE_TYPE_INT: int | list[int] | None,
    IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE: float | list[float] | None,
    IndexedValueType.INDEXED_VALUE_TYPE_BOOL: bool | list[bool] | None,
    IndexedValueType.INDEXED_VALUE_TYPE_DATETIME: datetime | list[datetime] | None,
    _KEYWORD_LIST: str | list[str] | None,
}
# Attributes with a meaning to servers or SDKs that callers may set all the same.
PREDEFINED: dict[str, int] = {
    "BatcherNamespace": _KEYWORD,
    "BatcherUser": _KEYWORD,
    "BinaryChecksums": _KEYWORD_LIST,
    "BuildIds": _KEYWORD_LIST,
    "TemporalChangeVersion": _KEYWORD_LIST,
    "TemporalNamespaceDivision": _KEYWORD,
    "TemporalPauseInfo": _KEYWORD_LIST,
    "TemporalReportedProblems": _KEYWORD_LIST,
    "TemporalScheduledById": _KEYWORD,
    "TemporalSchedulePaused": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
    "TemporalScheduledStartTime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
}
# Attributes that the server alone sets.
SYSTEM = frozenset(
    {
        "CloseTime",
        "ExecutionDuration",
        "ExecutionStatus",
        "ExecutionTime",
        "HistoryLength",
        "HistorySizeBytes",
        "ParentRunId",
        "ParentWorkflowId",
        "RootRunId",
        "RootWorkflowId",
        "RunId",
        "StartTime",
        "StateTransitionCount",
        "TaskQueue",
        "TemporalExternalPayloadCount",
        "TemporalExternalPayloadSizeBytes",
        "TemporalUsedWorkerDeploymentVersions",
        "TemporalWorkerDeployment",
        "TemporalWorkerDeploymentVersion",
        "TemporalWorkflowVersioningBehavior",
        "WorkflowId",
        "WorkflowType",
    }
)


def typed(attributes: SearchAttributes, context: Context) -> SearchAttributes:
    """A copy of `attributes` with each value's type in its metadata. Raises InvalidArgument for the first bad one."""
    limit = context.limits.search_attributes_max
    if len(attributes.indexed_fields) > limit:
        raise InvalidArgument(f"number of search attributes {len(attributes.indexed_fields)} exceeds limit {limit}")
    result = SearchAttributes()
    for name, payload in attributes.indexed_fields.items():
        value_type = _type_of(name, context)
        _check(name, payload, value_type)
        copy = result.indexed_fields[name]
        copy.CopyFrom(payload)
        copy.metadata["type"] = TYPE_NAMES[value_type].encode()
    return result


def check_known(attributes: SearchAttributes, context: Context) -> None:
    """Raises InvalidArgument for the first name that the namespace does not have."""
    for name in attributes.indexed_fields:
        if name not in SYSTEM:
            _type_of(name, context)


def check_sizes(fields: Mapping[str, Payload | bytes], limits: Limits) -> None:
    """All attributes of a run together. Raises InvalidArgument for a value or a total over its limit (bytes)."""
    attributes = SearchAttributes()
    for name, value in fields.items():
        payload = Payload.FromString(value) if isinstance(value, bytes) else value
        size, limit = len(payload.data), limits.search_attribute_bytes_max
        if size > limit:
            raise InvalidArgument(f"search attribute {name} value size {size} exceeds size limit {limit}")
        attributes.indexed_fields[name].CopyFrom(payload)
    total, limit = attributes.ByteSize(), limits.search_attributes_bytes_max
    if total > limit:
        raise InvalidArgument(f"total size of search attributes {total} exceeds size limit {limit}")


def _type_of(name: str, context: Context) -> int:
    if name in SYSTEM:
        raise InvalidArgument(f"{name} attribute can't be set in SearchAttributes")
    value_type = context.search_attribute_types.get(name) or PREDEFINED.get(name)
    if value_type is None:
        namespace = context.namespace.name
        raise InvalidArgument(f"Namespace {namespace} has no mapping defined for search attribute {name}")
    return value_type


def _check(name: str, payload: Payload, value_type: int) -> None:
    """A value of the type, a list of such values, or nothing."""
    if not payload.data:
        return
    try:
        msgspec.json.decode(payload.data, type=_DECODED[value_type])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        shown = payload.data.decode(errors="replace").strip('"')
        raise InvalidArgument(
            f"invalid value for search attribute {name} of type {TYPE_NAMES[value_type]}: {shown}"
        ) from error
