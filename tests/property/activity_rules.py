"""Rules for activities and user timers, added to the machine's list by importing this file."""

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import ActivityType, Payloads, RetryPolicy, WorkflowExecution
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)

from perdure.base.clock import SECOND_NS, to_duration
from perdure.workflow.activity_requests import PauseActivity, ResetActivity, UnpauseActivity, UpdateActivityOptions
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import (
    ActivityRef,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    StartActivityTask,
)
from perdure.workflow.tasks import Offer, QueueKind
from tests.property.rules import Draw, completion_command, rule
from tests.transcripts.scenarios import command
from tests.transcripts.stage import Stage

_POLICIES = [RetryPolicy(), RetryPolicy(maximum_attempts=1), RetryPolicy(maximum_attempts=3)]


@completion_command
def schedules_activity(stage: Stage, draw: Draw) -> Command:
    return command(
        "SCHEDULE_ACTIVITY_TASK",
        activity_id=draw.of(["1", "2", "3"]),
        activity_type=ActivityType(name="work"),
        task_queue=TaskQueue(name="queue"),
        start_to_close_timeout=to_duration(draw.of([3, 30]) * SECOND_NS),
        heartbeat_timeout=to_duration(draw.of([0, 2]) * SECOND_NS),
        retry_policy=draw.of(_POLICIES),
    )


@completion_command
def cancels_activity(stage: Stage, draw: Draw) -> Command:
    pending = [*stage.run.facts.activities] if stage.chain.current is not None else []
    return command("REQUEST_CANCEL_ACTIVITY_TASK", scheduled_event_id=draw.of([*pending, 5]))


@completion_command
def starts_timer(stage: Stage, draw: Draw) -> Command:
    duration = to_duration(draw.of([1, 20]) * SECOND_NS)
    return command("START_TIMER", timer_id=draw.of(["s", "t"]), start_to_fire_timeout=duration)


@completion_command
def cancels_timer(stage: Stage, draw: Draw) -> Command:
    return command("CANCEL_TIMER", timer_id=draw.of(["s", "t"]))


@rule
def activity_starts(stage: Stage, draw: Draw) -> None:
    tasks = [task for run in stage.chain.runs.values() for task in outstanding(run)]
    for task in tasks:
        if isinstance(task, Offer) and task.queue.kind == QueueKind.ACTIVITY:
            decision = stage.decide(StartActivityTask(task, f"{task.scheduled_event_id}", "worker"))
            assert decision.refusal is None, "an offered attempt could not be started"
            return


@rule
def activity_answers(stage: Stage, draw: Draw) -> None:
    if stage.chain.current is None:
        return
    known = [activity.activity_id for activity in stage.run.facts.activities.values()]
    ref = ActivityRef(run_id=stage.run.run_id, activity_id=draw.of([*known, "1"]))
    failure = Failure(message="no", application_failure_info=ApplicationFailureInfo(type="Broken"))
    stage.decide(
        draw.of(
            [
                CompleteActivity(ref, Payloads(), "worker"),
                FailActivity(ref, failure, "worker"),
                CancelActivity(ref, None, "worker"),
                HeartbeatActivity(ref, None, "worker"),
            ]
        )
    )


@rule
def operator_acts(stage: Stage, draw: Draw) -> None:
    """Pause, unpause, reset, other options; by id, by type, or all."""
    if stage.chain.current is None:
        return
    known = [activity.activity_id for activity in stage.run.facts.activities.values()]
    by: dict[str, Any] = draw.of([{"id": draw.of([*known, "1"])}, {"type": "work"}, {"match_all": True}])
    given: dict[str, Any] = {"execution": WorkflowExecution(workflow_id="wf", run_id=stage.run.run_id)}
    jitter = to_duration(draw.of([0, 5]) * SECOND_NS)
    yes = draw.of([False, True])
    kind = draw.of(["pause", "unpause", "reset", "update"])
    if kind == "pause":
        of = {"type": "work"} if "match_all" in by else by
        stage.decide(PauseActivity(PauseActivityRequest(**given, **of, request_id=draw.of(["p", "q"]))))
    elif kind == "unpause":
        of = {"unpause_all": True} if "match_all" in by else by
        asked = UnpauseActivityRequest(**given, **of, reset_attempts=yes, reset_heartbeat=yes, jitter=jitter)
        stage.decide(UnpauseActivity(asked))
    elif kind == "reset":
        kept = draw.of([False, True])
        again = ResetActivityRequest(**given, **by, keep_paused=kept, reset_heartbeat=yes, jitter=jitter)
        again.restore_original_options = draw.of([False, True])
        stage.decide(ResetActivity(again))
    else:
        options = ActivityOptions(
            task_queue=TaskQueue(name=draw.of(["queue", "other"])),
            heartbeat_timeout=jitter,
            retry_policy=RetryPolicy(initial_interval=to_duration(draw.of([1, 9]) * SECOND_NS)),
        )
        mask = FieldMask(paths=[draw.of(["task_queue.name", "heartbeat_timeout", "retry_policy", "no such path"])])
        other = UpdateActivityOptionsRequest(**given, **by, activity_options=options, update_mask=mask)
        if yes:
            other = UpdateActivityOptionsRequest(**given, **by, restore_original=True)
        stage.decide(UpdateActivityOptions(other))
