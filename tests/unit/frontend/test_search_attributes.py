"""Values of search attributes. What is accepted, and each message, is the reference server's own answer."""

import pytest
from temporalio.api.common.v1 import Payload, SearchAttributes

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.frontend.search_attributes import fill_search_attributes, go_text
from tests.unit.frontend.fakes import HOME


def json(text: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode())


def check(**fields: Payload) -> SearchAttributes:
    attributes = SearchAttributes(indexed_fields=fields)
    fill_search_attributes(attributes, HOME, Limits())
    return attributes


@pytest.mark.parametrize(
    ("name", "value", "type_name"),
    [
        ("K1", '"a"', "Keyword"),
        ("K1", '["a"]', "Keyword"),
        ("K1", "null", "Keyword"),
        ("K1", "[]", "Keyword"),
        ("T1", '"text"', "Text"),
        ("I1", "5", "Int"),
        ("I1", "[5]", "Int"),
        ("D1", "5", "Double"),
        ("D1", "5.5", "Double"),
        ("B1", "true", "Bool"),
        ("DT", '"2020-01-01T00:00:00Z"', "Datetime"),
        ("KL", '["a","b"]', "KeywordList"),
        ("KL", "[null]", "KeywordList"),
        ("BuildIds", '["x"]', "KeywordList"),
    ],
)
def test_a_good_value_is_kept_with_its_type(name: str, value: str, type_name: str) -> None:
    payload = check(**{name: json(value)}).indexed_fields[name]
    assert payload.metadata["type"] == type_name.encode()
    assert payload.data == value.encode()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("K1", "1", "invalid value for search attribute K1 of type Keyword: 1"),
        ("K1", '["a","b"]', "invalid value for search attribute K1 of type Keyword: [a b]"),
        ("I1", '"x"', "invalid value for search attribute I1 of type Int: x"),
        ("I1", "1.5", "invalid value for search attribute I1 of type Int: 1.5"),
        ("I1", "99999999999999999999", "invalid value for search attribute I1 of type Int: 1e+20"),
        ("I1", "true", "invalid value for search attribute I1 of type Int: true"),
        ("D1", '"x"', "invalid value for search attribute D1 of type Double: x"),
        ("B1", "1", "invalid value for search attribute B1 of type Bool: 1"),
        ("DT", '"x"', "invalid value for search attribute DT of type Datetime: x"),
        ("DT", "5", "invalid value for search attribute DT of type Datetime: 5"),
        ("KL", '"a"', "invalid value for search attribute KL of type KeywordList: a"),
        ("KL", "[1]", "invalid value for search attribute KL of type KeywordList: [1]"),
        ("WorkflowId", '"x"', "WorkflowId attribute can't be set in SearchAttributes"),
        (
            "TemporalWorkerDeployment",
            '"x"',
            "TemporalWorkerDeployment attribute can't be set in SearchAttributes",
        ),
        ("Nope", '"x"', "Namespace default has no mapping defined for search attribute Nope"),
    ],
)
def test_a_bad_value_is_refused_in_the_references_words(name: str, value: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check(**{name: json(value)})
    assert refused.value.message == message


def test_a_value_that_cant_be_read_is_described() -> None:
    with pytest.raises(InvalidArgument, match="of type Keyword: value from <"):
        check(K1=json("{"))
    with pytest.raises(InvalidArgument, match="of type Keyword: value from <"):
        check(K1=Payload(data=b'"a"'))


def test_a_null_payload_unsets() -> None:
    assert check(K1=Payload(metadata={"encoding": b"binary/null"})).indexed_fields["K1"].metadata["type"] == b"Keyword"


def test_sizes_are_limited_one_by_one_and_in_all() -> None:
    with pytest.raises(InvalidArgument, match="search attribute K1 value size 2051 exceeds size limit 2048"):
        check(K1=json(f'"{"x" * 2049}"'))
    attributes = SearchAttributes(indexed_fields={"K1": json('"abc"'), "T1": json('"abc"')})
    with pytest.raises(InvalidArgument, match="number of search attributes 2 exceeds limit 1"):
        fill_search_attributes(attributes, HOME, Limits(search_attributes_max=1))
    with pytest.raises(InvalidArgument, match="total size of search attributes"):
        fill_search_attributes(attributes, HOME, Limits(search_attributes_bytes_max=20))


def test_values_are_shown_as_go_shows_them() -> None:
    shown = [go_text(value) for value in (None, True, 1, 1.5, 1e21, 1e-7, 1.25e-5, -0.5, {"b": 1, "a": [None]})]
    assert shown == ["<nil>", "true", "1", "1.5", "1e+21", "1e-07", "1.25e-05", "-0.5", "map[a:[<nil>] b:1]"]
