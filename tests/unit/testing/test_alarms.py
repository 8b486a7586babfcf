"""What a simulation hears of what its cluster logs."""

import structlog

from perdure.frontend.routing import MAYBE_DONE
from perdure.testing.sim import _Alarms


def test_errors_are_alarms_and_repetitions_are_told_by_workflow() -> None:
    doubted: list[str] = []
    with _Alarms(doubted.append) as alarms:
        log = structlog.get_logger("test")
        log.debug(MAYBE_DONE, wf_id="wf", error="lost")
        log.debug(MAYBE_DONE, task_queue="queue", error="lost")
        log.warning("it is late", wf_id="other")
        log.error("a defect", wf_id="wf")
    assert doubted == ["wf"]
    assert alarms.found == ["wf_id='wf', event='a defect'"]
