"""From a list filter's text to its tree.

The grammar is that of the whole language, so that what isn't there yet is refused by its name (Unimplemented) and what
is wrong is refused as wrong (InvalidArgument). Invariant: a tree that comes out names attributes that exist, with
values of their types. Parsing needs no recursion, so depth costs nothing but memory.
"""

from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Any, NoReturn, cast

import msgspec
from lark import Lark, Token, UnexpectedCharacters, UnexpectedEOF, UnexpectedToken, v_args
from lark.exceptions import VisitError
from lark.visitors import Transformer_NonRecursive

from perdure.base.errors import PerdureError, Unimplemented
from perdure.visibility.attributes import resolve, type_name
from perdure.visibility.literals import Value, checked, invalid
from perdure.visibility.tree import And, Equals, Filter

_GRAMMAR = r"""
start: condition? group? order? limit? ";"?
?condition: conjunction | conjunction (_OR conjunction)+ -> either
?conjunction: negation | negation (_AND negation)+ -> both
?negation: predicate | _NOT negation -> negated
?predicate: "(" condition ")"
    | operand COMPARISON operand -> compared
    | operand NEGATED? _IN "(" operand ("," operand)* ")" -> among
    | operand NEGATED? _BETWEEN operand _AND operand -> between
    | operand NEGATED? STARTS_WITH operand -> starts
    | operand NEGATED? LIKE operand -> like
    | operand IS NEGATED? NULL -> null_test
    | operand -> incomplete
operand: NAME | QUOTED_NAME | STRING | INT | FLOAT | TRUE | FALSE | NULL | call
call: NAME "(" (operand ("," operand)*)? ")"
group: GROUP operand ("," operand)*
order: ORDER operand (_ASC | _DESC)? ("," operand (_ASC | _DESC)?)*
limit: LIMIT operand

COMPARISON: "<=>" | "!=" | "<>" | "<=" | ">=" | "=" | "<" | ">"
NEGATED.3: /NOT(?=\s+(IN|BETWEEN|LIKE|STARTS_WITH|NULL)\b)/i
STARTS_WITH.3: /STARTS_WITH\b/i
LIKE.3: /LIKE\b/i
IS.3: /IS\b/i
GROUP.3: /GROUP\s+BY\b/i
ORDER.3: /ORDER\s+BY\b/i
LIMIT.3: /LIMIT\b/i
TRUE.3: /TRUE\b/i
FALSE.3: /FALSE\b/i
NULL.3: /NULL\b/i
_OR.3: /OR\b/i
_AND.3: /AND\b/i
_NOT.2: /NOT\b/i
_IN.3: /IN\b/i
_BETWEEN.3: /BETWEEN\b/i
_ASC.3: /ASC\b/i
_DESC.3: /DESC\b/i
NAME: /[^\W\d][\w.]*/
QUOTED_NAME: /`[^`]+`(\.`[^`]+`)*/
STRING: /'([^'\\]|\\.|'')*'/s | /"([^"\\]|\\.|"")*"/s
FLOAT.2: /-?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|-?\d+[eE][+-]?\d+/
INT: /-?\d+/
%ignore /\s+/
"""
# What the reference's parser sees before the filter; its error positions count from there.
_PREFIX = "select * from table1 where "
# Whatever its sign, a whole number of so many characters is read as one; `stored_value` says how it compares.
_INT_DIGITS = 20
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


class _Name(msgspec.Struct, frozen=True):
    """An attribute's name, as written."""

    text: str


class _Null(msgspec.Struct, frozen=True):
    """The literal NULL."""


class _Call(msgspec.Struct, frozen=True):
    """A function's call."""


class _ByStatus(msgspec.Struct, frozen=True):
    """The one grouping there is."""


class Count(msgspec.Struct, frozen=True):
    """What to count; `by_status`: in groups of equal ExecutionStatus."""

    filter: Filter | None
    by_status: bool = False


def parse_filter(query: str, custom: Mapping[str, int]) -> Filter | None:
    """The tree of `query`, None if it is blank. `custom`: the namespace's attributes, name -> IndexedValueType.

    Raises InvalidArgument; Unimplemented for what the language has and this server doesn't yet.
    """
    found = parse_count(query, custom)
    if found.by_status:
        raise invalid("operation is not supported: 'GROUP BY' clause in a list")
    return found.filter


def parse_count(query: str, custom: Mapping[str, int]) -> Count:
    """`parse_filter` where the query may ask for groups."""
    text = query.strip()
    if not text:
        return Count(None)
    try:
        tree = _parser().parse(text)
    except UnexpectedToken as error:
        raise invalid(_syntax_error(text, error.token)) from None
    except UnexpectedCharacters as error:
        raise invalid(_syntax_error(text, _bad(text, cast("int", error.pos_in_stream)))) from None
    except UnexpectedEOF:
        raise invalid(_syntax_error(text, None)) from None
    try:
        result: Count = _Builder(custom).transform(tree)
    except VisitError as error:
        if isinstance(error.orig_exc, PerdureError):
            raise error.orig_exc from None
        raise
    return result


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="basic", maybe_placeholders=False)


def _syntax_error(text: str, token: Token | None) -> str:
    """The reference's message: where the offending token ends, and what it is."""
    if token is None or token.type == "$END":
        end, near = len(text), ""
    else:
        end = token.end_pos if token.end_pos is not None else len(text)
        near = "" if token.type in ("COMPARISON", "LPAR", "RPAR", "COMMA", "SEMICOLON", "BAD") else _bare(str(token))
    shown = f" near '{near}'" if near else ""
    return f"malformed SQL query: syntax error at position {len(_PREFIX) + end + 1}{shown}"


def _bad(text: str, at: int) -> Token:
    """What can't be read at `at`: the rest, if it is a text without an end."""
    if text[at] in ("'", '"'):
        return Token("UNENDED", text[at + 1 :], at, end_pos=len(text))
    return Token("BAD", "", at, end_pos=at + 1)


def _bare(text: str) -> str:
    return _unquote(text) if text[:1] in ("'", '"') else text


def _unquote(text: str) -> str:
    quote, body, result, at = text[0], text[1:-1], [], 0
    while at < len(body):
        if body[at] == "\\" and at + 1 < len(body):
            result.append(_ESCAPES.get(body[at + 1], body[at + 1]))
            at += 2
        elif body[at] == quote:
            result.append(quote)
            at += 2
        else:
            result.append(body[at])
            at += 1
    return "".join(result)


def _finite(text: str) -> float:
    """A number with a fraction, or too large for 64 bits."""
    number = float(text)
    if not isfinite(number):
        raise invalid(f"invalid expression: number out of range: {text[:_INT_DIGITS]}...")
    return number


def _later(what: str) -> NoReturn:
    raise Unimplemented(f"invalid query: {what} is not implemented by this server yet")


def _unsupported(operator: str, alias: str, value_type: int) -> PerdureError:
    kind = type_name(value_type)
    message = (
        f"operation is not supported: operator '{operator}' not supported for {kind} type search attribute '{alias}'"
    )
    return invalid(message)


@v_args(inline=True)
class _Builder(Transformer_NonRecursive[Token, Any]):
    """Folds the parse tree; refuses what the filter tree has no form for."""

    def __init__(self, custom: Mapping[str, int]) -> None:
        super().__init__()
        self._custom = custom

    def start(self, *parts: Filter | _ByStatus) -> Count:
        condition, grouped = None, False
        for part in parts:
            if isinstance(part, _ByStatus):
                grouped = True
            else:
                condition = part
        return Count(condition, grouped)

    def both(self, *parts: Filter) -> And:
        flat: list[Equals] = []
        for part in parts:
            flat += part.parts if isinstance(part, And) else (part,)
        return And(tuple(flat))

    def compared(self, left: Any, operator: Token, right: Any) -> Equals:
        alias, (attribute, value_type) = self._attribute(left)
        value = self._value(right)
        if operator == "<=>":
            raise _unsupported("<=>", alias, value_type)
        value = checked(alias, attribute, value_type, value)
        if operator != "=":
            _later(f"operator '{operator}'")
        return Equals(attribute, value)

    def operand(self, content: Any) -> Any:
        if not isinstance(content, Token):
            return content
        match content.type:
            case "NAME":
                return _Name(str(content))
            case "QUOTED_NAME":
                return _Name(content.replace("`", ""))
            case "STRING":
                return _unquote(content)
            case "INT" if len(content) <= _INT_DIGITS:
                return int(content)
            case "INT" | "FLOAT":
                return _finite(content)
            case "NULL":
                return _Null()
            case _:
                return content.type == "TRUE"

    def call(self, *_parts: Any) -> _Call:
        return _Call()

    def either(self, *_parts: Any) -> NoReturn:
        _later("operator 'OR'")

    def negated(self, *_parts: Any) -> NoReturn:
        _later("operator 'NOT'")

    def among(self, left: Any, *_parts: Any) -> NoReturn:
        self._attribute(left)
        _later("operator 'IN'")

    def between(self, left: Any, *_parts: Any) -> NoReturn:
        self._attribute(left)
        _later("operator 'BETWEEN'")

    def starts(self, left: Any, *_parts: Any) -> NoReturn:
        self._attribute(left)
        _later("operator 'STARTS_WITH'")

    def like(self, left: Any, *_parts: Any) -> NoReturn:
        alias, (_, value_type) = self._attribute(left)
        raise _unsupported("LIKE", alias, value_type)

    def null_test(self, left: Any, *_parts: Any) -> NoReturn:
        self._attribute(left)
        _later("operator 'IS NULL'")

    def incomplete(self, _operand: Any) -> NoReturn:
        raise invalid("invalid expression: incomplete expression")

    def group(self, _keyword: Token, *operands: Any) -> _ByStatus:
        if len(operands) > 1:
            raise invalid("operation is not supported: 'GROUP BY' clause supports only a single field")
        alias, (attribute, _) = self._attribute(operands[0])
        if attribute == "TemporalNamespaceDivision":
            _later(f"'GROUP BY' clause for search attribute {alias}")
        if attribute != "ExecutionStatus":
            message = f"operation is not supported: 'GROUP BY' clause is not supported for search attribute {alias}"
            raise invalid(message)
        return _ByStatus()

    def order(self, *_parts: Any) -> NoReturn:
        raise invalid("operation is not supported: 'ORDER BY' clause")

    def limit(self, *_parts: Any) -> NoReturn:
        raise invalid("operation is not supported: 'LIMIT' clause")

    def _attribute(self, operand: Any) -> tuple[str, tuple[str, int]]:
        if not isinstance(operand, _Name):
            kind = "FuncExpr" if isinstance(operand, _Call) else "SQLVal"
            raise invalid(f"invalid expression: must be a column name but was *sqlparser.{kind}")
        found = resolve(operand.text, self._custom)
        if found is None:
            raise invalid(f"invalid search attribute: {operand.text}")
        return operand.text, found

    def _value(self, operand: Any) -> Value:
        if isinstance(operand, _Name):
            hint = f'did you forget to quote "{operand.text}"?'
            raise invalid(
                f"operation is not supported: column name on the right side of comparison expression ({hint})"
            )
        if isinstance(operand, _Call):
            raise invalid("operation is not supported: nested func")
        if isinstance(operand, _Null):
            raise invalid("invalid expression: unexpected value type *sqlparser.NullVal")
        value: Value = operand
        return value
