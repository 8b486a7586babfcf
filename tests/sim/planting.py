"""Planting bugs: each names the rules that are about it, and some seed among the first few has to find it by one."""

from collections.abc import Callable, Sequence

import pytest

from perdure.testing.sim import run_seed

SEEDS = range(101, 201)
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


def must_be_found(rules: set[int], among: Sequence[int] = SEEDS) -> None:
    """Run seeds until one of these rules is broken; fails if none is."""
    found: set[int] = set()
    for seed in among:
        found |= {violation.rule for violation in run_seed(seed).violations}
        if rules & found:
            return
    pytest.fail(f"not found by rules {sorted(rules)} in {len(among)} seeds; broken were {sorted(found)}")
