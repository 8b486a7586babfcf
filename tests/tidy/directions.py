"""Directions that import-linter can't express: what pure code may import, and who may name a concrete store.

A pure module computes the same result from the same arguments on every machine and in every replay. A list of what it
may not import would have holes, so this is a list of what it may.
"""

import ast
from collections.abc import Iterator

from tests.tidy.sources import Finding, Source, dotted

_ALLOWED = frozenset(
    {
        "__future__",
        "abc",
        "bisect",
        "collections",
        "copy",
        "dataclasses",
        "datetime",
        "enum",
        "functools",
        "google.protobuf",
        "hashlib",
        "heapq",
        "itertools",
        "math",
        "msgspec",
        "operator",
        "perdure.base",
        "re",
        "struct",
        "temporalio.api",
        "typing",
        "xxhash",
        "zoneinfo",
    }
)
# The owners of time, randomness and tasks: pure code gets their values as arguments.
_OWNERS = frozenset({"perdure.base.clock", "perdure.base.entropy", "perdure.base.tasks"})
# What in them is a constant or a pure function all the same.
_PURE_PARTS = frozenset(
    {
        "perdure.base.clock.MS_NS",
        "perdure.base.clock.SECOND_NS",
        "perdure.base.clock.from_duration",
        "perdure.base.clock.from_timestamp",
        "perdure.base.clock.set_timestamp",
        "perdure.base.clock.to_duration",
        "perdure.base.clock.to_timestamp",
        "perdure.base.entropy.derive_id",
        "perdure.base.entropy.derive_timed_id",
    }
)
# A pure room or module, and what it may import besides itself and the list above.
PURE: dict[str, frozenset[str]] = {
    "perdure.cluster.branches": frozenset({"perdure.workflow.task_queue_names", "perdure.workflow.tasks"}),
    "perdure.cluster.ring": frozenset(
        {"uhashring", "perdure.cluster.branches", "perdure.cluster.members", "perdure.workflow.tasks"}
    ),
    "perdure.matching.bounds": frozenset(),
    "perdure.matching.fairness": frozenset(),
    "perdure.matching.matcher": frozenset(
        {
            "sortedcontainers",
            "perdure.matching.bounds",
            "perdure.matching.fairness",
            "perdure.matching.references",
            "perdure.matching.shelf",
        }
    ),
    "perdure.matching.references": frozenset(),
    "perdure.matching.shelf": frozenset({"sortedcontainers", "perdure.matching.bounds", "perdure.matching.references"}),
    "perdure.matching.spreading": frozenset({"math", "perdure.cluster.branches"}),
    "perdure.visibility": frozenset({"lark"}),
    "perdure.workflow": frozenset({"perdure.visibility"}),
}
# They read or write the world, or (hash, id) differ from process to process.
_IMPURE_CALLS = frozenset({"__import__", "breakpoint", "eval", "exec", "hash", "id", "input", "open", "print"})

ADAPTERS = frozenset({"cassandra", "memory", "mysql", "postgresql", "sqlite"})
_ADAPTER_ROOMS = frozenset({"perdure.server", "perdure.testing"})


def _within(name: str, packages: frozenset[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def _imports(source: Source) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """Each import with the names that it may stand for: `from a import b` is `a` or the module `a.b`."""
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, (alias.name,)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                base = "." * node.level + (node.module or "")
                yield node, (base, f"{base}.{alias.name}")


def pure_imports(source: Source) -> Iterator[Finding]:
    for room, extra in PURE.items():
        if not _within(source.module, frozenset({room})):
            continue
        allowed = _ALLOWED | extra | {room}
        for node, names in _imports(source):
            if _PURE_PARTS.intersection(names):
                continue
            if any(_within(name, _OWNERS) for name in names):
                yield source.finding(node, f"{room} is pure: the value of {names[-1]} comes in as an argument")
            elif not any(_within(name, allowed) for name in names):
                yield source.finding(node, f"{room} is pure and may not import {names[-1]}")


def pure_calls(source: Source) -> Iterator[Finding]:
    """No waiting, no input or output, nothing that differs between processes. `__hash__` may call `hash`."""
    if not _within(source.module, frozenset(PURE)):
        return
    hashes = {id(inner) for node in source.nodes if _is_hash(node) for inner in ast.walk(node)}
    for node in source.nodes:
        if isinstance(node, ast.AsyncFunctionDef | ast.Await):
            yield source.finding(node, "pure code doesn't wait")
        elif isinstance(node, ast.Call) and id(node) not in hashes and dotted(node.func) in _IMPURE_CALLS:
            yield source.finding(node, f"pure code doesn't call {dotted(node.func)}()")


def _is_hash(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__hash__"


def concrete_stores(source: Source) -> Iterator[Finding]:
    """Production code sees the store's interface; adapters don't know one another."""
    if not source.path.startswith("perdure/") or _within(source.module, _ADAPTER_ROOMS):
        return
    for node, names in _imports(source):
        for adapter in ADAPTERS:
            package = frozenset({f"perdure.store.{adapter}"})
            if any(_within(name, package) for name in names) and not _within(source.module, package):
                yield source.finding(node, f"only server, testing and itself may import perdure.store.{adapter}")
