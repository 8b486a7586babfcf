"""Rules for activities and user timers, added to the machine's list by importing this file."""

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import ActivityType, Payloads, RetryPolicy
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import SECOND_NS, to_duration
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
