"""Nothing that the core can be asked, or that can be due, is without somebody who decides it."""

import dataclasses

from perdure.history import service
from perdure.history.errands import RUNNERS
from perdure.workflow import requests
from perdure.workflow.decide import DECIDERS
from perdure.workflow.deciders.fire_timer import ENTITY_OF_ERRAND, FIRE
from perdure.workflow.deciders.plan_errand import PLANS
from perdure.workflow.outstanding import DERIVE
from perdure.workflow.tasks import ERRANDS, TimerKind


def test_every_request_has_a_decider() -> None:
    parts = {"ActivityRef"}
    defined = {
        value
        for name, value in vars(requests).items()
        if dataclasses.is_dataclass(value) and value.__module__ == requests.__name__ and name not in parts
    }
    assert defined == {each for each in DECIDERS if each.__module__ == requests.__name__}


def test_every_kind_of_timer_can_fire() -> None:
    assert set(FIRE) == set(TimerKind) - ERRANDS


def test_every_errand_has_a_plan_and_a_runner() -> None:
    assert set(PLANS) == set(RUNNERS) == set(ENTITY_OF_ERRAND) == ERRANDS
    assert service.ERRAND_MODULES


def test_every_entity_derives_its_tasks() -> None:
    assert set(DERIVE) == set(ENTITY_OF_ERRAND.values()) | {"workflow_task", "speculative_task", "activity", "timer"}
