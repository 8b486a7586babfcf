"""deploy/docker/requirements.lock, of what the image holds, is a part of requirements.lock: what the tests ran with."""

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tidy.sources import ROOT

_ENTRY = re.compile(
    r"^(?P<pin>[a-z0-9-]+==[^\n\\]+?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def entries(lock: str) -> dict[str, frozenset[str]]:
    """Pins with their markers, and the hashes of their files."""
    return {found["pin"]: frozenset(re.findall(r"sha256:\w+", found["hashes"])) for found in _ENTRY.finditer(lock)}


def _lock(path: str) -> dict[str, frozenset[str]]:
    return entries((ROOT / path).read_text())


def _name(pin: str) -> str:
    return pin.partition("==")[0]


def test_it_is_a_part_of_the_whole() -> None:
    whole = _lock("requirements.lock")
    part = _lock("deploy/docker/requirements.lock")
    # A marker may be weaker there: some other package of the whole wants the same one everywhere.
    strange = [
        pin
        for pin, hashes in part.items()
        if hashes not in {known for other, known in whole.items() if other.split(" ;")[0] == pin.split(" ;")[0]}
    ]
    assert part
    assert not strange, f"run `make lock`: {strange}"


def test_it_has_what_runs_and_no_tools() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = table["project"]
    asked = project["dependencies"] + [text for extra in project["optional-dependencies"].values() for text in extra]
    present = {_name(pin) for pin in _lock("deploy/docker/requirements.lock")}
    wanted = {canonicalize_name(Requirement(text).name) for text in asked}
    assert wanted <= present
    tools = {canonicalize_name(Requirement(text).name) for text in table["dependency-groups"]["dev"]} - wanted
    # What tools need, the program may need too, but no tool is in the image.
    assert {"pytest", "ruff", "mypy", "uv"} <= tools
    assert not present & {"pytest", "ruff", "mypy", "uv", "hatchling"}
