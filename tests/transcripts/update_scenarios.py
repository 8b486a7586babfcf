"""Transcripts of updates and of the speculative workflow tasks that carry them."""

from tests.transcripts.activity_scenarios import Note
from tests.transcripts.scenarios import done, scenario, signal, start, sticky, terminate
from tests.transcripts.stage import Stage
from tests.transcripts.updating import accepted, answer, completed, rejected, update


def _idle(stage: Stage) -> None:
    stage.decide(start())
    stage.poll()
    stage.complete(**sticky())


@scenario
def updates_that_are_taken_and_refused(stage: Stage, note: Note) -> None:
    _idle(stage)
    note("nothing of this is written: the offer and the timers are volatile")
    stage.decide(update("refused"))
    stage.decide(update("refused"))
    stage.poll(sticky=True)
    stage.decide(update("meanwhile"))
    answer(stage, rejected("refused"), return_new_workflow_task=True, **sticky())
    note("the next task went with the answer, and the first acceptance writes it")
    answer(stage, accepted("meanwhile"), **sticky())
    stage.decide(update("other"))
    stage.decide(signal())
    note("the signal made the task an ordinary one")
    stage.poll(sticky=True)
    answer(stage, completed("meanwhile"), accepted("other"), completed("other"))
    stage.decide(update("other"))


@scenario
def updates_that_nobody_answers(stage: Stage, note: Note) -> None:
    _idle(stage)
    stage.decide(update())
    note("the worker that has the run in its cache is gone")
    stage.advance(5)
    stage.poll()
    note("nor does this one answer")
    stage.advance(10)
    stage.poll()
    answer(stage, completed())
    stage.decide(update("more"))
    stage.decide(terminate())


@scenario
def updates_of_a_workflow_that_ends(stage: Stage, note: Note) -> None:
    _idle(stage)
    stage.decide(update("taken"))
    stage.poll(sticky=True)
    answer(stage, accepted("taken"))
    stage.decide(update("sent"))
    stage.poll()
    stage.decide(update("admitted"))
    answer(stage, accepted("sent"), commands=(done(),))
    note("what was accepted failed with its workflow, and stays so")
    stage.decide(update("taken"))
    stage.decide(update("admitted"))
