"""What a payload's values are, and what equals what."""

import msgspec
import pytest
from temporalio.api.common.v1 import Payload

from perdure.visibility.evaluate import custom_values, decode, matches, values
from perdure.visibility.rows import VisibilityRow
from perdure.visibility.tree import And, Equals


def _payload(data: bytes, kind: str = "") -> bytes:
    return Payload(metadata={"type": kind.encode()} if kind else {}, data=data).SerializeToString()


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        (b'"text"', "Keyword", ("text",)),
        (b'["a","b"]', "KeywordList", ("a", "b")),
        (b"[]", "KeywordList", ()),
        (b"12", "Int", (12,)),
        (b"1.5", "Double", (1.5,)),
        (b"true", "Bool", (True,)),
        (b"null", "Keyword", ()),
        (b"", "Keyword", ()),
        (b"{not json", "Keyword", ()),
        (b'{"a":1}', "Keyword", ()),
        (b"36893488147419103232", "Int", (36893488147419103232.0,)),
        (b'"1970-01-01T00:00:01Z"', "Datetime", (1_000_000_000,)),
        (b'"1970-01-01T02:00:00.000000001+02:00"', "Datetime", (1,)),
        (b'"1969-12-31T23:59:59.9Z"', "Datetime", (-100_000_000,)),
        (b'"yesterday"', "Datetime", ()),
        (b"7", "Datetime", ()),
    ],
)
def test_a_payload_is_read_by_its_type(data: bytes, kind: str, expected: tuple[object, ...]) -> None:
    found = decode(_payload(data, kind))
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_what_is_no_payload_has_no_values() -> None:
    assert custom_values({"A": b"\xff\xff", "B": _payload(b"1")}) == {"A": (), "B": (1,)}


def test_an_attribute_that_a_run_lacks_equals_nothing() -> None:
    row = VisibilityRow("ns", "w", "r", 1)
    for name, value in (("CloseTime", 0), ("ParentWorkflowId", ""), ("ExecutionDuration", 0), ("Custom", "")):
        assert values(row, name) == ()
        assert not matches(Equals(name, value), row)


def test_a_predefined_name_hides_a_custom_attribute_of_that_name() -> None:
    row = VisibilityRow("ns", "w", "r", 1, search_attributes={"WorkflowId": _payload(b'"custom"')})
    assert matches(Equals("WorkflowId", "w"), row)
    assert not matches(Equals("WorkflowId", "custom"), row)


def test_no_filter_matches_all_and_a_conjunction_what_all_its_parts_match() -> None:
    row = VisibilityRow("ns", "w", "r", 1, status=2, search_attributes={"N": _payload(msgspec.json.encode(3))})
    assert matches(None, row)
    assert matches(And((Equals("ExecutionStatus", 2), Equals("N", 3))), row)
    assert not matches(And((Equals("ExecutionStatus", 2), Equals("N", "3"))), row)
