"""What may not be swallowed, silenced, left for later or waited for."""

import ast
import re
from collections.abc import Iterator

from tests.tidy.sources import Finding, Source, dotted

_BROAD = frozenset({"Exception", "BaseException"})
_SILENCED = re.compile(r"#\s*(?:noqa|type:\s*ignore|pragma)\b", re.IGNORECASE)
_SILENCERS = re.compile(
    r"#\s*noqa(?P<codes>:\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*)?"
    r"|#\s*type:\s*ignore(?P<kinds>\[[^\]]*\])?"
    r"|#\s*pragma:\s*no\s\w+",
    re.IGNORECASE,
)
_LATER = re.compile(r"\b(?:TO[D]O|FIX[M]E)\b")
_SLEEPING_MODULES = frozenset({"anyio", "asyncio", "time", "trio"})


def no_swallowed_errors(source: Source) -> Iterator[Finding]:
    """An error that nobody expected is never dropped without a word."""
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield source.finding(node, "bare except")
            elif _is_broad(node.type) and all(isinstance(step, ast.Pass) or _is_ellipsis(step) for step in node.body):
                yield source.finding(node, "every exception is swallowed")
        elif isinstance(node, ast.Call) and _is_broad_suppress(node):
            yield source.finding(node, "every exception is suppressed")


def _is_broad(node: ast.expr) -> bool:
    kinds = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(dotted(kind) in _BROAD for kind in kinds)


def _is_broad_suppress(node: ast.Call) -> bool:
    return dotted(node).split(".")[-1] == "suppress" and any(_is_broad(argument) for argument in node.args)


def _is_ellipsis(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.value.value is ...


def reasons_for_silence(source: Source) -> Iterator[Finding]:
    """A silenced check names the check, and says why: `# noqa: TID251 - the one owner of ...`."""
    for line, comment in source.comments:
        if not _SILENCED.search(comment):
            continue
        for silencer in _SILENCERS.finditer(comment):
            text = silencer.group().lower()
            if ("noqa" in text and not silencer["codes"]) or ("ignore" in text and not silencer["kinds"]):
                yield source.finding(line, f"{silencer.group()!r} doesn't say which check it silences")
        if len(re.findall(r"[^\W\d_]{2,}", _SILENCERS.sub("", comment))) < 2:
            yield source.finding(line, f"no reason after {comment!r}")


def nothing_left_for_later(source: Source) -> Iterator[Finding]:
    """What is missing answers UNIMPLEMENTED and stands in docs/compatibility.md, not in a comment."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if mark := _LATER.search(line):
            yield source.finding(number, f"{mark.group()} in the source")


def reasons_for_skips(source: Source) -> Iterator[Finding]:
    if not source.path.startswith("tests/"):
        return
    called = {id(node.func): node for node in source.nodes if isinstance(node, ast.Call)}
    for node in source.nodes:
        name = dotted(node) if isinstance(node, ast.Attribute) else ""
        call = called.get(id(node))
        reasoned = call is not None and any(keyword.arg == "reason" for keyword in call.keywords)
        if name in {"pytest.skip", "pytest.xfail"}:
            reasoned = reasoned or (call is not None and bool(call.args))
        elif name not in {"pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail"}:
            continue
        if not reasoned:
            yield source.finding(node, f"{name} without a reason")


def no_sleeping_tests(source: Source) -> Iterator[Finding]:
    """A test waits for a condition, or jumps on virtual time. In a workflow's code a sleep is a durable timer."""
    if not source.path.startswith("tests/"):
        return
    sleeps = {f"{module}.sleep" for module in _SLEEPING_MODULES}
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.module in _SLEEPING_MODULES:
            sleeps |= {alias.asname or alias.name for alias in node.names if alias.name == "sleep"}
    for node in _outside_workflows(source.tree):
        if isinstance(node, ast.Call) and dotted(node.func) in sleeps:
            yield source.finding(node, "a test sleeps")


def _outside_workflows(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef) and any(dotted(mark) == "workflow.defn" for mark in child.decorator_list):
            continue
        yield from _outside_workflows(child)
