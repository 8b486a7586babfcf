"""Sizes and names: how large a piece may be, and what it may be called. There is no list of exemptions."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.sources import Finding, Source, dotted

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
PROTOCOL_METHODS_MAX = 12
CONSTRUCTOR_ARGUMENTS_MAX = 7

# Words that say nothing about what a thing does.
_EMPTY_WORDS = frozenset({"impl", "manager", "engine", "util", "utils", "helper", "helpers", "common", "v2"})
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _docstring_lines(node: _Function) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0


def function_lines(source: Source) -> Iterator[Finding]:
    """A function fits on a screen; decorators and docstring don't count."""
    for node in source.nodes:
        if isinstance(node, _Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
            if lines > FUNCTION_LINES_MAX:
                yield source.finding(node, f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}")


def file_lines(source: Source) -> Iterator[Finding]:
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield source.finding(1, f"{lines} lines, at most {FILE_LINES_MAX}")


def protocol_methods(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and any(dotted(base).split(".")[-1] == "Protocol" for base in node.bases):
            methods = sum(isinstance(member, _Function) for member in node.body)
            if methods > PROTOCOL_METHODS_MAX:
                yield source.finding(node, f"{node.name} has {methods} methods, at most {PROTOCOL_METHODS_MAX}")


def constructor_arguments(source: Source) -> Iterator[Finding]:
    for node in source.nodes:
        if isinstance(node, _Function) and node.name == "__init__":
            given = node.args
            named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
            count = len(named) - 1 + (given.vararg is not None) + (given.kwarg is not None)
            if count > CONSTRUCTOR_ARGUMENTS_MAX:
                yield source.finding(node, f"{count} arguments besides self, at most {CONSTRUCTOR_ARGUMENTS_MAX}")


def words(name: str) -> list[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return [word.lower() for word in _WORD.findall(name)]


def telling_names(source: Source) -> Iterator[Finding]:
    """What replaces a thing takes its name, and a name says what a thing does."""
    if not source.path.startswith("perdure/"):
        return
    named: list[tuple[ast.AST | int, str]] = [(1, source.module.removeprefix("perdure"))]
    named += [(node, node.name) for node in source.nodes if isinstance(node, _Function | ast.ClassDef)]
    for at, name in named:
        for word in _EMPTY_WORDS.intersection(words(name)):
            yield source.finding(at, f"the name {name!r} has the empty word {word!r}")


def module_docstring(source: Source) -> Iterator[Finding]:
    """A module opens with what it holds, the invariant it keeps, what it refuses to know."""
    if source.path.startswith("perdure/") and not ast.get_docstring(source.tree):
        yield source.finding(1, "the module has no docstring")
