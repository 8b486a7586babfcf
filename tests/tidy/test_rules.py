"""Every rule, on the whole repository and, to show that it can fail, on a snippet that breaks it."""

import pytest

from tests.tidy import directions, habits, shape
from tests.tidy.sources import Rule, Source, python_sources

RULES: tuple[Rule, ...] = (
    directions.concrete_stores,
    directions.pure_calls,
    directions.pure_imports,
    habits.no_sleeping_tests,
    habits.no_swallowed_errors,
    habits.nothing_left_for_later,
    habits.reasons_for_silence,
    habits.reasons_for_skips,
    shape.constructor_arguments,
    shape.file_lines,
    shape.function_lines,
    shape.module_docstring,
    shape.protocol_methods,
    shape.telling_names,
)

_PURE = "perdure/workflow/decide.py"
_TEST = "tests/unit/test_ids.py"
_CODE = "perdure/base/ids.py"
_LATER = "TO" + "DO"

BAD: tuple[tuple[Rule, str, str], ...] = (
    (directions.concrete_stores, "perdure/history/role.py", "from perdure.store.sqlite import SqliteStore"),
    (directions.concrete_stores, "perdure/shards/log.py", "from perdure.store import memory"),
    (directions.concrete_stores, "perdure/store/memory.py", "import perdure.store.sqlite.writer"),
    (directions.pure_calls, _PURE, "def f(a):\n    return hash(a)"),
    (directions.pure_calls, _PURE, "async def f(): ..."),
    (directions.pure_calls, "perdure/cluster/ring.py", "print(1)"),
    (directions.pure_imports, _PURE, "import asyncio"),
    (directions.pure_imports, _PURE, "def f():\n    import logging"),
    (directions.pure_imports, _PURE, "from perdure.base.clock import Clock"),
    (directions.pure_imports, _PURE, "from perdure.base import entropy"),
    (directions.pure_imports, _PURE, "from perdure import history"),
    (directions.pure_imports, _PURE, "import collectionsx"),
    (directions.pure_imports, _PURE, "import lark"),
    (directions.pure_imports, _PURE, "from temporalio import client"),
    (directions.pure_imports, _PURE, "from .. import history"),
    (directions.pure_imports, "perdure/matching/matcher.py", "from perdure.matching import partition"),
    (habits.no_sleeping_tests, _TEST, "import asyncio\nasync def test():\n    await asyncio.sleep(0.1)"),
    (habits.no_sleeping_tests, _TEST, "from time import sleep as nap\nnap(1)"),
    (habits.no_swallowed_errors, _CODE, "try: ...\nexcept Exception:\n    pass"),
    (habits.no_swallowed_errors, _CODE, "try: ...\nexcept (OSError, BaseException):\n    ..."),
    (habits.no_swallowed_errors, _CODE, "try: ...\nexcept:\n    raise"),
    (habits.no_swallowed_errors, _CODE, "with contextlib.suppress(Exception): ..."),
    (habits.nothing_left_for_later, _CODE, f"a = 1  # {_LATER}: more"),
    (habits.reasons_for_silence, _CODE, "import os  # noqa: F401"),
    (habits.reasons_for_silence, _CODE, "import os  # noqa - imported for its side effects"),
    (habits.reasons_for_silence, _CODE, "a = b  # type: ignore[misc]"),
    (habits.reasons_for_silence, _CODE, "a = b  # type: ignore  # the stubs are wrong here"),
    (habits.reasons_for_skips, _TEST, "@pytest.mark.skip\ndef test(): ..."),
    (habits.reasons_for_skips, _TEST, "@pytest.mark.skipif(True)\ndef test(): ..."),
    (habits.reasons_for_skips, _TEST, "pytest.skip()"),
    (shape.constructor_arguments, _CODE, "class A:\n    def __init__(self, a, b, c, d, *, e, f, g, h): ..."),
    (shape.file_lines, _TEST, "a = 1\n" * 501),
    (shape.function_lines, _CODE, "def f():\n" + "    a = 1\n" * 60),
    (shape.module_docstring, _CODE, "a = 1"),
    (
        shape.protocol_methods,
        _CODE,
        "class A(Protocol[T]):\n" + "".join(f"    def m{n}(self): ...\n" for n in range(13)),
    ),
    (shape.telling_names, _CODE, "class ShardManager: ..."),
    (shape.telling_names, _CODE, "class StoreV2: ..."),
    (shape.telling_names, _CODE, "def retry_helper(): ..."),
    (shape.telling_names, "perdure/common/ids.py", ""),
)

GOOD: tuple[tuple[Rule, str, str], ...] = (
    (directions.concrete_stores, "perdure/server/main.py", "from perdure.store.sqlite import SqliteStore"),
    (directions.concrete_stores, "perdure/store/sqlite/writer.py", "from perdure.store.sqlite import schema"),
    (directions.pure_calls, _PURE, "class A:\n    def __hash__(self):\n        return hash(self.a)"),
    (directions.pure_imports, _PURE, "from collections.abc import Iterator\nfrom temporalio.api.enums import v1"),
    (directions.pure_imports, _PURE, "from perdure.base import errors\nfrom perdure.workflow.state import State"),
    (directions.pure_imports, _PURE, "from perdure.base.entropy import derive_id"),
    (directions.pure_imports, "perdure/visibility/parse.py", "from lark import Lark"),
    (
        habits.no_sleeping_tests,
        _TEST,
        "@workflow.defn\nclass A:\n    async def run(self):\n        await asyncio.sleep(1)",
    ),
    (habits.no_swallowed_errors, _CODE, "try: ...\nexcept Exception:\n    log()\n    raise"),
    (habits.reasons_for_silence, _CODE, "import os  # noqa: F401 - its import registers the codec"),
    (habits.reasons_for_silence, _CODE, "a = b  # type: ignore[misc]  # the stub lacks this overload"),
    (habits.reasons_for_skips, _TEST, "@pytest.mark.skip(reason='needs a cluster')\ndef test(): ..."),
    (shape.constructor_arguments, _CODE, "class A:\n    def __init__(self, a, b, c, d, *, e, f, g): ..."),
    (shape.function_lines, _CODE, 'def f():\n    """' + "\n" * 9 + '"""\n' + "    a = 1\n" * 59),
    (shape.telling_names, _CODE, "class SimpleImplicitUtility: ...\ndef implement_v20(): ..."),
)


def _label(value: object) -> str | None:
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("rule", RULES, ids=_label)
def test_the_repository_keeps_the_rule(rule: Rule) -> None:
    findings = [str(finding) for source in python_sources() for finding in rule(source)]
    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize(("rule", "path", "snippet"), BAD, ids=_label)
def test_a_bad_snippet_is_found(rule: Rule, path: str, snippet: str) -> None:
    assert list(rule(Source(path, snippet)))


@pytest.mark.parametrize(("rule", "path", "snippet"), GOOD, ids=_label)
def test_a_good_snippet_passes(rule: Rule, path: str, snippet: str) -> None:
    assert not list(rule(Source(path, snippet)))


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for rule, _, _ in BAD} == set(RULES)
