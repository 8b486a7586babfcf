"""The filter language. Messages are the reference server's own answers, positions included."""

import pytest

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.visibility.literals import duration_ns, rfc3339_ns
from perdure.visibility.parse import Count, parse_count, parse_filter
from perdure.visibility.tree import And, Equals

CUSTOM = {"K1": 2, "T1": 1, "I1": 3, "D1": 4, "B1": 5, "DT": 6, "KL": 7}
NOON_NS = 1_577_836_800_000_000_000


@pytest.mark.parametrize(
    ("query", "attribute", "value"),
    [
        ("WorkflowId='a'", "WorkflowId", "a"),
        ('WorkflowId = "a"', "WorkflowId", "a"),
        ("`WorkflowId`='a';", "WorkflowId", "a"),
        ("((WorkflowId='a'))", "WorkflowId", "a"),
        ("WorkflowId = ''", "WorkflowId", ""),
        ("WorkflowId = 'it''s'", "WorkflowId", "it's"),
        ("WorkflowId = 'it\\'s\\n'", "WorkflowId", "it's\n"),
        ('WorkflowId = "say ""hi"""', "WorkflowId", 'say "hi"'),
        ("K1 = 'ünïcode'", "K1", "ünïcode"),
        ("I1=5", "I1", 5),
        ("I1=-5", "I1", -5),
        ("I1=5.5", "I1", 5.5),
        ("HistoryLength=1e3", "HistoryLength", 1000.0),
        ("B1=TRUE", "B1", True),
        ("B1=false", "B1", False),
        ("KL='a'", "KL", "a"),
        ("DT='2020-01-01T00:00:00Z'", "DT", NOON_NS),
        ("StartTime='2020-01-01T02:00:00.123456789+02:00'", "StartTime", NOON_NS + 123_456_789),
        ("DT=5", "DT", 5),
        ("ExecutionStatus='Running'", "ExecutionStatus", 1),
        ("ExecutionStatus='TimedOut'", "ExecutionStatus", 7),
        ("ExecutionStatus='WORKFLOW_EXECUTION_STATUS_RUNNING'", "ExecutionStatus", 1),
        ("ExecutionStatus=2", "ExecutionStatus", 2),
        ("ExecutionDuration='1h30m'", "ExecutionDuration", 5_400_000_000_000),
        ("ExecutionDuration=5", "ExecutionDuration", 5),
        ("ScheduleId='a'", "WorkflowId", "a"),
        ("ChangeVersion='a'", "TemporalChangeVersion", "a"),
        ("TemporalWorkflowId='x'", "WorkflowId", "x"),
    ],
)
def test_a_comparison(query: str, attribute: str, value: object) -> None:
    found = parse_filter(query, CUSTOM)
    assert found == Equals(attribute, value)  # type: ignore[arg-type]  # the table's values are of its types
    assert isinstance(found, Equals)
    assert type(found.value) is type(value)


def test_and_is_flat_whatever_the_parentheses() -> None:
    a, b, c = Equals("WorkflowId", "a"), Equals("RunId", "b"), Equals("K1", "c")
    assert parse_filter("WorkflowId='a' and (RunId='b' AND K1='c')", CUSTOM) == And((a, b, c))
    assert parse_filter("(WorkflowId='a' and RunId='b') And K1='c'", CUSTOM) == And((a, b, c))


def test_nothing_asks_for_everything() -> None:
    assert parse_filter("", {}) is None
    assert parse_filter("  \n", {}) is None


def test_a_custom_attribute_hides_an_alias() -> None:
    assert parse_filter("ScheduleId = 'a'", {"ScheduleId": 2}) == Equals("ScheduleId", "a")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "WorkflowId=a",
            (
                "operation is not supported: column name on the right side of comparison expression "
                '(did you forget to quote "a"?)'
            ),
        ),
        ("WorkflowId", "invalid expression: incomplete expression"),
        ("WorkflowId='a' AND RunId", "invalid expression: incomplete expression"),
        ("Nope='a'", "invalid search attribute: Nope"),
        ("workflowid='a'", "invalid search attribute: workflowid"),
        ("NamespaceId='a'", "invalid search attribute: NamespaceId"),
        ("a.b='c'", "invalid search attribute: a.b"),
        (
            "I1='5'",
            'invalid expression: invalid value type for search attribute I1 of type Int: "5" (type: string)',
        ),
        ("I1=true", "invalid expression: invalid value type for search attribute I1 of type Int: true (type: bool)"),
        ("B1=1", "invalid expression: invalid value type for search attribute B1 of type Bool: 1 (type: int64)"),
        (
            "K1=5.5",
            "invalid expression: invalid value type for search attribute K1 of type Keyword: 5.5 (type: float64)",
        ),
        (
            "DT=true",
            "invalid expression: invalid value type for search attribute DT of type Datetime: true (type: bool)",
        ),
        ("DT='x'", "invalid expression: unable to parse datetime 'x'"),
        ("StartTime='2020-01-01'", "invalid expression: unable to parse datetime '2020-01-01'"),
        ("StartTime='2020-13-01T00:00:00Z'", "invalid expression: unable to parse datetime '2020-13-01T00:00:00Z'"),
        ("ExecutionStatus='running'", "invalid expression: invalid ExecutionStatus value 'running'"),
        ("ExecutionStatus=99", "invalid expression: invalid ExecutionStatus value 99"),
        (
            "ExecutionStatus=1.5",
            "invalid expression: unexpected value type float64 for search attribute ExecutionStatus",
        ),
        (
            "ExecutionDuration='x'",
            "invalid expression: invalid duration value for search attribute ExecutionDuration: x",
        ),
        (
            "ExecutionDuration=true",
            (
                "invalid expression: invalid value type for search attribute ExecutionDuration of type Int: "
                "true (type: bool)"
            ),
        ),
        ("WorkflowId=null", "invalid expression: unexpected value type *sqlparser.NullVal"),
        ("'a'=WorkflowId", "invalid expression: must be a column name but was *sqlparser.SQLVal"),
        ("foo(x)=1", "invalid expression: must be a column name but was *sqlparser.FuncExpr"),
        ("WorkflowId=now()", "operation is not supported: nested func"),
        (
            "WorkflowId LIKE 'a'",
            "operation is not supported: operator 'LIKE' not supported for Keyword type search attribute 'WorkflowId'",
        ),
        (
            "WorkflowId<=>'a'",
            "operation is not supported: operator '<=>' not supported for Keyword type search attribute 'WorkflowId'",
        ),
        ("order by StartTime", "operation is not supported: 'ORDER BY' clause"),
        ("WorkflowId = 'a' limit 1", "operation is not supported: 'LIMIT' clause"),
        (
            "GROUP BY WorkflowType",
            "operation is not supported: 'GROUP BY' clause is not supported for search attribute WorkflowType",
        ),
        (
            "GROUP BY ExecutionStatus, WorkflowType",
            "operation is not supported: 'GROUP BY' clause supports only a single field",
        ),
        ("GROUP BY NoSuchAttribute", "invalid search attribute: NoSuchAttribute"),
        ("GROUP BY 'ExecutionStatus'", "invalid expression: must be a column name but was *sqlparser.SQLVal"),
        ("=", "malformed SQL query: syntax error at position 29"),
        ("()", "malformed SQL query: syntax error at position 30"),
        ("WorkflowId = 'a' AND", "malformed SQL query: syntax error at position 48"),
        ("(WorkflowId='a'", "malformed SQL query: syntax error at position 43"),
        ("WorkflowId='a')", "malformed SQL query: syntax error at position 43"),
        ("WorkflowId=='a'", "malformed SQL query: syntax error at position 40"),
        ("WorkflowId=a b", "malformed SQL query: syntax error at position 42 near 'b'"),
        ("WorkflowId='a' 'b'", "malformed SQL query: syntax error at position 46 near 'b'"),
        ("WorkflowId='a", "malformed SQL query: syntax error at position 41 near 'a'"),
    ],
)
def test_what_is_wrong_is_refused_in_the_references_words(query: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_filter(query, CUSTOM)
    assert refused.value.message == f"invalid query: {message}"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("WorkflowId='a' OR RunId='b'", "'OR'"),
        ("not WorkflowId='a'", "'NOT'"),
        ("WorkflowId != 'a'", "'!='"),
        ("I1 >= 5", "'>='"),
        ("WorkflowId IN ('a', 'b')", "'IN'"),
        ("WorkflowId NOT IN ('a')", "'IN'"),
        ("WorkflowId STARTS_WITH 'a'", "'STARTS_WITH'"),
        ("StartTime BETWEEN 1 AND 2 and RunId = 'a'", "'BETWEEN'"),
        ("CloseTime is null", "'IS NULL'"),
        ("CloseTime IS NOT NULL", "'IS NULL'"),
        ("GROUP BY TemporalNamespaceDivision", "'GROUP BY'"),
    ],
)
def test_what_is_not_there_yet_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(Unimplemented) as refused:
        parse_filter(query, CUSTOM)
    assert named in refused.value.message


def test_counts_may_ask_for_groups_and_lists_may_not() -> None:
    assert parse_count("", CUSTOM) == Count(None)
    assert parse_count("WorkflowId='a'", CUSTOM) == Count(Equals("WorkflowId", "a"))
    assert parse_count("group  by `TemporalExecutionStatus`;", CUSTOM) == Count(None, by_status=True)
    grouped = "WorkflowId='a' GROUP BY ExecutionStatus"
    assert parse_count(grouped, CUSTOM) == Count(Equals("WorkflowId", "a"), by_status=True)
    with pytest.raises(InvalidArgument, match="'GROUP BY' clause in a list"):
        parse_filter(grouped, CUSTOM)


def test_depth_and_length_cost_no_stack() -> None:
    assert parse_filter("(" * 5000 + "WorkflowId='a'" + ")" * 5000, {}) == Equals("WorkflowId", "a")
    found = parse_filter(" AND ".join(["WorkflowId='a'"] * 5000), {})
    assert isinstance(found, And)
    assert len(found.parts) == 5000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01 00:00:00Z", None),
        ("1970-01-01T00:00:00", None),
        ("1970-02-30T00:00:00Z", None),
        ("", None),
    ],
)
def test_times(text: str, expected: int | None) -> None:
    assert rfc3339_ns(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5),
        ("300ms", 300_000_000),
        ("-1.5h", -5_400_000_000_000),
        ("2h45m", 9_900_000_000_000),
        ("1d", 86_400_000_000_000),
        ("01:30:00", 5_400_000_000_000),
        ("1x", None),
        ("h", None),
        ("1:2", None),
        ("", None),
    ],
)
def test_durations(text: str, expected: int | None) -> None:
    assert duration_ns(text) == expected
