"""The filter tree as SQL over the tables `run` and `run_attribute`: the same rows as
`perdure.visibility.evaluate.matches`.
"""

from typing import Any

from perdure.visibility.evaluate import ALWAYS, EXECUTION_DURATION, OPTIONAL, kind_of, stored_value
from perdure.visibility.tree import And, Equals, Filter

_COLUMNS = {
    "workflow_id": "workflow_id",
    "run_id": "run_id",
    "workflow_type": "workflow_type",
    "task_queue": "task_queue",
    "status": "status",
    "history_length": "history_length",
    "history_bytes": "history_bytes",
    "state_transitions": "state_transitions",
    "start_time_ns": "start_ns",
    "execution_time_ns": "execution_ns",
    "close_time_ns": "close_ns",
    "parent_workflow_id": "parent_workflow_id",
    "parent_run_id": "parent_run_id",
    "root_workflow_id": "root_workflow_id",
    "root_run_id": "root_run_id",
}
_TEXT = frozenset(column for column in _COLUMNS.values() if column.endswith(("_id", "_type", "_queue")))
_NUMBERS = {name: _COLUMNS[field] for name, field in {**ALWAYS, **OPTIONAL}.items()}
_NUMBERS[EXECUTION_DURATION] = "(close_ns - coalesce(execution_ns, 0))"

_NEVER: tuple[str, list[Any]] = ("0", [])


def where(condition: Filter | None) -> tuple[str, list[Any]]:
    """An expression that is true for the rows that match, and its parameters."""
    if condition is None:
        return "1", []
    if isinstance(condition, And):
        parts = [_equals(part) for part in condition.parts]
        return " AND ".join(["1", *(text for text, _ in parts)]), [value for _, values in parts for value in values]
    return _equals(condition)


def _equals(condition: Equals) -> tuple[str, list[Any]]:
    value = stored_value(condition.value)
    kind = kind_of(value)
    column = _NUMBERS.get(condition.attribute)
    if column is None:
        found = "id IN (SELECT run FROM run_attribute WHERE name = ? AND kind = ? AND value = ?)"
        return found, [condition.attribute, kind, value]
    # SQLite would convert one type into the other.
    if kind != ("s" if column in _TEXT else "n"):
        return _NEVER
    if condition.attribute in OPTIONAL and not value:
        return _NEVER
    return f"{column} = ?", [value]
