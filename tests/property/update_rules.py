"""Rules about updates: admitted at any time, carried by any task, answered well and badly, lost with their owner."""

from typing import Any

from temporalio.api.protocol.v1 import Message

from perdure.workflow.decide import UpdateMoved
from tests.property.rules import Draw, rule
from tests.transcripts.scenarios import done, sticky
from tests.transcripts.stage import Stage
from tests.transcripts.updating import accepted, answer, carried, completed, rejected, update

_IDS = ["u", "v", "w"]


@rule
def updates(stage: Stage, draw: Draw) -> None:
    stage.decide(update(draw.of(_IDS)))


@rule
def answers_updates(stage: Stage, draw: Draw) -> None:
    """The worker has its say about what its task carried, and about what it accepted before."""
    if stage.last is None:
        return
    messages: list[Message] = []
    run = stage.chain.runs.get(stage.last.run_id)
    for update_id in carried(stage.last):
        said = draw.of(["accept", "accept", "complete", "complete", "reject", "reject", "nothing"])
        if said == "reject":
            messages.append(rejected(update_id))
        elif said != "nothing":
            messages.append(accepted(update_id))
        if said == "complete":
            messages.append(completed(update_id))
    for update_id in list(run.facts.open_updates) if run is not None else []:
        if draw.of([True, False]) and not any(each.protocol_instance_id == update_id for each in messages):
            messages.append(completed(update_id))
    fields: dict[str, Any] = draw.of([{}, {}, sticky(), {"force_create_new_workflow_task": True}])
    answer(
        stage,
        *messages,
        commands=draw.of([(), (), (), (), (done(),)]),
        return_new_workflow_task=draw.of([True, True, False]),
        capabilities={"discard_speculative_workflow_task_with_events": draw.of([True, False])},
        **fields,
    )


@rule
def answers_updates_badly(stage: Stage, draw: Draw) -> None:
    if stage.last is not None and draw.of([False, False, False, True]):
        answer(stage, draw.of([accepted("none"), completed("u"), accepted("u"), rejected("v")]))


@rule
def owner_is_lost(stage: Stage, draw: Draw) -> None:
    """What was in memory only is gone; those who wait hear it from the role that lost it."""
    if draw.of([False, False, False, True]):
        stage.lose()


def check_updates(stage: Stage) -> None:
    """Once nobody sends anything any more and workers answer, no update is left over, and all is told that was decided.

    Each update of a run is accepted and completed at most once, in this order.
    """
    for events in stage.histories.values():
        states: dict[str, str] = {}
        for event in events:
            if event.HasField("workflow_execution_update_accepted_event_attributes"):
                update_id = event.workflow_execution_update_accepted_event_attributes.protocol_instance_id
                assert update_id not in states, "an update was accepted twice"
                states[update_id] = "accepted"
            elif event.HasField("workflow_execution_update_completed_event_attributes"):
                update_id = event.workflow_execution_update_completed_event_attributes.meta.update_id
                assert states[update_id] == "accepted", "an update was completed twice, or before it was accepted"
                states[update_id] = "completed"
    for run in stage.chain.runs.values():
        waiting = run.ephemeral.admitted_updates
        assert run.is_open or not waiting, "an update waits for a closed run"
        assert set(run.facts.open_updates) <= set(run.facts.updates)
        if run.is_open and any(not each.sent for each in waiting.values()) and not run.durable.paused:
            asleep = run.durable.unclaimed is not None
            assert run.workflow_task is not None or asleep, "an update waits for a task that nobody scheduled"
    _check_notices([notice for notice in stage.notices if isinstance(notice, UpdateMoved)])


def _check_notices(notices: list[UpdateMoved]) -> None:
    for notice in notices:
        assert (notice.error is None) or not notice.outcome
