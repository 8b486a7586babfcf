"""Bugs planted in what workflows do to one another, and in the runs that follow runs."""

from typing import Any

import msgspec
import pytest

from perdure.history import errands
from perdure.history.errands import Errand
from perdure.workflow import new_run, successor
from perdure.workflow.decide import DECIDERS, Work
from perdure.workflow.deciders import plan_errand
from perdure.workflow.draft import Draft
from perdure.workflow.events import workflow
from perdure.workflow.new_run import Origin
from perdure.workflow.requests import ErrandDone, RecordCallback, RecordChildClosed, StartChild
from perdure.workflow.tasks import TimerKind
from tests.sim.planting import Patch, Plant, Plants, must_be_found

PLANTS = Plants()
breaks = PLANTS.breaks


@breaks(20)
def a_child_is_begun_anew_whenever_it_is_asked_for(patch: Patch) -> None:
    decider = DECIDERS[StartChild]

    def anew(work: Work, request: StartChild) -> Any:
        origin = msgspec.structs.replace(request.origin, run_id=work.context.new_run_id())
        return decider(work, StartChild(request.request, origin, request.parent_close_policy))

    patch.setitem(DECIDERS, StartChild, anew)


@breaks(20, 26)
def a_parent_is_not_told_of_its_childs_end(patch: Patch) -> None:
    async def forget(errand: Errand, _plan: Any) -> None:
        await errand.bring_back(ErrandDone(errand.timer))

    patch.setitem(errands.RUNNERS, TimerKind.PARENT_REPORT, forget)


@breaks(20, 5)
def a_parent_believes_every_report(patch: Patch) -> None:
    decider = DECIDERS[RecordChildClosed]

    def believe(work: Work, request: RecordChildClosed) -> Any:
        decider(work, request)
        draft = work.drafts.get(request.run_id)
        if draft is not None and draft.changed:
            for event in draft.buffered()[-1:]:
                draft.add(getattr(event, event.WhichOneof("attributes") or ""))

    patch.setitem(DECIDERS, RecordChildClosed, believe)


@breaks(26)
def children_outlive_a_parent_that_should_end_them(patch: Patch) -> None:
    async def spare(errand: Errand, _plan: Any) -> None:
        await errand.bring_back(ErrandDone(errand.timer))

    patch.setitem(errands.RUNNERS, TimerKind.CHILDREN_CLOSE, spare)


@breaks(26)
def a_child_is_not_woken(patch: Patch) -> None:
    async def sleep_on(_errand: Errand, _plan: Any) -> None:
        return

    patch.setitem(errands.RUNNERS, TimerKind.CHILD_UNCLAIMED, sleep_on)


@breaks(12)
def every_delivery_of_a_signal_is_a_new_one(patch: Patch) -> None:
    planner = plan_errand.PLANS[TimerKind.EXTERNAL_SIGNAL]
    asked = 0

    def another(run: Any, timer: Any) -> Any:
        nonlocal asked
        asked += 1
        plan = planner(run, timer)
        return msgspec.structs.replace(plan, request_id=f"{plan.request_id}-{asked}")

    patch.setitem(plan_errand.PLANS, TimerKind.EXTERNAL_SIGNAL, another)


@breaks(17, 18, 26)
def a_successor_is_not_the_current_run(patch: Patch) -> None:
    create = new_run.create_run

    def aside(work: Work, request: Any, origin: Origin) -> Draft:
        before = work.current
        draft = create(work, request, origin)
        work.current = before
        return draft

    patch.setattr(successor, "create_run", aside)


@breaks(19)
def a_chain_forgets_its_first_run(patch: Patch) -> None:
    create = new_run.create_run

    def forget(work: Work, request: Any, origin: Origin) -> Draft:
        return create(work, request, msgspec.structs.replace(origin, first_run_id=""))

    patch.setattr(successor, "create_run", forget)


@breaks(36)
def a_callback_is_noted_before_it_is_called(patch: Patch) -> None:
    call = errands.RUNNERS[TimerKind.CALLBACK]

    async def note(errand: Errand, plan: Any) -> None:
        await errand.bring_back(RecordCallback(errand.timer))
        await call(errand, plan)

    patch.setitem(errands.RUNNERS, TimerKind.CALLBACK, note)


@breaks(36)
def every_run_of_a_chain_calls(patch: Patch) -> None:
    patch.setattr(workflow, "_hands_on", lambda *_: False)


@pytest.mark.parametrize(("rules", "plant"), PLANTS.all, ids=PLANTS.names)
def test_a_planted_bug_is_found(rules: set[int], plant: Plant, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    must_be_found(rules, plant=plant)
