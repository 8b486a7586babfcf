"""Which search attributes there are, of what types, and what a name in a filter stands for.

`SYSTEM` ones are fields of every run; `PREDEFINED` ones are kept with the custom ones but belong to the server. Their
names can't be registered. Source of both lists: the reference; SDKs, the CLI and the Web UI know them by name.
"""

from collections.abc import Mapping

from temporalio.api.enums.v1 import IndexedValueType

TEXT = IndexedValueType.INDEXED_VALUE_TYPE_TEXT
KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT = IndexedValueType.INDEXED_VALUE_TYPE_INT
DOUBLE = IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE
BOOL = IndexedValueType.INDEXED_VALUE_TYPE_BOOL
DATETIME = IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
KEYWORD_LIST = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST

PREFIX = "Temporal"
SYSTEM: dict[str, IndexedValueType.ValueType] = {
    "WorkflowId": KEYWORD,
    "RunId": KEYWORD,
    "WorkflowType": KEYWORD,
    "StartTime": DATETIME,
    "ExecutionTime": DATETIME,
    "CloseTime": DATETIME,
    "ExecutionStatus": KEYWORD,
    "TaskQueue": KEYWORD,
    "HistoryLength": INT,
    "ExecutionDuration": INT,
    "StateTransitionCount": INT,
    "HistorySizeBytes": INT,
    "ParentWorkflowId": KEYWORD,
    "ParentRunId": KEYWORD,
    "RootWorkflowId": KEYWORD,
    "RootRunId": KEYWORD,
}
# Predefined ones that a caller may set all the same.
SETTABLE: dict[str, IndexedValueType.ValueType] = {
    "TemporalChangeVersion": KEYWORD_LIST,
    "BinaryChecksums": KEYWORD_LIST,
    "BuildIds": KEYWORD_LIST,
    "BatcherNamespace": KEYWORD,
    "BatcherUser": KEYWORD,
    "TemporalScheduledStartTime": DATETIME,
    "TemporalScheduledById": KEYWORD,
    "TemporalSchedulePaused": BOOL,
    "TemporalNamespaceDivision": KEYWORD,
    "TemporalPauseInfo": KEYWORD_LIST,
    "TemporalReportedProblems": KEYWORD_LIST,
}
PREDEFINED: dict[str, IndexedValueType.ValueType] = SETTABLE | {
    "TemporalWorkerDeploymentVersion": KEYWORD,
    "TemporalWorkflowVersioningBehavior": KEYWORD,
    "TemporalWorkerDeployment": KEYWORD,
    "TemporalUsedWorkerDeploymentVersions": KEYWORD_LIST,
    "TemporalExternalPayloadCount": INT,
    "TemporalExternalPayloadSizeBytes": INT,
}
OWN: dict[str, IndexedValueType.ValueType] = SYSTEM | PREDEFINED
_RESERVED = frozenset({"NamespaceId", "MemoEncoding", "Memo", "VisibilityTaskKey"})


def is_reserved(name: str) -> bool:
    """True if `name` can't be a custom attribute's."""
    return name in OWN or name in _RESERVED or name.startswith(PREFIX)


def type_name(value_type: int) -> str:
    """`Keyword` for INDEXED_VALUE_TYPE_KEYWORD: as payload metadata and messages have it; a number if it is unknown."""
    if value_type not in IndexedValueType.values():
        return str(value_type)
    words = IndexedValueType.Name(IndexedValueType.ValueType(value_type)).removeprefix("INDEXED_VALUE_TYPE_")
    return "".join(word.capitalize() for word in words.split("_"))


def resolve(name: str, custom: Mapping[str, int]) -> tuple[str, int] | None:
    """The attribute and its type that `name` in a filter stands for; None if there is none.

    A custom one first, then the server's own, with or without the prefix `Temporal`; `ScheduleId` is the workflow's id.
    """
    if name not in OWN and name in custom:
        return name, custom[name]
    if name in OWN:
        return name, OWN[name]
    if name.removeprefix(PREFIX) == "ScheduleId":
        return "WorkflowId", KEYWORD
    other = name.removeprefix(PREFIX) if name.startswith(PREFIX) else PREFIX + name
    return (other, OWN[other]) if other in OWN else None
