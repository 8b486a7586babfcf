"""What the command line says, checked before anything is opened."""

import pytest
from temporalio.api.enums.v1 import IndexedValueType

from perdure.base.errors import InvalidArgument
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


@pytest.mark.parametrize("name", ["Keyword", "keyword", "KeywordList", "Datetime"])
def test_search_attribute_types_are_named_as_in_the_api(name: str) -> None:
    attribute, number = parse_search_attribute(f"Color={name}")
    assert attribute == "Color"
    assert IndexedValueType.Name(number).replace("_", "").lower().endswith(name.lower())  # type: ignore[arg-type]  # a plain int


@pytest.mark.parametrize("text", ["Color", "=Keyword", "Color=", "Color=Colour"])
def test_a_search_attribute_without_name_or_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="--search-attribute"):
        parse_search_attribute(text)
