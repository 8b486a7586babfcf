"""Rules about workers that come late: answers with the token of any task that was ever handed out."""

from typing import Any

from perdure.workflow.requests import WorkflowTaskStarted
from perdure.workflow.state import Chain
from tests.property.rules import Draw, rule
from tests.transcripts.scenarios import command, done
from tests.transcripts.stage import Stage, frozen


def _is_current(chain: Chain, given: WorkflowTaskStarted) -> bool:
    run = chain.runs.get(given.run_id)
    task = None if run is None or not run.is_open else run.workflow_task
    return task is not None and (
        (task.scheduled_event_id, task.started_event_id, task.attempt, task.started_time_ns)
        == (given.task.scheduled_event_id, given.task.started_event_id, given.task.attempt, given.task.started_time_ns)
    )


@rule
def answers_late(stage: Stage, draw: Draw) -> None:
    """Late answers are refused, and change nothing."""
    late = [given for given in draw.handed_out if not _is_current(stage.chain, given)]
    if not late:
        return
    draw.late_answers += 1
    newest, stage.last = stage.last, draw.of(late)
    before: Any = frozen(stage.chain)
    if draw.of([True, False]):
        decision = stage.complete(draw.of([done(), command("RECORD_MARKER", marker_name="late")]))
    else:
        decision = stage.fail()
    assert decision.refusal is not None, "a late answer was taken"
    assert decision.record is None
    assert frozen(stage.chain) == before
    stage.last = newest
