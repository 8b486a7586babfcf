"""A reset of a history in which an id was used again before the end of its first use had a number."""

from perdure.workflow.requests import CompleteActivity
from tests.transcripts.activity_scenarios import activity, by_token, take, timer
from tests.transcripts.resetting import reset
from tests.transcripts.scenarios import signal, start
from tests.transcripts.stage import Stage


def test_a_timer_s_and_an_activity_s_second_use_is_pending_in_the_new_run() -> None:
    stage = Stage()
    stage.decide(start())
    stage.poll()
    stage.complete(timer("t", 5), activity("a"))
    started = take(stage)
    stage.decide(signal())
    stage.poll()
    stage.advance(6)
    stage.decide(CompleteActivity(by_token(started), None, "worker"))
    stage.complete(timer("t", 50), activity("a"))
    timers, activity_ids = stage.run.facts.timers, stage.run.facts.activity_ids
    assert list(timers) == ["t"]
    assert list(activity_ids) == ["a"]
    end = stage.run.facts.next_event_id
    stage.poll()
    stage.complete()
    decision = reset(stage, end + 1)
    assert decision.refusal is None
    assert stage.run.facts.timers == timers
    assert stage.run.facts.activity_ids == activity_ids
