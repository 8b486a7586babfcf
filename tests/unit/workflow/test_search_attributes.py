"""Search attributes: which may be set, to what, and how much."""

import pytest
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.search_attributes import check_sizes, typed

CONTEXT = Context(
    now_ns=0,
    seed=bytes(16),
    position=1,
    namespace=NamespaceView("ns", "default", 0),
    limits=Limits(search_attributes_max=2),
    search_attribute_types={
        "Word": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
        "Count": IndexedValueType.INDEXED_VALUE_TYPE_INT,
        "When": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    },
)


def attributes(**values: bytes) -> SearchAttributes:
    """Attributes with these JSON values."""
    return SearchAttributes(indexed_fields={name: Payload(data=value) for name, value in values.items()})


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("Word", b'"w"', b"Keyword"),
        ("Word", b'["w"]', b"Keyword"),
        ("Count", b"7", b"Int"),
        ("Count", b"null", b"Int"),
        ("When", b'"2020-01-01T00:00:00Z"', b"Datetime"),
        ("TemporalChangeVersion", b'["a-1"]', b"KeywordList"),
    ],
)
def test_a_good_value_gets_its_type(name: str, value: bytes, written: bytes) -> None:
    assert typed(attributes(**{name: value}), CONTEXT).indexed_fields[name].metadata["type"] == written


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"Nope": b"1"}, "Namespace default has no mapping defined for search attribute Nope"),
        ({"WorkflowId": b'"w"'}, "WorkflowId attribute can't be set in SearchAttributes"),
        ({"Count": b'"seven"'}, "invalid value for search attribute Count of type Int: seven"),
        ({"Word": b"7"}, "invalid value for search attribute Word of type Keyword: 7"),
        ({"a": b"1", "b": b"1", "c": b"1"}, "number of search attributes 3 exceeds limit 2"),
    ],
)
def test_a_bad_one_is_refused(values: dict[str, bytes], message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        typed(attributes(**values), CONTEXT)
    assert refused.value.message == message


def test_sizes_are_limited_singly_and_together() -> None:
    limits = Limits(search_attribute_bytes_max=10, search_attributes_bytes_max=60)
    check_sizes({"a": Payload(data=b"x" * 10)}, limits)
    with pytest.raises(InvalidArgument, match="search attribute a value size 11 exceeds size limit 10"):
        check_sizes({"a": Payload(data=b"x" * 11)}, limits)
    with pytest.raises(InvalidArgument, match="total size of search attributes"):
        check_sizes({name: Payload(data=b"x" * 10) for name in "abcd"}, limits)
