"""The repository's files as the tidy rules see them: parsed once, addressed by path and by module name.

A rule is a function from one source to findings. It knows nothing of the repository, so that each has a test of its own
on a snippet.
"""

import ast
import io
import subprocess
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TEXT_SUFFIXES = frozenset(
    {".cql", ".cfg", ".json", ".lock", ".md", ".py", ".sh", ".sql", ".toml", ".txt", ".yaml", ".yml", ""}
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that breaks a rule."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class Source:
    """One Python file; `path` is relative to the repository."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree))

    @cached_property
    def comments(self) -> tuple[tuple[int, str], ...]:
        """Line number and text of each comment."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return tuple((token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT)

    @property
    def module(self) -> str:
        """`perdure.base.ids` for `perdure/base/ids.py`, `perdure.base` for its `__init__.py`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def finding(self, at: ast.AST | int, message: str) -> Finding:
        line = at if isinstance(at, int) else int(getattr(at, "lineno", 1))
        return Finding(self.path, line, message)


Rule = Callable[[Source], Iterator[Finding]]


@lru_cache(maxsize=1)
def project_paths() -> tuple[str, ...]:
    """What is committed or about to be; outside a git checkout, every file that isn't hidden."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0:
        paths = listed.stdout.splitlines()
    else:
        paths = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")]
        paths = [path for path in paths if not any(part.startswith(".") for part in Path(path).parts)]
    return tuple(sorted(path for path in paths if (ROOT / path).is_file()))


@lru_cache(maxsize=1)
def python_sources() -> tuple[Source, ...]:
    return tuple(Source(path, (ROOT / path).read_text()) for path in project_paths() if path.endswith(".py"))


@lru_cache(maxsize=1)
def text_files() -> tuple[tuple[str, str], ...]:
    """Path and text of every file that a person may read."""
    paths = (path for path in project_paths() if Path(path).suffix in _TEXT_SUFFIXES)
    return tuple((path, (ROOT / path).read_text(errors="replace")) for path in paths)


def dotted(node: ast.AST) -> str:
    """`a.b.c` for such an expression (also when it is called or subscripted), or nothing."""
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Subscript):
        return dotted(node.value)
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return node.id if isinstance(node, ast.Name) else ""
