"""A run's row and its terms: the same runs as `evaluate.matches` finds, and the same row again."""

import msgspec
import pytest

from perdure.store.cassandra.runs import encode_facts, encode_rest, has_term, row_of, term, terms_of
from perdure.testing.store_contract.visibility import payload
from perdure.visibility.evaluate import ALWAYS, EXECUTION_DURATION, OPTIONAL, matches
from perdure.visibility.rows import VisibilityRow
from perdure.visibility.tree import Equals

FULL = VisibilityRow(
    "ns",
    "w",
    "run",
    7,
    workflow_type="T",
    task_queue="q",
    status=2,
    start_time_ns=5,
    execution_time_ns=6,
    close_time_ns=9,
    history_length=11,
    history_bytes=12,
    state_transitions=13,
    parent_workflow_id="p",
    parent_run_id="p-run",
    root_workflow_id="root",
    root_run_id="root-run",
    memo=b"\x00memo",
    search_attributes={
        "Text": payload("a", "Keyword"),
        "Tags": payload(["red", "b'lue"], "KeywordList"),
        "Whole": payload(4, "Int"),
        "Part": payload(-0.0, "Double"),
        "Large": payload((1 << 53) + 1, "Int"),
        "Huge": payload(1 << 80, "Int"),
        "Flag": payload(True, "Bool"),
        "Due": payload("2024-05-06T07:08:09.123456789+02:00", "Datetime"),
        "Nothing": payload(None),
        "WorkflowId": payload("not this one", "Keyword"),
    },
)
PLAIN = VisibilityRow("ns", "w2", "run2", 1)
NAMES = [*ALWAYS, *OPTIONAL, EXECUTION_DURATION, *FULL.search_attributes, "Unknown"]
VALUES: list[str | int | float | bool] = [
    *("", "w", "run", "T", "q", "p", "root", "a", "red", "b'lue", "b", "4", "True", "not this one"),
    *(0, 1, 2, 4, 5, 11, (1 << 53) + 1, 1 << 53, 1 << 80, -(1 << 63), 1_714_972_089_123_456_789),
    *(0.0, -0.0, 1.0, 2.0, 4.0, 4.5, float(1 << 53), float(1 << 80), float("inf"), True, False),
]


def test_a_row_has_a_term_exactly_if_it_matches() -> None:
    wrong = [
        (row.run_id, condition)
        for row in (FULL, PLAIN)
        for name in NAMES
        for value in VALUES
        if has_term(condition := Equals(name, value))
        and (term("ns", condition) in terms_of(row)) != matches(condition, row)
    ]
    assert wrong == []


def test_another_namespace_has_other_terms() -> None:
    assert terms_of(FULL).isdisjoint(terms_of(msgspec.structs.replace(FULL, namespace_id="other")))
    assert term("a", Equals("bc", "d")) != term("ab", Equals("c", "d"))


def test_what_is_compared_row_by_row_is_in_the_facts() -> None:
    facts = row_of("ns", FULL.start_time_ns, FULL.run_id, encode_facts(FULL), b"")
    for name in [*ALWAYS, *OPTIONAL, EXECUTION_DURATION]:
        for value in VALUES:
            condition = Equals(name, value)
            assert matches(condition, facts) == matches(condition, FULL), condition


@pytest.mark.parametrize("row", [FULL, PLAIN], ids=["full", "plain"])
def test_a_row_comes_back_whole(row: VisibilityRow) -> None:
    assert row_of("ns", row.start_time_ns, row.run_id, encode_facts(row), encode_rest(row)) == row
