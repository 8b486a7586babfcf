"""The filter tree. For now: `=` comparisons joined by AND; the full language extends this union."""

import msgspec


class Equals(msgspec.Struct, frozen=True, tag="="):
    """`attribute` (a predefined or custom search attribute's name) has exactly `value` (str, int, float, bool; times
    in ns).
    """

    attribute: str
    value: str | int | float | bool


class And(msgspec.Struct, frozen=True, tag="and"):
    """Every part holds."""

    parts: tuple[Equals, ...]


Filter = Equals | And
