"""Planting bugs: each names the rules that are about it, and some seed among the first few has to find it by one.

`found.json` remembers by which seed each was found, which is tried first: the search alone took minutes. An entry that
is no longer right, or isn't there, costs the search and nothing else; `python -m tests.sim.finding` writes it anew.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
import pytest

from perdure.testing.sim import run_seed

SEEDS = range(101, 201)
FOUND = Path(__file__).with_name("found.json")
Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


class Plants:
    """The bugs of one test module."""

    def __init__(self) -> None:
        self.all: list[tuple[set[int], Plant]] = []

    @property
    def names(self) -> list[str]:
        """What to call each."""
        return [plant.__name__ for _, plant in self.all]

    def breaks(self, *rules: int) -> Callable[[Plant], Plant]:
        """Registers a bug that breaks at least one of these rules."""

        def register(plant: Plant) -> Plant:
            self.all.append((set(rules), plant))
            return plant

        return register


def must_be_found(rules: set[int], among: Sequence[int] = SEEDS, plant: Plant | None = None) -> int:
    """Run seeds until one of these rules is broken, that which found `plant` before at first; fails if none is.

    Returns the seed.
    """
    before = orjson.loads(FOUND.read_bytes()).get(plant.__name__) if plant else None
    found: set[int] = set()
    for seed in sorted(among, key=lambda seed: seed != before):
        found |= {violation.rule for violation in run_seed(seed).violations}
        if rules & found:
            return seed
    pytest.fail(f"not found by rules {sorted(rules)} in {len(among)} seeds; broken were {sorted(found)}")
