"""What becomes of an update when something happens to its run, by how far the update is."""

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.update.v1 import Outcome

from perdure.base.clock import SECOND_NS, to_duration
from perdure.base.errors import NotFound, Unavailable, WorkflowNotReady
from perdure.workflow.decide import GUARDS, UpdateMoved
from perdure.workflow.deciders.abort_updates import abort_updates
from perdure.workflow.requests import DeleteRun
from perdure.workflow.update_requests import FindUpdate
from perdure.workflow.updates import ABORTED_BY_CLOSE, COMPLETED
from tests.transcripts.resetting import reset
from tests.transcripts.scenarios import command, done, start, terminate
from tests.transcripts.stage import Stage
from tests.transcripts.successor_scenarios import fail
from tests.transcripts.updating import accepted, answer, completed, heard, update

_ENDS = {"admitted": "a", "sent": "s", "accepted": "t", "completed": "c"}


def _with_updates(**fields: Any) -> Stage:
    """A run whose updates are admitted, sent, accepted and completed; the started task carries the second."""
    stage = Stage()
    stage.do(start(**fields))
    stage.poll()
    stage.complete()
    stage.do(update(_ENDS["accepted"]))
    stage.do(update(_ENDS["completed"]))
    stage.poll()
    answer(stage, accepted(_ENDS["accepted"]), accepted(_ENDS["completed"]), completed(_ENDS["completed"]))
    stage.do(update(_ENDS["sent"]))
    stage.poll()
    stage.do(update(_ENDS["admitted"]))
    heard(stage)
    return stage


def _closes(stage: Stage) -> None:
    stage.complete(done())


def _continues(stage: Stage) -> None:
    stage.complete(command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION"))


def _fails_and_is_tried_again(stage: Stage) -> None:
    stage.complete(fail())


def _terminated(stage: Stage) -> None:
    stage.do(terminate())


def _times_out(stage: Stage) -> None:
    stage.complete(force_create_new_workflow_task=True)
    stage.advance(100)


def _deleted(stage: Stage) -> None:
    stage.do(DeleteRun(stage.run.run_id))


def _reset(stage: Stage) -> None:
    assert reset(stage, 4).refusal is None


def _bad_completion(stage: Stage) -> None:
    stage.complete(command("CANCEL_TIMER", timer_id="none"))


def _task_fails(stage: Stage) -> None:
    stage.fail()


def _task_times_out(stage: Stage) -> None:
    stage.advance(10)


def _grows_over(stage: Stage) -> None:
    stage.complete(*[command("RECORD_MARKER", marker_name="m")] * 40)


_RETRIED: dict[str, Any] = {"retry_policy": RetryPolicy(initial_interval=to_duration(SECOND_NS), maximum_attempts=3)}
_TIMED: dict[str, Any] = {"workflow_run_timeout": to_duration(50 * SECOND_NS)}
_TABLE: dict[str, tuple[Callable[[Stage], None], dict[str, Any], dict[str, Any]]] = {
    "closes": (_closes, {}, {"admitted": NotFound, "sent": NotFound, "accepted": "failed"}),
    "continues": (_continues, {}, {"admitted": Unavailable, "sent": Unavailable, "accepted": "failed"}),
    "is tried again": (
        _fails_and_is_tried_again,
        _RETRIED,
        {"admitted": Unavailable, "sent": Unavailable, "accepted": "failed"},
    ),
    "terminated": (_terminated, {}, {"admitted": NotFound, "sent": NotFound, "accepted": "failed"}),
    "times out": (_times_out, _TIMED, {"admitted": NotFound, "sent": NotFound, "accepted": "failed"}),
    "times out and is tried again": (
        _times_out,
        {**_TIMED, **_RETRIED},
        {"admitted": Unavailable, "sent": Unavailable, "accepted": "failed"},
    ),
    "deleted": (_deleted, {}, {"admitted": NotFound, "sent": NotFound, "accepted": "failed"}),
    "reset": (_reset, {}, {"admitted": Unavailable, "sent": Unavailable, "accepted": "failed"}),
    "bad completion": (_bad_completion, {}, {"sent": WorkflowNotReady}),
    "task fails": (_task_fails, {}, {}),
    "task times out": (_task_times_out, {}, {}),
}


def _told(moved: UpdateMoved) -> object:
    if moved.error is not None:
        return type(moved.error)
    assert moved.stage == COMPLETED
    failure = Outcome.FromString(moved.outcome).failure
    assert failure.application_failure_info.type == "AcceptedUpdateCompletedWorkflow"
    return "failed"


@pytest.mark.parametrize("happens", _TABLE)
def test_what_becomes_of_updates(happens: str) -> None:
    happen, fields, expected = _TABLE[happens]
    stage = _with_updates(**fields)
    run_id = stage.run.run_id
    happen(stage)
    moved = heard(stage)
    assert {each.run_id for each in moved} <= {run_id}
    names = {update_id: name for name, update_id in _ENDS.items()}
    assert len(moved) == len({each.update_id for each in moved}), "one is told twice"
    assert {names[each.update_id]: _told(each) for each in moved} == expected
    kept = set(stage.chain.runs[run_id].ephemeral.admitted_updates)
    assert kept == {_ENDS[name] for name in ("admitted", "sent") if name not in expected}


def test_an_aborted_update_is_aborted_to_whoever_asks_again() -> None:
    stage = _with_updates()
    _terminated(stage)
    for again in (update("a"), FindUpdate(stage.run.run_id, "s")):
        refusal = stage.decide(again).refusal
        assert isinstance(refusal, NotFound)
        assert refusal.message == ABORTED_BY_CLOSE
    refusal = stage.decide(update("other")).refusal
    assert refusal is not None
    assert refusal.message == "workflow execution already completed"


def test_an_update_that_is_accepted_by_the_completion_that_closes_fails() -> None:
    stage = _with_updates()
    answer(stage, accepted("s"), commands=(done(),))
    told = {each.update_id: _told(each) for each in heard(stage)}
    assert told == {"a": NotFound, "s": "failed", "t": "failed"}


def test_a_run_that_outgrows_its_limits_tells_them_too() -> None:
    stage = _with_updates()
    stage.limits = type(stage.limits)(history_events_max=30)
    _grows_over(stage)
    assert not stage.run.is_open
    assert {each.update_id for each in heard(stage)} == {"a", "s", "t"}
    assert GUARDS[-1] is abort_updates, "another guard may close a run after it"


def test_a_completion_too_large_to_be_sent_ends_the_run() -> None:
    stage = _with_updates()
    stage.fail(cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_GRPC_MESSAGE_TOO_LARGE)
    assert {each.update_id for each in heard(stage)} == {"a", "s", "t"}


def test_an_aborted_update_is_not_known_to_the_run_that_follows() -> None:
    stage = _with_updates()
    _continues(stage)
    assert stage.do(update("s")).run_id == stage.run.run_id
    stage.poll()
    answer(stage, accepted("s"), completed("s"))
    assert [each.run_id for each in heard(stage)][-1] == stage.run.run_id
