"""Links that lead somewhere, examples that are the files they show, and nothing of the machine that wrote them."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.tidy.sources import ROOT, Finding

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?P<target>[^()\s]+)(?:\s+\"[^\"]*\")?\)")
_REGISTRY = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|yarnpkg\.com|proxy\.golang\.org|rubygems\.org|crates\.io"
    r"|nuget\.org|packagist\.org|repo1?\.maven\.(?:apache\.)?org)\b",
    re.IGNORECASE,
)
_MACHINE_PATH = re.compile(r"(?<![\w.~}/-])/(?:root|work|Users|home/[a-z][\w-]*)/\w")


def broken_links(path: str, text: str, root: Path = ROOT) -> Iterator[Finding]:
    """Relative links of a Markdown page whose file isn't there. Fenced code is not read."""
    prose = _FENCE.sub(lambda fence: "\n" * fence.group().count("\n"), text)
    for number, line in enumerate(prose.splitlines(), 1):
        for link in _LINK.finditer(line):
            target = link["target"].partition("#")[0]
            outside = not target or "://" in target or target.startswith("mailto:")
            if not outside and not (root / path).parent.joinpath(target).exists():
                yield Finding(path, number, f"the link to {target} leads nowhere")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def traces_of_machines(path: str, text: str) -> Iterator[Finding]:
    """A package registry's host or a path of one machine: neither holds for the next reader."""
    for number, line in enumerate(text.splitlines(), 1):
        if host := _REGISTRY.search(line):
            yield Finding(path, number, f"the host of a package registry, {host.group()}")
        if found := _MACHINE_PATH.search(line):
            yield Finding(path, number, f"the path of one machine, {found.group()}")
