"""Bugs in leases planted one at a time: rule L11 is what keeps reads from being stale."""

import pytest

from perdure.cluster.lease import Lease
from tests.sim.planting import Patch, Plant, Plants, must_be_found

PLANTS = Plants()
breaks = PLANTS.breaks


@breaks(4)
def owners_answer_without_a_lease(patch: Patch) -> None:
    def always(_lease: Lease) -> bool:
        return True

    patch.setattr(Lease, "is_valid", always)


@pytest.mark.parametrize(("rules", "plant"), PLANTS.all, ids=PLANTS.names)
def test_a_planted_bug_is_found(rules: set[int], plant: Plant, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    must_be_found(rules, plant=plant)
