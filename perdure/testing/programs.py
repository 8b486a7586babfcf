"""Deterministic workflow programs: given a history, the commands that come next.

A program is a list of steps, given to its workflow as input. Invariant: what it wants depends on the history alone and
only grows with it, so a worker may replay it from the beginning at every task. Whatever a history holds that its
program never wanted is a fault of the server, and said so.
"""

import json
from typing import Any

import msgspec
from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    CancelTimerCommandAttributes,
    CancelWorkflowExecutionCommandAttributes,
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
    RecordMarkerCommandAttributes,
    RequestCancelActivityTaskCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, RetryPolicy
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import MS_NS, to_duration
from perdure.testing.checkers.evidence import REQUEST_ID
from perdure.testing.entropy import SeededEntropy


class ActivityStep(msgspec.Struct, frozen=True, tag="activity"):
    """`fails`: attempts that fail before one succeeds. `hangs`: the attempt that is never answered, 0 = none.

    `beats`: heartbeats per attempt. `work_ms`: how long an attempt takes. `attempts`: at most, 0 = any number.
    `width`: so many at once.
    """

    fails: int = 0
    hangs: int = 0
    beats: int = 0
    work_ms: int = 100
    attempts: int = 0
    width: int = 1


class TimerStep(msgspec.Struct, frozen=True, tag="timer"):
    """Sleep for `ms`."""

    ms: int


class RaceStep(msgspec.Struct, frozen=True, tag="race"):
    """An activity against a timer of `ms`: whichever comes second is cancelled."""

    ms: int
    work_ms: int
    beats: int = 0


class SignalStep(msgspec.Struct, frozen=True, tag="signals"):
    """Wait until `count` signals have come in all."""

    count: int


class MarkerStep(msgspec.Struct, frozen=True, tag="marker"):
    """Record a marker."""


Step = ActivityStep | TimerStep | RaceStep | SignalStep | MarkerStep


class Program(msgspec.Struct, frozen=True):
    """`steps` one after the other; then the workflow completes, or fails."""

    steps: tuple[Step, ...]
    fails: bool = False

    @property
    def signals(self) -> int:
        """How many signals it waits for."""
        return max((step.count for step in self.steps if isinstance(step, SignalStep)), default=0)


def draw_program(entropy: SeededEntropy) -> Program:
    """A program of one to six steps."""
    steps: list[Step] = []
    signals = 0
    for _ in range(1 + entropy.below(6)):
        choice = entropy.below(7)
        if choice <= 1:
            steps.append(_draw_activity(entropy))
        elif choice == 2:
            steps.append(TimerStep(50 + entropy.below(4_000)))
        elif choice == 3:
            steps.append(RaceStep(200 + entropy.below(2_000), 200 + entropy.below(2_000), entropy.below(3)))
        elif choice == 4:
            steps.append(MarkerStep())
        else:
            signals += 1 + entropy.below(2)
            steps.append(SignalStep(signals))
    return Program(tuple(steps), entropy.fraction() < 0.15)


def _draw_activity(entropy: SeededEntropy) -> ActivityStep:
    fails = entropy.below(3)
    return ActivityStep(
        fails=fails,
        hangs=1 + entropy.below(2) if entropy.fraction() < 0.2 else 0,
        beats=entropy.below(3),
        work_ms=entropy.below(1_500),
        attempts=4 if entropy.fraction() < 0.3 else 0,
        width=1 + (entropy.below(3) if entropy.fraction() < 0.3 else 0),
    )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Program)
_activity_decoder: msgspec.json.Decoder[ActivityStep | RaceStep] = msgspec.json.Decoder(ActivityStep | RaceStep)


def payloads(data: bytes) -> Payloads:
    """One payload."""
    return Payloads(payloads=[Payload(metadata={"encoding": b"json/plain"}, data=data)])


def program_input(program: Program) -> Payloads:
    """The workflow's input."""
    return payloads(_encoder.encode(program))


def activity_step(input: Payloads) -> ActivityStep | RaceStep:
    """What an activity's input says."""
    return _activity_decoder.decode(input.payloads[0].data)


class Wants(msgspec.Struct):
    """The commands that come next, each with its key; `strange`: what the history holds that was never wanted."""

    commands: list[Command] = []
    strange: list[str] = []

    @property
    def keys(self) -> list[tuple[int, str]]:
        """(command type, key), as the checkers compare them."""
        return [(int(command.command_type), _key_of(command)) for command in self.commands]


def _key_of(command: Command) -> str:
    attributes = getattr(command, command.WhichOneof("attributes") or "")
    for field in ("activity_id", "scheduled_event_id", "timer_id", "marker_name"):
        if field in attributes.DESCRIPTOR.fields_by_name:
            return str(getattr(attributes, field))
    return ""


class Facts:
    """What a history says so far."""

    def __init__(self, events: list[HistoryEvent]) -> None:
        self.program = Program(())
        self.task_queue = ""
        self.scheduled: dict[str, int] = {}
        self.timers: dict[str, int] = {}
        self.markers: set[str] = set()
        self.ended: dict[int, int] = {}  # scheduled or started event id -> the event that ended it
        self.cancelled: set[int] = set()  # scheduled ids of activities whose cancellation was requested
        self.signals: list[str] = []
        self.is_cancelled = False
        for event in events:
            take = _TAKERS.get(event.event_type)
            if take is not None:
                take(self, event)

    def started(self, event: HistoryEvent) -> None:
        attributes = event.workflow_execution_started_event_attributes
        self.program = _decoder.decode(attributes.input.payloads[0].data)
        self.task_queue = attributes.task_queue.name

    def activity(self, event: HistoryEvent) -> None:
        self.scheduled[event.activity_task_scheduled_event_attributes.activity_id] = event.event_id

    def timer(self, event: HistoryEvent) -> None:
        self.timers[event.timer_started_event_attributes.timer_id] = event.event_id

    def marker(self, event: HistoryEvent) -> None:
        self.markers.add(event.marker_recorded_event_attributes.marker_name)

    def activity_end(self, event: HistoryEvent) -> None:
        attributes: Any = getattr(event, event.WhichOneof("attributes") or "")
        self.ended[attributes.scheduled_event_id] = event.event_id

    def timer_end(self, event: HistoryEvent) -> None:
        attributes: Any = getattr(event, event.WhichOneof("attributes") or "")
        self.ended[attributes.started_event_id] = event.event_id

    def cancel_activity(self, event: HistoryEvent) -> None:
        self.cancelled.add(event.activity_task_cancel_requested_event_attributes.scheduled_event_id)

    def signal(self, event: HistoryEvent) -> None:
        fields = event.workflow_execution_signaled_event_attributes.header.fields
        self.signals.append(fields[REQUEST_ID].data.decode())

    def cancel(self, _event: HistoryEvent) -> None:
        self.is_cancelled = True

    def answer(self) -> Payloads:
        """What a query is answered: the request ids of all signals so far."""
        return payloads(json.dumps(self.signals).encode())


_TAKERS = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: Facts.started,
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: Facts.activity,
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: Facts.activity_end,
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: Facts.activity_end,
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: Facts.activity_end,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: Facts.activity_end,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: Facts.cancel_activity,
    EventType.EVENT_TYPE_TIMER_STARTED: Facts.timer,
    EventType.EVENT_TYPE_TIMER_FIRED: Facts.timer_end,
    EventType.EVENT_TYPE_TIMER_CANCELED: Facts.timer_end,
    EventType.EVENT_TYPE_MARKER_RECORDED: Facts.marker,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: Facts.signal,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED: Facts.cancel,
}


class _Walk:
    """One walk through a program's steps over what the history says."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.wants = Wants()
        self.seen: set[str] = set()

    def run(self) -> Wants:
        facts = self.facts
        finished = all(self._step(str(index), step) for index, step in enumerate(facts.program.steps))
        known = {*facts.scheduled, *facts.timers, *facts.markers}
        self.wants.strange = sorted(known - self.seen)
        if facts.is_cancelled:
            self.wants.commands = [_CANCEL]
        elif finished:
            self.wants.commands.append(_FAIL if facts.program.fails else _COMPLETE)
        return self.wants

    def _step(self, key: str, step: Step) -> bool:
        """Want what the step needs; True if it is over."""
        if isinstance(step, ActivityStep):
            ends = [self._activity(f"{key}.{index}", step) for index in range(step.width)]
            return all(ends)
        if isinstance(step, TimerStep):
            return self._timer(key, step.ms)
        if isinstance(step, RaceStep):
            return self._race(key, step)
        if isinstance(step, SignalStep):
            return len(self.facts.signals) >= step.count
        self.seen.add(key)
        if key not in self.facts.markers:
            self._want(
                CommandType.COMMAND_TYPE_RECORD_MARKER,
                record_marker_command_attributes=RecordMarkerCommandAttributes(marker_name=key),
            )
        return True

    def _want(self, command_type: CommandType.ValueType, **attributes: Any) -> None:
        self.wants.commands.append(Command(command_type=command_type, **attributes))

    def _activity(self, key: str, step: ActivityStep | RaceStep) -> bool:
        self.seen.add(key)
        scheduled = self.facts.scheduled.get(key)
        if scheduled is not None:
            return scheduled in self.facts.ended
        attempts = step.attempts if isinstance(step, ActivityStep) else 2
        attributes = ScheduleActivityTaskCommandAttributes(
            activity_id=key,
            activity_type=ActivityType(name="step"),
            task_queue=TaskQueue(name=self.facts.task_queue),
            input=payloads(_encoder.encode(step)),
            start_to_close_timeout=Duration(seconds=5),
            heartbeat_timeout=Duration(seconds=3) if step.beats else None,
            retry_policy=RetryPolicy(
                initial_interval=to_duration(200 * MS_NS),
                backoff_coefficient=1.5,
                maximum_interval=Duration(seconds=2),
                maximum_attempts=attempts,
            ),
        )
        self._want(
            CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK, schedule_activity_task_command_attributes=attributes
        )
        return False

    def _timer(self, key: str, ms: int) -> bool:
        self.seen.add(key)
        started = self.facts.timers.get(key)
        if started is not None:
            return started in self.facts.ended
        attributes = StartTimerCommandAttributes(timer_id=key, start_to_fire_timeout=to_duration(ms * MS_NS))
        self._want(CommandType.COMMAND_TYPE_START_TIMER, start_timer_command_attributes=attributes)
        return False

    def _race(self, key: str, step: RaceStep) -> bool:
        facts, activity, timer = self.facts, key + ".a", key + ".t"
        arrived = self._activity(activity, step), self._timer(timer, step.ms)
        if not any(arrived):
            return False
        scheduled, started = facts.scheduled[activity], facts.timers[timer]
        never = 1 << 62
        if facts.ended.get(scheduled, never) < facts.ended.get(started, never):
            if started not in facts.ended:
                attributes = CancelTimerCommandAttributes(timer_id=timer)
                self._want(CommandType.COMMAND_TYPE_CANCEL_TIMER, cancel_timer_command_attributes=attributes)
        elif scheduled not in facts.ended and scheduled not in facts.cancelled:
            cancel = RequestCancelActivityTaskCommandAttributes(scheduled_event_id=scheduled)
            self._want(
                CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK,
                request_cancel_activity_task_command_attributes=cancel,
            )
        return True


def next_commands(facts: Facts) -> Wants:
    """What the program wants after everything that `facts` says."""
    return _Walk(facts).run()


_COMPLETE = Command(
    command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
    complete_workflow_execution_command_attributes=CompleteWorkflowExecutionCommandAttributes(),
)
_FAIL = Command(
    command_type=CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
    fail_workflow_execution_command_attributes=FailWorkflowExecutionCommandAttributes(
        failure=Failure(message="as planned", application_failure_info=ApplicationFailureInfo(type="Planned"))
    ),
)
_CANCEL = Command(
    command_type=CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
    cancel_workflow_execution_command_attributes=CancelWorkflowExecutionCommandAttributes(),
)
