"""A run on the bench: hand-made facts, a clock that tests set, and every decision checked against its own replay."""

from dataclasses import dataclass
from typing import Any

import msgspec
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command, ScheduleActivityTaskCommandAttributes, StartTimerCommandAttributes
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, RetryPolicy
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import SECOND_NS, to_duration
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.workflow.commands import HANDLERS, Completion
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.decide import Decision, Work, decide, decides
from perdure.workflow.evolve import attributes_of, history_batches, replay
from perdure.workflow.flush import flush
from perdure.workflow.outstanding import outstanding, tasks_of
from perdure.workflow.requests import (
    ActivityRef,
    ActivityTaskStarted,
    FailActivity,
    FireTimer,
    HeartbeatActivity,
    StartActivityTask,
)
from perdure.workflow.state import (
    RUNNING,
    Activity,
    ActivityAttempt,
    Chain,
    CurrentRun,
    Durable,
    Ephemeral,
    Facts,
    HistorySegment,
    Run,
    WorkflowTask,
)
from perdure.workflow.steps import decode_record, encode_record
from perdure.workflow.tasks import Offer, Task, Timer
from perdure.workflow.tokens import TaskToken
from perdure.workflow.workflow_task import wake

KEY = ChainKey("ns", "wf")
T0 = 1_700_000_000 * SECOND_NS
COMPLETED_ID = 4


@dataclass(frozen=True, slots=True)
class RunCommands:
    """The commands of a completion, without the rest of it."""

    commands: tuple[Command, ...]


@decides(RunCommands)
def run_commands(work: Work, request: RunCommands) -> list[int]:
    """Reply: the scheduled ids of activities whose eager start was asked for."""
    draft = work.draft("run")
    draft.assign("workflow_task", None)
    draft.holding = True
    completion = Completion(work, draft, COMPLETED_ID, "worker")
    for command in request.commands:
        name, handler = HANDLERS[command.command_type]
        handler(completion, command, getattr(command, name))
    draft.holding = False
    if flush(draft) or draft.woken:
        wake(draft)
    return completion.eager_activities


class Bench:
    """One open run `run` of workflow id `wf`, four events old, its workflow task completed."""

    def __init__(self, *, limits: Limits | None = None, priority: bytes = b"", run_timeout_ns: int = 0) -> None:
        durable = Durable(
            namespace_id="ns",
            workflow_id="wf",
            run_id="run",
            segments=(HistorySegment("branch"),),
            run_expiration_ns=T0 + run_timeout_ns if run_timeout_ns else 0,
        )
        facts = Facts(
            workflow_type="flow",
            task_queue="queue",
            first_run_id="run",
            run_timeout_ns=run_timeout_ns,
            task_timeout_ns=10 * SECOND_NS,
            start_time_ns=T0,
            next_event_id=COMPLETED_ID + 1,
            last_completed_started_event_id=3,
            priority=priority,
        )
        current = CurrentRun("run", RUNNING, "request", T0, "run")
        self.chain = Chain(KEY, current, {"run": Run(facts, durable, Ephemeral())})
        self.limits = limits or Limits()
        self.now_ns = T0
        self.events: list[HistoryEvent] = []
        self._position = 0

    @property
    def run(self) -> Run:
        return self.chain.runs["run"]

    def decide(self, request: Any) -> Decision:
        """Decide `request`, without adopting it; what it records is checked against its own replay."""
        self._position += 1
        context = Context(
            now_ns=self.now_ns,
            seed=bytes(16),
            position=self._position,
            namespace=NamespaceView("ns", "namespace", 0),
            limits=self.limits,
        )
        before = _state(self.run)
        decision = decide(self.chain, request, context)
        assert _state(self.run) == before
        if decision.record is not None:
            record = decode_record(encode_record(decision.record))
            replayed = self.run.fork()
            for mutation in record.mutations:
                again = replay(replayed, mutation)
                assert again is not None
                assert _state(again) == _state(decision.chain.runs["run"])
        wanted = (outstanding(self.run) | set(decision.added)) - set(decision.removed)
        assert wanted == outstanding(decision.chain.runs["run"])
        return decision

    def do(self, request: Any) -> Any:
        """Decide and adopt; returns the reply, or raises the refusal."""
        decision = self.decide(request)
        if decision.refusal is not None:
            raise decision.refusal
        self.chain = decision.chain
        if decision.record is not None:
            for mutation in decision.record.mutations:
                for batch in history_batches(mutation):
                    self.events += map(HistoryEvent.FromString, batch)
        return decision.reply

    def after(self, seconds: float) -> "Bench":
        """Move the clock on."""
        self.now_ns += int(seconds * SECOND_NS)
        return self

    def command(self, *commands: Command) -> list[int]:
        """Run commands as one completion."""
        reply: list[int] = self.do(RunCommands(commands))
        return reply

    def fire(self, timer: Timer) -> None:
        """Move the clock to when `timer` is due, if that is not over, and fire it."""
        self.now_ns = max(self.now_ns, timer.due_ns)
        self.do(FireTimer(timer))

    def activity(self, **attributes: Any) -> int:
        """Schedule an activity; returns its scheduled event id."""
        self.command(schedule(**attributes))
        return max(self.run.facts.activities)

    def start(self, *, request_id: str = "start", identity: str = "worker") -> ActivityTaskStarted:
        """Start the one activity that is offered."""
        (offer,) = self.offers()
        started: ActivityTaskStarted = self.do(StartActivityTask(offer, request_id, identity))
        return started

    def fail(self, started: ActivityTaskStarted, failure: Failure | None = None) -> None:
        """Fail the attempt that `started` describes."""
        self.do(FailActivity(ref(started), failure or application_failure(), "worker"))

    def heartbeat(self, started: ActivityTaskStarted, details: str = "beat") -> Any:
        """A heartbeat with `details`."""
        return self.do(HeartbeatActivity(ref(started), payloads(details), "worker"))

    def task_is_started(self) -> None:
        """From here on a workflow task is at work, so that events are buffered."""
        task = WorkflowTask(scheduled_event_id=2, scheduled_time_ns=T0, started_event_id=3, started_time_ns=T0)
        self.run.assign("workflow_task", task)

    def offers(self) -> list[Offer]:
        """The activity tasks on offer."""
        return [task for task in self._activity_tasks() if isinstance(task, Offer)]

    def timers(self) -> list[Timer]:
        """The timers of activities and user timers, by due time."""
        return sorted(
            (task for task in self._activity_tasks() if isinstance(task, Timer)), key=lambda timer: timer.due_ns
        )

    def _activity_tasks(self) -> list[Task]:
        run = self.run
        entities = [("activity", key) for key in run.facts.activities] + [("timer", key) for key in run.facts.timers]
        return [task for entity in entities for task in tasks_of(run, entity)]

    def pending(self, scheduled_event_id: int) -> tuple[Activity, ActivityAttempt]:
        """A pending activity and its attempt."""
        return self.run.facts.activities[scheduled_event_id], self.run.durable.attempts[scheduled_event_id]

    def names(self) -> list[str]:
        """The types of all events so far, without those of workflow tasks."""
        names = [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in self.events]
        return [name for name in names if not name.startswith("WORKFLOW_TASK")]

    def last(self, name: str) -> Any:
        """The attributes of the newest event of a type."""
        wanted = EventType.Value("EVENT_TYPE_" + name)
        return attributes_of([event for event in self.events if event.event_type == wanted][-1])


def _state(run: Run) -> tuple[Any, Any]:
    return msgspec.to_builtins(run.facts), msgspec.to_builtins(run.durable)


def command(kind: str, attributes: Message) -> Command:
    """A command of a type, with its attributes."""
    result = Command(command_type=CommandType.Value("COMMAND_TYPE_" + kind))
    getattr(result, kind.lower() + "_command_attributes").CopyFrom(attributes)
    return result


def schedule(**changes: Any) -> Command:
    """ScheduleActivityTask of activity `act` on queue `queue`, start to close 10 s; `changes`: None leaves one out."""
    given: dict[str, Any] = {
        "activity_id": "act",
        "activity_type": ActivityType(name="work"),
        "task_queue": TaskQueue(name="queue"),
        "start_to_close_timeout": seconds(10),
        **changes,
    }
    given = {name: value for name, value in given.items() if value is not None}
    return command("SCHEDULE_ACTIVITY_TASK", ScheduleActivityTaskCommandAttributes(**given))


def start_timer_command(timer_id: str = "timer", duration: float = 60) -> Command:
    """StartTimer."""
    attributes = StartTimerCommandAttributes(timer_id=timer_id, start_to_fire_timeout=seconds(duration))
    return command("START_TIMER", attributes)


def seconds(amount: float) -> Any:
    """A protobuf duration."""
    return to_duration(int(amount * SECOND_NS))


def once() -> RetryPolicy:
    """One attempt only."""
    return RetryPolicy(maximum_attempts=1)


def payloads(text: str) -> Payloads:
    """One plain payload."""
    return Payloads(payloads=[Payload(data=text.encode())])


def application_failure(message: str = "broken", *, kind: str = "", non_retryable: bool = False) -> Failure:
    """What a worker reports."""
    info = ApplicationFailureInfo(type=kind, non_retryable=non_retryable)
    return Failure(message=message, application_failure_info=info)


def ref(started: ActivityTaskStarted) -> ActivityRef:
    """The reference by token, as the history role makes it."""
    return ActivityRef(
        token=TaskToken(
            namespace_id="ns",
            workflow_id="wf",
            run_id=started.run_id,
            scheduled_event_id=started.activity.scheduled_event_id,
            started_time_ns=started.attempt.started_time_ns,
            attempt=started.attempt.attempt,
            stamp=started.attempt.stamp,
            activity_id=started.activity.activity_id,
        )
    )
