"""Bugs in how a task queue is spread over hosts (0020), planted one at a time: a task that two workers get, or none."""

from typing import Any

import msgspec
import pytest

from perdure.base.clock import SECOND_NS
from perdure.base.entropy import new_id
from perdure.cluster.roles import Demand, Loan, Outcome
from perdure.matching import lending
from perdure.matching.lending import Lender
from perdure.testing.entropy import SeededEntropy
from perdure.testing.scenario import draw_scenario
from tests.sim.planting import SEEDS, Patch, Plant, Plants, must_be_found

PLANTS = Plants()
breaks = PLANTS.breaks
_SEEDS = [seed for seed in SEEDS if draw_scenario(seed).spreads]


@breaks(11, 23)
def what_is_lent_is_handed_out_once_more_for_the_same_start(patch: Patch) -> None:
    ids, seen = SeededEntropy("planted"), set()
    lend = Lender._lend

    def twice(lender: Lender, demand: Demand, held: Any, from_backlog: bool) -> Loan:
        if held.order in seen:
            return lend(lender, demand, held, from_backlog)
        seen.add(held.order)
        held.request_id = held.request_id or new_id(ids)
        loan = lend(lender, demand, held, from_backlog)
        del lender._lent[loan.number]
        lender._counter.over(held, Outcome.BACK)
        return loan

    patch.setattr(Lender, "_lend", twice)


@breaks(26, 29)
def what_is_lent_is_never_taken_back(patch: Patch) -> None:
    def take_back(lender: Lender, number: int) -> None:
        del lender._lent[number]

    patch.setattr(Lender, "_take_back", take_back)


@breaks(26, 29)
def what_a_branch_gives_back_is_not_heard_of(patch: Patch) -> None:
    settle = Lender.settle

    def deaf(lender: Lender, demand: Demand) -> None:
        over = (Outcome.STARTED, Outcome.OBSOLETE)
        heard = [each for each in demand.returns if each.outcome in over]
        settle(lender, msgspec.structs.replace(demand, returns=heard, lost=[]))

    patch.setattr(Lender, "settle", deaf)
    patch.setattr(lending, "LOAN_NS", 3600 * SECOND_NS)


@pytest.mark.parametrize(("rules", "plant"), PLANTS.all, ids=PLANTS.names)
def test_a_planted_bug_is_found(rules: set[int], plant: Plant, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    must_be_found(rules, _SEEDS, plant)
