"""Nothing that the core can be asked, or that can be due, is without somebody who decides it."""

import dataclasses

from perdure.workflow import requests
from perdure.workflow.decide import DECIDERS
from perdure.workflow.deciders.fire_timer import FIRE
from perdure.workflow.outstanding import DERIVE
from perdure.workflow.tasks import TimerKind


def test_every_request_has_a_decider() -> None:
    parts = {"ActivityRef"}
    defined = {
        value
        for name, value in vars(requests).items()
        if dataclasses.is_dataclass(value) and value.__module__ == requests.__name__ and name not in parts
    }
    assert defined == {each for each in DECIDERS if each.__module__ == requests.__name__}


def test_every_kind_of_timer_can_fire() -> None:
    assert set(FIRE) == set(TimerKind)


def test_every_entity_derives_its_tasks() -> None:
    assert set(DERIVE) == {"run", "workflow_task", "activity", "timer"}
