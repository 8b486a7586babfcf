"""Every operator's request in every state of an activity, as a table: what becomes of the attempt, and what it wants.

A line reads `state, request: attempt N (paused, reset), stamp +n, what the activity wants from the world`.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Priority, RetryPolicy, WorkflowExecution
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.workflow.activity_requests import PauseActivity, ResetActivity, UnpauseActivity, UpdateActivityOptions
from perdure.workflow.outstanding import tasks_of
from perdure.workflow.requests import FailActivity, HeartbeatActivity
from perdure.workflow.state import ActivityAttempt
from perdure.workflow.tasks import Offer, Timer
from tests.transcripts.activity_scenarios import activity, begin, by_token, details, failure, seconds, take
from tests.transcripts.scenarios import command, scenario, signal
from tests.transcripts.stage import T0, Stage

Note = Callable[[str], None]
_ID = 5
_WHICH: dict[str, Any] = {"execution": WorkflowExecution(workflow_id="wf"), "id": "act", "identity": "operator"}


def _scheduled(stage: Stage) -> None:
    policy = RetryPolicy(initial_interval=seconds(100), backoff_coefficient=1)
    begin(stage, activity(retry_policy=policy, schedule_to_start_timeout=seconds(60), heartbeat_timeout=seconds(5)))


def _started(stage: Stage) -> None:
    _scheduled(stage)
    stage.do(HeartbeatActivity(by_token(take(stage)), details("half"), "worker"))


def _backoff(stage: Stage) -> None:
    _scheduled(stage)
    ref = by_token(take(stage))
    stage.do(HeartbeatActivity(ref, details("half"), "worker"))
    stage.do(FailActivity(ref, failure("broken"), "worker"))


def _second(stage: Stage) -> None:
    _backoff(stage)
    stage.advance(101)
    take(stage, "again")


def _paused(stage: Stage) -> None:
    _backoff(stage)
    stage.do(_PAUSE)


def _pausing(stage: Stage) -> None:
    _started(stage)
    stage.do(_PAUSE)


def _cancelling(stage: Stage) -> None:
    _started(stage)
    stage.decide(signal("go"))
    stage.poll()
    stage.complete(command("REQUEST_CANCEL_ACTIVITY_TASK", scheduled_event_id=_ID))


def _changed(stage: Stage) -> None:
    _backoff(stage)
    stage.do(_update("heartbeat_timeout", "priority", "task_queue.name"))


def _update(*paths: str) -> UpdateActivityOptions:
    options = ActivityOptions(
        task_queue=TaskQueue(name="other"),
        heartbeat_timeout=seconds(3),
        start_to_close_timeout=seconds(4),
        retry_policy=RetryPolicy(initial_interval=seconds(20)),
        priority=Priority(priority_key=1),
    )
    mask = FieldMask(paths=paths)
    return UpdateActivityOptions(UpdateActivityOptionsRequest(activity_options=options, update_mask=mask, **_WHICH))


def _reset(**fields: Any) -> ResetActivity:
    return ResetActivity(ResetActivityRequest(**_WHICH, **fields))


def _unpause(**fields: Any) -> UnpauseActivity:
    return UnpauseActivity(UnpauseActivityRequest(**_WHICH, **fields))


_PAUSE = PauseActivity(PauseActivityRequest(reason="enough", request_id="one", **_WHICH))
_ANOTHER_PAUSE = PauseActivity(PauseActivityRequest(request_id="two", **_WHICH))
_RESTORE = UpdateActivityOptions(UpdateActivityOptionsRequest(restore_original=True, **_WHICH))

STATES: dict[str, Callable[[Stage], None]] = {
    "scheduled": _scheduled,
    "started": _started,
    "in backoff": _backoff,
    "second attempt started": _second,
    "paused in backoff": _paused,
    "started and paused": _pausing,
    "cancel requested": _cancelling,
    "in backoff with other options": _changed,
}
REQUESTS: dict[str, Any] = {
    "pause": _PAUSE,
    "another pause": _ANOTHER_PAUSE,
    "unpause": _unpause(),
    "unpause, attempts reset": _unpause(reset_attempts=True),
    "unpause, heartbeat reset": _unpause(reset_heartbeat=True),
    "unpause within 10 s": _unpause(jitter=Duration(seconds=10)),
    "reset": _reset(),
    "reset with heartbeat": _reset(reset_heartbeat=True),
    "reset, kept paused": _reset(keep_paused=True),
    "reset, options restored": _reset(restore_original_options=True),
    "reset within 10 s": _reset(jitter=Duration(seconds=10)),
    "update of timeouts": _update("heartbeat_timeout", "start_to_close_timeout"),
    "update of the interval": _update("retry_policy.initial_interval"),
    "update of the queue": _update("task_queue.name", "priority.priority_key"),
    "options restored": _RESTORE,
}


@scenario
def operations_on_activities(stage: Stage, note: Note) -> None:
    """Each request in each state, on a run of its own; nothing of it is an event."""
    for state, prepare in STATES.items():
        for name, request in REQUESTS.items():
            other = Stage()
            prepare(other)
            before = other.run.durable.attempts[_ID]
            events = len(other.history)
            decision = other.decide(request)
            shown = f"refused: {decision.refusal}" if decision.refusal is not None else _shown(other, before)
            assert len(other.history) == events
            note(f"{state}, {name}: {shown}")


def _shown(stage: Stage, before: ActivityAttempt) -> str:
    after = stage.run.durable.attempts[_ID]
    if after == before:
        return "nothing"
    words = [word for word, holds in (("paused", after.paused), ("reset", after.reset)) if holds]
    if after.reset_heartbeat:
        words.append("heartbeat to be forgotten")
    if bool(after.heartbeat_details) != bool(before.heartbeat_details):
        words.append("heartbeat forgotten")
    if bool(after.last_failure) != bool(before.last_failure):
        words.append("failure forgotten")
    if bool(after.options) != bool(before.options):
        words.append("other options" if after.options else "options of the schedule")
    said = f" ({', '.join(words)})" if words else ""
    wanted = ", ".join(sorted(map(_task, tasks_of(stage.run, ("activity", _ID))))) or "nothing"
    return f"attempt {after.attempt}{said}, stamp +{after.stamp - before.stamp}, wants {wanted}"


def _task(task: Any) -> str:
    if isinstance(task, Offer):
        return f"a worker of {task.queue.name} at priority {task.priority}"
    assert isinstance(task, Timer)
    return f"{task.kind.name} at {(task.due_ns - T0) / SECOND_NS:.0f}s"
