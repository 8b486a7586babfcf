"""Bugs planted in what becomes of updates."""

import msgspec
import pytest

from perdure.workflow import updates
from perdure.workflow.deciders import admit_update, find_update
from perdure.workflow.state import Run
from perdure.workflow.update_requests import UpdateSeen
from perdure.workflow.updates import ADMITTED
from tests.sim.planting import Patch, Plant, Plants, must_be_found

PLANTS = Plants()
breaks = PLANTS.breaks


@breaks(14, 15)
def an_accepted_update_is_not_known_again(patch: Patch) -> None:
    def forgetful(run: Run, update_id: str) -> UpdateSeen | None:
        found = updates.seen(run, update_id)
        return found if found is None or found.stage == ADMITTED else None

    patch.setattr(admit_update, "seen", forgetful)


@breaks(14)
def everybody_is_told_what_the_newest_update_came_to(patch: Patch) -> None:
    seen = updates.seen

    def newest(run: Run, update_id: str) -> UpdateSeen | None:
        found = seen(run, update_id)
        if found is None or not found.completed_event_id:
            return found
        last = max(update.completed_event_id for update in run.facts.updates.values())
        return msgspec.structs.replace(found, completed_event_id=last)

    for module in (admit_update, find_update):
        patch.setattr(module, "seen", newest)


@pytest.mark.parametrize(("rules", "plant"), PLANTS.all, ids=PLANTS.names)
def test_a_planted_bug_is_found(rules: set[int], plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    must_be_found(rules, plant=plant)
