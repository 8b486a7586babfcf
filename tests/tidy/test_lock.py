"""requirements.lock holds what pyproject.toml asks for, with a hash for each file."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tidy.sources import ROOT

_PIN = re.compile(r"^(?P<name>[a-z0-9-]+)==(?P<version>[^\s;]+)", re.MULTILINE)


def requirements(pyproject: str) -> list[Requirement]:
    """Everything that the project, its extras and its dependency groups ask for directly."""
    table = tomllib.loads(pyproject)
    project = table["project"]
    asked = list(project["dependencies"])
    for names in [*project["optional-dependencies"].values(), *table["dependency-groups"].values()]:
        asked += names
    return [Requirement(text) for text in asked]


def unmet(pyproject: str, lock: str) -> list[str]:
    """Requirements without a pin that satisfies them. A package may be pinned per platform or Python version."""
    pins: dict[str, list[str]] = {}
    for pin in _PIN.finditer(lock):
        pins.setdefault(pin["name"], []).append(pin["version"])
    return [
        str(asked)
        for asked in requirements(pyproject)
        if not any(asked.specifier.contains(version) for version in pins.get(canonicalize_name(asked.name), []))
    ]


def test_the_lock_meets_the_project() -> None:
    missing = unmet((ROOT / "pyproject.toml").read_text(), (ROOT / "requirements.lock").read_text())
    assert not missing, f"run `make lock`: {missing}"


def test_an_unmet_requirement_is_found() -> None:
    pyproject = (
        '[project]\ndependencies=["a>=2","b"]\noptional-dependencies={c=["C_d>=1"]}\n[dependency-groups]\ndev=["e"]'
    )
    assert unmet(pyproject, "a==1.9 \\\n    --hash=x\nb==1 ; sys_platform\nc-d==1.0 \\\n") == ["a>=2", "e"]


def test_every_pin_has_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert len(_PIN.findall(lock)) == len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", lock, re.MULTILINE))


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
def test_make_lock_installs_what_it_has_locked(tmp_path: Path) -> None:
    asked = ("make", "--dry-run", "lock", f"VENV={tmp_path / 'venv'}")
    said = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert re.findall(r"/uv pip (compile|sync)", said) == ["compile", "compile", "sync"]
