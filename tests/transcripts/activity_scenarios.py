"""Transcripts of activities and timers: their attempts, their deadlines, and what a completion does to them."""

from collections.abc import Callable
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.base.clock import SECOND_NS, to_duration
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import (
    ActivityRef,
    ActivityTaskStarted,
    CancelActivity,
    CompleteActivity,
    CompleteWorkflowTask,
    FailActivity,
    HeartbeatActivity,
    StartActivityTask,
)
from perdure.workflow.tasks import Offer, QueueKind
from perdure.workflow.tokens import TaskToken
from tests.transcripts.scenarios import command, done, scenario, signal, start
from tests.transcripts.stage import Stage

Note = Callable[[str], None]


def seconds(amount: float) -> Any:
    """A protobuf duration."""
    return to_duration(int(amount * SECOND_NS))


def details(text: str) -> Payloads:
    """One payload."""
    return Payloads(payloads=[Payload(data=text.encode())])


def activity(activity_id: str = "act", **attributes: Any) -> Command:
    """ScheduleActivityTask with 10 s from start to close."""
    given: dict[str, Any] = {
        "activity_id": activity_id,
        "activity_type": {"name": "work"},
        "task_queue": {"name": "queue"},
        "start_to_close_timeout": seconds(10),
        **attributes,
    }
    return command("SCHEDULE_ACTIVITY_TASK", **given)


def timer(timer_id: str, amount: float) -> Command:
    """StartTimer."""
    return command("START_TIMER", timer_id=timer_id, start_to_fire_timeout=seconds(amount))


def begin(stage: Stage, *commands: Command, **fields: Any) -> None:
    """Start the workflow and answer its first task."""
    stage.decide(start(**fields))
    stage.poll()
    stage.complete(*commands)


def take(stage: Stage, request_id: str = "take") -> ActivityTaskStarted:
    """Give the first offered activity to a worker, as matching would."""
    offers = [task for task in outstanding(stage.run) if isinstance(task, Offer)]
    offers = [offer for offer in offers if offer.queue.kind == QueueKind.ACTIVITY]
    offer = min(offers, key=lambda offer: offer.order)
    started: ActivityTaskStarted = stage.do(StartActivityTask(offer, request_id, "worker"))
    return started


def by_token(started: ActivityTaskStarted) -> ActivityRef:
    """The reference that a worker sends back."""
    token = TaskToken(
        namespace_id="ns",
        workflow_id="wf",
        run_id=started.run_id,
        scheduled_event_id=started.activity.scheduled_event_id,
        started_time_ns=started.attempt.started_time_ns,
        attempt=started.attempt.attempt,
        stamp=started.attempt.stamp,
    )
    return ActivityRef(token=token)


def failure(message: str, **info: Any) -> Failure:
    """What a worker reports."""
    return Failure(message=message, application_failure_info=ApplicationFailureInfo(**info))


@scenario
def an_activity_is_tried_again(stage: Stage, note: Note) -> None:
    begin(stage, activity(schedule_to_close_timeout=seconds(60)))
    first = take(stage)
    stage.advance(1)
    stage.decide(HeartbeatActivity(by_token(first), details("half"), "worker"))
    stage.decide(FailActivity(by_token(first), failure("broken"), "worker"))
    stage.advance(1)
    note("the first attempt is over, the second has its heartbeat")
    second = take(stage, "take again")
    stage.decide(CompleteActivity(by_token(first), None, "worker"))
    stage.decide(CompleteActivity(by_token(second), details("out"), "worker"))


@scenario
def an_activity_ends_while_a_task_is_started(stage: Stage, note: Note) -> None:
    begin(stage, activity("a"), activity("b"), timer("short", 5))
    a, b = take(stage, "one"), take(stage, "two")
    stage.decide(signal())
    stage.poll()
    stage.decide(CompleteActivity(by_token(a), details("out"), "worker"))
    stage.decide(signal("between"))
    stage.decide(FailActivity(by_token(b), failure("broken", non_retryable=True), "worker"))
    stage.advance(5)
    note("the timer never fired, and ends come last")
    stage.complete(command("CANCEL_TIMER", timer_id="short"))


@scenario
def cancelling_activities(stage: Stage, note: Note) -> None:
    begin(stage, activity("started"), activity("waiting"))
    started = take(stage)
    stage.decide(CancelActivity(by_token(started), None, "worker"))
    stage.decide(signal())
    stage.poll()
    note("one that no worker has ends at once, behind the events of the commands")
    first, second = (command("REQUEST_CANCEL_ACTIVITY_TASK", scheduled_event_id=event_id) for event_id in (5, 6))
    stage.complete(second, first, timer("t", 100))
    stage.decide(HeartbeatActivity(by_token(started), None, "worker"))
    stage.decide(CancelActivity(by_token(started), details("stopped"), "worker"))


@scenario
def cancelling_an_activity_and_closing(stage: Stage, note: Note) -> None:
    begin(stage, activity())
    stage.decide(signal())
    stage.poll()
    stage.complete(command("REQUEST_CANCEL_ACTIVITY_TASK", scheduled_event_id=5), done())


@scenario
def deadlines_of_an_activity(stage: Stage, note: Note) -> None:
    timeouts = {
        "schedule_to_close_timeout": seconds(30),
        "schedule_to_start_timeout": seconds(20),
        "heartbeat_timeout": seconds(3),
    }
    begin(stage, activity(**timeouts))
    first = take(stage)
    stage.advance(2)
    stage.decide(HeartbeatActivity(by_token(first), details("alive"), "worker"))
    note("a heartbeat is missed")
    stage.advance(4)
    note("the second attempt takes too long, nobody takes the third")
    second = take(stage, "take again")
    for _ in range(4):
        stage.advance(2)
        stage.decide(HeartbeatActivity(by_token(second), None, "worker"))
    stage.advance(30)


@scenario
def nobody_takes_an_activity(stage: Stage, note: Note) -> None:
    begin(
        stage, activity("a", schedule_to_start_timeout=seconds(5)), activity("b", schedule_to_close_timeout=seconds(5))
    )
    stage.advance(5)


@scenario
def completing_by_id(stage: Stage, note: Note) -> None:
    begin(stage, activity("a"), activity("b"))
    stage.decide(CompleteActivity(ActivityRef(activity_id="a"), details("out"), "client"))
    stage.decide(FailActivity(ActivityRef(activity_id="b"), failure("no"), "client"))
    stage.decide(CompleteActivity(ActivityRef(activity_id="a"), None, "client"))


@scenario
def timers_fire_together(stage: Stage, note: Note) -> None:
    begin(
        stage, timer("b", 2), timer("a", 1), timer("c", 1), timer("gone", 1), command("CANCEL_TIMER", timer_id="gone")
    )
    stage.advance(1)
    stage.poll()
    note("one fires while the task is at work")
    stage.advance(1)
    stage.complete()


@scenario
def an_eager_activity(stage: Stage, note: Note) -> None:
    stage.decide(start())
    stage.poll()
    wanted = [activity(activity_id, request_eager_execution=True) for activity_id in ("a", "b")]
    answer = RespondWorkflowTaskCompletedRequest(commands=wanted, identity="worker")
    note("the caller can hand out one")
    reply = stage.do(CompleteWorkflowTask(stage.token(), answer, eager_activities_max=1))
    stage.decide(CompleteActivity(by_token(reply.activities[0]), details("out"), "worker"))
    note("the other is offered")
    take(stage)
