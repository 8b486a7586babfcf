"""The chart, rendered as an operator would: by helm."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tidy.sources import ROOT

CHART = ROOT / "deploy" / "helm" / "perdure"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
TOOLS = _CACHE / "perdure" / "tools"


def tool(name: str) -> Path:
    """A program that `make chart` builds; the test is skipped where it hasn't been."""
    path = TOOLS / name
    if not path.exists():
        pytest.skip(f"{name} isn't built: `make chart` does, with Go")
    return path


def run(*arguments: str | Path) -> str:
    """What a command writes; its fault as the test's if it fails."""
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=100)
    if ended.returncode:
        pytest.fail(f"{arguments[0]} ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}", pytrace=False)
    return ended.stdout


def rendered(*arguments: str | Path, release: str = "prod") -> list[dict[str, Any]]:
    """The manifests of a release."""
    output = run(tool("helm"), "template", release, CHART, "--namespace", "flows", *arguments)
    return [document for document in yaml.safe_load_all(output) if document]


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """By their names."""
    return {found["metadata"]["name"]: found for found in manifests if found["kind"] == kind}
