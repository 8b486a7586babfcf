"""What the command line says, checked before anything is opened."""

import pytest
from temporalio.api.enums.v1 import IndexedValueType

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.server.dynamic import KEYS, with_values
from perdure.server.options import parse_dynamic_value, parse_search_attribute


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("limit.maxIDLength=50", ("limit.maxIDLength", 50)),
        ('key="text"', ("key", "text")),
        ("key=true", ("key", True)),
        (" key =1.5", ("key", 1.5)),
    ],
)
def test_a_dynamic_value_is_json(text: str, expected: tuple[str, object]) -> None:
    assert parse_dynamic_value(text) == expected


@pytest.mark.parametrize("text", ["key", "=1", "key=", "key={"])
def test_a_dynamic_value_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--dynamic-config-value"):
        parse_dynamic_value(text)


def test_keys_are_known_whatever_their_case() -> None:
    limits, unknown = with_values(Limits(), [("LIMIT.maxIdLength", 7), ("history.longPollExpirationInterval", "3s")])
    assert (limits.id_bytes_max, limits.long_poll_ns, unknown) == (7, 3 * SECOND_NS, [])


def test_unknown_keys_are_told_and_change_nothing() -> None:
    assert with_values(Limits(), [("frontend.enableUpdateWorkflowExecution", True)]) == (
        Limits(),
        ["frontend.enableUpdateWorkflowExecution"],
    )


@pytest.mark.parametrize("value", ["many", None, True, [1]])
def test_a_value_of_another_kind_is_refused_with_its_key(value: object) -> None:
    with pytest.raises(InvalidArgument, match=r"limit\.maxIDLength"):
        with_values(Limits(), [("limit.maxIDLength", value)])


def test_every_key_sets_a_limit_that_exists() -> None:
    assert {field for field, _ in KEYS.values()} <= set(Limits.__struct_fields__)


@pytest.mark.parametrize("name", ["Keyword", "keyword", "KeywordList", "Datetime"])
def test_search_attribute_types_are_named_as_in_the_api(name: str) -> None:
    attribute, number = parse_search_attribute(f"Color={name}")
    assert attribute == "Color"
    assert IndexedValueType.Name(number).replace("_", "").lower().endswith(name.lower())  # type: ignore[arg-type]  # a plain int


@pytest.mark.parametrize("text", ["Color", "=Keyword", "Color=", "Color=Colour"])
def test_a_search_attribute_without_name_or_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--search-attribute"):
        parse_search_attribute(text)
