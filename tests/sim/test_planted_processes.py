"""Bugs in how processes hand shards on, planted one at a time: some seed finds each, by a rule that is about it."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from perdure.shards import claim, reshaping
from perdure.shards.checkpoint import Checkpointer
from perdure.shards.inheriting import Inheriting
from perdure.shards.leaving import Leaving
from perdure.shards.moving import Moving
from perdure.shards.places import Place
from perdure.store.contract import Home
from perdure.testing.faulty_store import FaultyCheckpoints
from perdure.testing.scenario import HostTrouble, draw_scenario
from tests.sim.planting import SEEDS, Patch, Plant, Plants, must_be_found

PLANTS = Plants()
breaks = PLANTS.breaks
_MOVES = {HostTrouble.MOVE, HostTrouble.SPLIT, HostTrouble.MERGE, HostTrouble.PAUSE, HostTrouble.RELEASE}
_SEEDS = [
    seed
    for seed in SEEDS
    if (scenario := draw_scenario(seed)).cluster.processes and len(_MOVES & {kind for _, kind in scenario.troubles}) > 1
]


@breaks(4, 27)
def who_is_asked_for_a_shard_says_yes_and_keeps_it(patch: Patch) -> None:
    async def let_go(_leaving: Leaving, _place: Place, _epoch: int) -> None:
        return

    patch.setattr(Leaving, "let_go", let_go)


@breaks(4, 27)
def who_takes_a_shard_waits_for_nobody(patch: Patch) -> None:
    async def outlived(_moving: Moving, _drawn: Any) -> None:
        return

    patch.setattr(Moving, "_outlived", outlived)


@breaks(5, 7, 12, 18, 26, 33)
def parents_are_retired_without_a_last_checkpoint(patch: Patch) -> None:
    async def finish(_checkpointer: Checkpointer, *, is_last: bool = False) -> None:
        return

    patch.setattr(Checkpointer, "finish", finish)


@breaks(26, 29)
def children_inherit_no_index(patch: Patch) -> None:
    child = reshaping._child

    def poor(*arguments: Any) -> Any:
        return msgspec.structs.replace(child(*arguments), inherits=())

    patch.setattr(reshaping, "_child", poor)


@breaks(26, 29)
def what_was_inherited_is_said_to_be_written_anew_at_once(patch: Patch) -> None:
    async def nothing(_inheriting: Inheriting, _home: Any) -> AsyncIterator[int]:
        pages: list[int] = []
        for rows in pages:
            yield rows

    patch.setattr(Inheriting, "_pages", nothing)


@breaks(5, 12, 26, 27, 33)
def who_draws_an_epoch_overlooks_a_reshaping(patch: Patch) -> None:
    async def forbid(_world: Any, _shard: str, _version: int) -> None:
        return

    patch.setattr(claim, "_forbid", forbid)


@breaks(5, 12, 18, 26)
def who_takes_a_shard_back_trusts_what_it_remembers(patch: Patch) -> None:
    known: set[tuple[str, str]] = set()
    adopt = FaultyCheckpoints.adopt

    def adopt_once(view: FaultyCheckpoints, home: Home) -> None:
        if (view.host, home.shard) not in known:
            known.add((view.host, home.shard))
            adopt(view, home)

    patch.setattr(FaultyCheckpoints, "adopt", adopt_once)


@pytest.mark.parametrize(("rules", "plant"), PLANTS.all, ids=PLANTS.names)
def test_a_planted_bug_is_found(rules: set[int], plant: Plant, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    must_be_found(rules, _SEEDS, plant)
