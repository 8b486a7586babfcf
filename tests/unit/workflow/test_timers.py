import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import CancelTimerCommandAttributes, Command, StartTimerCommandAttributes
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause

from perdure.base.clock import SECOND_NS, from_duration
from perdure.workflow.commands import BadCommand
from perdure.workflow.durations import DURATION_NS_MAX
from perdure.workflow.requests import FireTimer
from perdure.workflow.tasks import TimerKind
from tests.unit.workflow.bench import COMPLETED_ID, T0, Bench, command, seconds, start_timer_command

BAD_START = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_TIMER_ATTRIBUTES
BAD_CANCEL = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_TIMER_ATTRIBUTES
DUPLICATE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_START_TIMER_DUPLICATE_ID
ACTION = "invalid history builder state for action: "
LONG = "t" * 1001


def cancel(timer_id: str = "timer") -> Command:
    return command("CANCEL_TIMER", CancelTimerCommandAttributes(timer_id=timer_id))


def start_with(timeout: Duration | None) -> Command:
    return command("START_TIMER", StartTimerCommandAttributes(timer_id="timer", start_to_fire_timeout=timeout))


@pytest.mark.parametrize(
    ("commands", "cause", "message"),
    [
        ([start_timer_command("")], BAD_START, "TimerId is not set on StartTimerCommand."),
        (
            [start_timer_command(LONG)],
            BAD_START,
            f"TimerId on StartTimerCommand exceeds length limit. TimerId={LONG} Length=1001 Limit=1000",
        ),
        (
            [start_timer_command(duration=-1)],
            BAD_START,
            "An invalid StartToFireTimeout is set on StartTimerCommand: negative duration. TimerId=timer",
        ),
        (
            [start_timer_command(), start_timer_command()],
            DUPLICATE,
            ACTION + "add-timer-started-event, TimerID: timer",
        ),
        (
            [Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)],
            BAD_START,
            "StartTimerCommandAttributes is not set on StartTimerCommand.",
        ),
        ([cancel("")], BAD_CANCEL, "TimerId is not set on CancelTimerCommand."),
        (
            [cancel(LONG)],
            BAD_CANCEL,
            f"TimerId on CancelTimerCommand exceeds length limit. TimerId={LONG} Length=1001 Limit=1000",
        ),
        ([cancel()], BAD_CANCEL, ACTION + "add-timer-canceled-event, TimerID: timer"),
        (
            [Command(command_type=CommandType.COMMAND_TYPE_CANCEL_TIMER)],
            BAD_CANCEL,
            "CancelTimerCommandAttributes is not set on CancelTimerCommand.",
        ),
    ],
)
def test_commands_that_make_no_sense_fail_the_task(
    commands: list[Command], cause: WorkflowTaskFailedCause.ValueType, message: str
) -> None:
    with pytest.raises(BadCommand) as bad:
        Bench().command(*commands)
    assert (bad.value.cause, bad.value.message) == (cause, message)


def test_a_timer_fires_when_it_is_due_and_wakes_the_workflow() -> None:
    bench = Bench()
    bench.command(start_timer_command("timer", 60))
    started = bench.last("TIMER_STARTED")
    assert (started.timer_id, started.start_to_fire_timeout) == ("timer", seconds(60))
    assert started.workflow_task_completed_event_id == COMPLETED_ID
    (timer,) = bench.timers()
    assert (timer.kind, timer.due_ns) == (TimerKind.USER, T0 + 60 * SECOND_NS)
    assert bench.after(59.9).decide(FireTimer(timer)).record is None
    bench.fire(timer)
    fired = bench.last("TIMER_FIRED")
    assert (fired.timer_id, fired.started_event_id) == ("timer", COMPLETED_ID + 1)
    assert bench.run.durable.workflow_task is not None
    assert not bench.run.facts.timers
    assert bench.decide(FireTimer(timer)).record is None


def test_all_timers_that_are_due_fire_in_order_with_one_workflow_task() -> None:
    bench = Bench()
    bench.command(start_timer_command("b", 2), start_timer_command("c", 2), start_timer_command("a", 1))
    bench.command(start_timer_command("later", 100))
    timer = bench.timers()[1]
    bench.after(10).fire(timer)
    fired = [event for event in bench.events if event.HasField("timer_fired_event_attributes")]
    assert [event.timer_fired_event_attributes.timer_id for event in fired] == ["a", "b", "c"]
    assert list(bench.run.facts.timers) == ["later"]


def test_a_cancelled_timer_is_gone() -> None:
    bench = Bench()
    bench.command(start_timer_command())
    (timer,) = bench.timers()
    bench.command(cancel())
    canceled = bench.last("TIMER_CANCELED")
    assert (canceled.timer_id, canceled.started_event_id, canceled.identity) == ("timer", COMPLETED_ID + 1, "worker")
    assert canceled.workflow_task_completed_event_id == COMPLETED_ID
    assert not bench.timers()
    assert bench.after(100).decide(FireTimer(timer)).record is None


def test_a_timer_may_be_started_and_cancelled_and_started_in_one_completion() -> None:
    bench = Bench()
    bench.command(start_timer_command(), cancel(), start_timer_command())
    assert bench.names() == ["TIMER_STARTED", "TIMER_CANCELED", "TIMER_STARTED"]
    (timer,) = bench.timers()
    assert timer.event_id == COMPLETED_ID + 3


def test_cancelling_takes_back_a_firing_that_the_workflow_has_not_seen() -> None:
    bench = Bench()
    bench.command(start_timer_command("timer", 1), start_timer_command("other", 1))
    timer = bench.timers()[0]
    bench.task_is_started()
    bench.fire(timer)
    assert len(bench.run.durable.buffered) == 2
    bench.command(cancel())
    assert bench.names()[2:] == ["TIMER_CANCELED", "TIMER_FIRED"]
    assert bench.last("TIMER_FIRED").timer_id == "other"
    assert bench.last("TIMER_CANCELED").started_event_id == COMPLETED_ID + 1


def test_a_timer_after_the_runs_end_is_not_armed() -> None:
    bench = Bench(run_timeout_ns=10 * SECOND_NS)
    bench.command(start_timer_command("timer", 11), start_timer_command("other", 10))
    assert [timer.event_id for timer in bench.timers()] == [COMPLETED_ID + 2]


def test_durations_are_capped_and_may_be_left_out() -> None:
    bench = Bench()
    bench.command(start_with(Duration(seconds=10**12)))
    assert from_duration(bench.last("TIMER_STARTED").start_to_fire_timeout) == DURATION_NS_MAX
    bench = Bench()
    bench.command(start_with(None))
    assert not bench.last("TIMER_STARTED").HasField("start_to_fire_timeout")
    assert bench.timers()[0].due_ns == T0
