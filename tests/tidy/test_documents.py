"""The pages of the project, against its files and its commands."""

import re
from pathlib import Path

from tests.tidy.documents import broken_links, code_blocks, traces_of_machines
from tests.tidy.sources import ROOT, text_files


def test_relative_links_lead_to_files() -> None:
    pages = [(path, text) for path, text in text_files() if path.endswith(".md")]
    findings = [str(finding) for path, text in pages for finding in broken_links(path, text)]
    assert not findings, "\n" + "\n".join(findings)


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").touch()
    page = "[a](there.md#part) [b](https://example.com/x)\n```\n[c](in-code.md)\n```\n[d](missing.md)"
    assert [finding.line for finding in broken_links("page.md", page, tmp_path)] == [5]


def test_no_file_names_a_registry_or_a_machine() -> None:
    findings = [str(finding) for path, text in text_files() for finding in traces_of_machines(path, text)]
    assert not findings, "\n" + "\n".join(findings)


def test_a_registry_and_a_machine_are_found() -> None:
    text = "\n".join(
        ["https://" + "py" + "pi.org/simple", "cd /" + "root/x", "cd /" + "home/someone/x", "/var/lib/perdure"]
    )
    assert [finding.line for finding in traces_of_machines("page.md", text)] == [1, 2, 3]


def test_readme_shows_the_first_workflow_as_it_is() -> None:
    program = (ROOT / "docs/first_workflow.py").read_text()
    assert program in code_blocks((ROOT / "README.md").read_text(), "python")


def test_code_blocks_are_told_apart() -> None:
    assert code_blocks("```python\na\n```\n```sh\nb\n```\n", "python") == ["a\n"]


def test_contributing_lists_every_command() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"`make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text())
    assert set(targets) == set(listed)


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text()
    missing = [page.name for page in (ROOT / "docs/decisions").glob("[0-9]*.md") if f"({page.name})" not in index]
    assert not missing
