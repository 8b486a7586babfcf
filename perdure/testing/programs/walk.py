"""One walk through a program over what its history says: the commands that come next."""

from typing import Any

import msgspec
from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    CancelTimerCommandAttributes,
    CancelWorkflowExecutionCommandAttributes,
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
    RecordMarkerCommandAttributes,
    RequestCancelActivityTaskCommandAttributes,
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
    StartTimerCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, Header, Payload, RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import MS_NS, to_duration
from perdure.testing.checkers.evidence import REQUEST_ID
from perdure.testing.programs.facts import Facts
from perdure.testing.programs.steps import (
    ActivityStep,
    CallStep,
    ChildStep,
    ContinueStep,
    RaceStep,
    SignalStep,
    Step,
    TimerStep,
    encoded_step,
    program_input,
)


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
    for field in ("activity_id", "scheduled_event_id", "timer_id", "marker_name", "control"):
        if field in attributes.DESCRIPTOR.fields_by_name:
            return str(getattr(attributes, field))
    return ""


class _Walk:
    """One walk through a program's steps over what the history says."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.wants = Wants()
        self.seen: set[str] = set()

    def run(self) -> Wants:
        facts = self.facts
        finished = all(self._step(index, step) for index, step in enumerate(facts.program.steps))
        known = {*facts.scheduled, *facts.timers, *facts.markers, *facts.children, *facts.calls}
        self.wants.strange = sorted(known - self.seen)
        if facts.is_cancelled:
            self.wants.commands = [_CANCEL]
        elif finished:
            fails = facts.program.fails or facts.attempt <= facts.program.failures
            self.wants.commands.append(_FAIL if fails else _COMPLETE)
        return self.wants

    def _step(self, index: int, step: Step) -> bool:
        """Want what the step needs; True if it is over."""
        key = str(index)
        if isinstance(step, ContinueStep):
            self._continue(index)
            return False
        if isinstance(step, ChildStep):
            return self._child(f"{self.facts.workflow_id}/{key}", step)
        if isinstance(step, CallStep):
            return self._call(key, WorkflowExecution(workflow_id=step.workflow_id), step.cancels, child=False)
        if isinstance(step, ActivityStep):
            ends = [self._activity(f"{key}.{number}", step) for number in range(step.width)]
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
            input=encoded_step(step),
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

    def _child(self, workflow_id: str, step: ChildStep) -> bool:
        self.seen.add(workflow_id)
        facts = self.facts
        initiated = facts.children.get(workflow_id)
        if initiated is None:
            self._want(
                CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
                start_child_workflow_execution_command_attributes=_child_attributes(facts, workflow_id, step),
            )
            return False
        if initiated not in facts.begun:
            return initiated in facts.ended  # it could not be started
        target = WorkflowExecution(workflow_id=workflow_id)
        done = [self._call(f"{workflow_id}#{n}", target, False, child=True) for n in range(step.program.signals)]
        if step.cancels:
            done.append(self._call(f"{workflow_id}#c", target, True, child=True))
        return all(done) and (initiated in facts.ended or not step.waits)

    def _call(self, control: str, target: WorkflowExecution, cancels: bool, *, child: bool) -> bool:
        """Signal or cancel another workflow; True once the outcome is known."""
        self.seen.add(control)
        initiated = self.facts.calls.get(control)
        if initiated is not None:
            return initiated in self.facts.ended
        if cancels:
            self._want(
                CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION,
                request_cancel_external_workflow_execution_command_attributes=(
                    RequestCancelExternalWorkflowExecutionCommandAttributes(
                        workflow_id=target.workflow_id, control=control, child_workflow_only=child
                    )
                ),
            )
        else:
            attributes = SignalExternalWorkflowExecutionCommandAttributes(
                execution=target,
                signal_name="go",
                control=control,
                child_workflow_only=child,
                header=_header(f"{self.facts.run_id}/{control}"),
            )
            self._want(
                CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION,
                signal_external_workflow_execution_command_attributes=attributes,
            )
        return False

    def _continue(self, index: int) -> None:
        attributes = ContinueAsNewWorkflowExecutionCommandAttributes(
            workflow_type=WorkflowType(name="program"),
            task_queue=TaskQueue(name=self.facts.task_queue),
            input=program_input(self.facts.program.after(index)),
            header=_header(f"{self.facts.run_id}/continued"),
        )
        self._want(
            CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION,
            continue_as_new_workflow_execution_command_attributes=attributes,
        )


def _header(request_id: str) -> Header:
    return Header(fields={REQUEST_ID: Payload(data=request_id.encode())})


def _child_attributes(facts: Facts, workflow_id: str, step: ChildStep) -> StartChildWorkflowExecutionCommandAttributes:
    return StartChildWorkflowExecutionCommandAttributes(
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="program"),
        task_queue=TaskQueue(name=facts.task_queue),
        input=program_input(step.program),
        parent_close_policy=step.policy,  # type: ignore[arg-type]  # the enum's int is stored plain
        header=_header(f"{facts.run_id}/{workflow_id}"),
        control=workflow_id,
        retry_policy=RetryPolicy(
            initial_interval=to_duration(300 * MS_NS), backoff_coefficient=1.0, maximum_attempts=step.attempts
        )
        if step.attempts
        else None,
    )


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
