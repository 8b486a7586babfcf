"""Time skipping of one execution: what it skips and what it waits for, what follows inherit, and where it stops.

Transcripts show no times, so `day` notes on which day of the workflow each event happened.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    complete_workflow,
    continue_as_new,
    fail_workflow,
    schedule_activity,
    start_child,
    start_timer,
)
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session

DAY = 86_400


def days(count: float) -> Duration:
    """So many days."""
    return Duration(seconds=int(count * DAY))


def skipping(**fields: Any) -> dict[str, Any]:
    """The field of a start that turns it on."""
    return {"time_skipping_config": common.TimeSkippingConfig(**{"enabled": True, **fields})}


def forward(count: float, name: str = "ff") -> common.FastForwardConfig:
    """So many days forward."""
    return common.FastForwardConfig(id=name, duration=days(count))


async def show(s: Session, name: str = "wf", run_id: str = "", first: int = 1) -> None:
    """The history, and on which day what happened. Days are counted from the second event: the first one of a child, or
    of a run after another one, has the real time in the reference, and the run's own here, as all others.
    """
    events = await s.show_history(name, run_id, first)
    began = events[1].event_time.ToSeconds()
    s.note(f"{name} by day: " + " ".join(str(round((one.event_time.ToSeconds() - began) / DAY)) for one in events[1:]))


async def info(s: Session, name: str = "wf", run_id: str = "", *, day: bool = True) -> None:
    """What Describe says of it; but for the fast-forward, which the reference of this version shows to polls only."""
    request = ws.DescribeWorkflowExecutionRequest(namespace=NAMESPACE, execution=s.execution(name, run_id))
    found = await s.quiet(request)
    extended = found.workflow_extended_info
    if extended.HasField("time_skipping_info"):
        extended.time_skipping_info.ClearField("fast_forward_info")
    s.show(f"time skipping of {name}", extended.time_skipping_info)
    if day and extended.HasField("time_skipping_info"):
        now = extended.time_skipping_info.current_time.ToSeconds()
        s.note(f"day {round((now - found.workflow_execution_info.start_time.ToSeconds()) / DAY)}")


@scenario()
async def month_is_skipped(s: Session) -> None:
    """A timer of a month."""
    await s.start(**skipping())
    await s.complete(await s.poll(), start_timer("month", 30 * DAY))
    await s.complete(await s.poll(), complete_workflow())
    await show(s)
    await info(s)
    await s.describe()


@scenario()
async def timers_one_by_one(s: Session) -> None:
    """The nearest timer first, and the one after it when its task is done."""
    await s.start_quietly(**skipping())
    await s.advance(start_timer("late", 7 * DAY), start_timer("soon", 2 * DAY))
    await info(s)
    await s.advance()
    await s.advance(complete_workflow())
    await show(s)


@scenario()
async def activity_is_waited_for(s: Session) -> None:
    """Nothing is skipped while an activity is with a worker, and it is when it has ended."""
    await s.start_quietly(**skipping())
    await s.advance(start_timer("t", 5 * DAY), schedule_activity(s.queue, "a"))
    await info(s)
    activity = await s.take_activity()
    await info(s)
    await s.complete_activity(activity.task_token)
    await s.advance()
    await s.advance(complete_workflow())
    await show(s)


@scenario()
async def backoff_of_activity_is_skipped(s: Session) -> None:
    """Until the next attempt of an activity; one that is due is waited for."""
    await s.start_quietly(**skipping())
    policy = common.RetryPolicy(initial_interval=days(3), backoff_coefficient=1.0)
    await s.advance(schedule_activity(s.queue, "a", retry_policy=policy, schedule_to_close_timeout=days(9)))
    await s.fail_activity((await s.take_activity()).task_token)
    again = await s.take_activity()
    s.note(f"attempt {again.attempt}")
    await s.complete_activity(again.task_token)
    await s.advance(complete_workflow())
    await show(s)


@scenario()
async def run_timeout_is_skipped_to(s: Session) -> None:
    """A workflow that waits for nothing else."""
    await s.start_quietly(**skipping(), workflow_run_timeout=days(2))
    await s.advance()
    await s.closed()
    await show(s)
    await info(s)


@scenario()
async def execution_timeout_is_skipped_to(s: Session) -> None:
    """The whole execution's, before a timer."""
    await s.start_quietly(**skipping(), workflow_execution_timeout=days(2))
    await s.advance(start_timer("t", 3 * DAY))
    await s.closed()
    await show(s)


@scenario()
async def start_delay_is_skipped(s: Session) -> None:
    """Also the time before the first task."""
    await s.start_quietly(**skipping(), workflow_start_delay=days(4))
    await s.advance(complete_workflow())
    await show(s)


@scenario()
async def nothing_to_skip_to(s: Session) -> None:
    """A workflow that waits for a signal."""
    await s.start_quietly(**skipping())
    await s.advance()
    await info(s)
    await s.signal("go")
    await s.advance(start_timer("t", DAY))
    await s.advance(complete_workflow())
    await show(s)


@scenario()
async def skips_are_counted(s: Session) -> None:
    """As many skips as are allowed, and then no more."""
    await s.start_quietly(**skipping(max_session_skip_count=2))
    await s.advance(start_timer("one", DAY))
    await info(s)
    await s.advance(start_timer("two", DAY))
    await info(s)
    await s.advance(start_timer("three", DAY))
    await info(s)
    await s.terminate()
    await show(s)


@scenario()
async def config_not_enabled(s: Session) -> None:
    """Skips nothing, and is shown."""
    await s.start(time_skipping_config=common.TimeSkippingConfig(disable_propagation=True))
    await s.advance(start_timer("one", DAY))
    await info(s)
    await s.terminate()
    await show(s)


@scenario()
async def forward_without_timers(s: Session) -> None:
    """So far and no farther."""
    await s.start(**skipping(fast_forward_config=forward(3)))
    await info(s)
    await s.advance()
    await info(s)
    await s.terminate()
    await show(s)


@scenario()
async def forward_over_timers(s: Session) -> None:
    """The timers on the way, and the one after stays."""
    await s.start(**skipping(fast_forward_config=forward(3)))
    await s.advance(start_timer("one", DAY), start_timer("five", 5 * DAY))
    await s.advance()
    await info(s)
    await s.terminate()
    await show(s)


@scenario()
async def forward_to_a_timer(s: Session) -> None:
    """It ends before the timer is due."""
    await s.start(**skipping(fast_forward_config=forward(1 / 24)))
    await s.advance(start_timer("one", DAY))
    await info(s)
    await s.terminate()
    await show(s)


@scenario()
async def forward_by_the_clock(s: Session) -> None:
    """Its time comes while a task is with a worker."""
    await s.start(**skipping(fast_forward_config=common.FastForwardConfig(id="x", duration=Duration(seconds=4))))
    task = await s.take()
    execution = s.execution("wf")
    poll = ws.PollWorkflowExecutionTimeSkippingRequest(
        namespace=NAMESPACE, workflow_execution=execution, fast_forward_id="x"
    )
    await s.call(poll)
    await s.signal("while the task is started")
    await s.complete(task, start_timer("one", DAY))
    await info(s)
    await s.terminate()
    await show(s)


@scenario()
async def forward_is_polled(s: Session) -> None:
    """What is answered to who waits for it."""
    await s.start_quietly(**skipping(fast_forward_config=forward(3)))
    poll = ws.PollWorkflowExecutionTimeSkippingRequest(
        namespace=NAMESPACE, workflow_execution=s.execution("wf"), fast_forward_id="ff"
    )
    waits = s.begin(poll)
    await s.settle()
    await s.advance()
    await s.finish(waits, "the fast-forward")
    await s.call(poll)
    poll.fast_forward_id = "other"
    await s.call(poll)
    await s.terminate()
    poll.fast_forward_id = "ff"
    await s.call(poll)


@scenario()
async def forward_is_cut_short(s: Session) -> None:
    """By the end of the workflow."""
    await s.start_quietly(**skipping(fast_forward_config=forward(3)))
    poll = ws.PollWorkflowExecutionTimeSkippingRequest(
        namespace=NAMESPACE, workflow_execution=s.execution("wf"), fast_forward_id="ff"
    )
    waits = s.begin(poll)
    await s.settle()
    await s.advance(complete_workflow())
    await s.finish(waits, "the fast-forward")
    await s.call(poll)
    await show(s)


@scenario()
async def polls_refused(s: Session) -> None:
    """Polls of nothing, and of none."""
    poll = ws.PollWorkflowExecutionTimeSkippingRequest(
        namespace=NAMESPACE, workflow_execution=s.execution("wf"), fast_forward_id="ff"
    )
    await s.attempt(poll)
    await s.start_quietly()
    await s.attempt(poll)
    poll.fast_forward_id = " "
    await s.attempt(poll)
    poll.workflow_execution.workflow_id = ""
    await s.attempt(poll)
    poll.workflow_execution.CopyFrom(s.execution("wf", "no-uuid"))
    await s.attempt(poll)
    await s.attempt(ws.PollWorkflowExecutionTimeSkippingRequest(namespace=NAMESPACE))


@scenario()
async def config_refused(s: Session) -> None:
    """Configurations that contradict themselves."""
    for config in (
        common.TimeSkippingConfig(enabled=True, fast_forward_config=common.FastForwardConfig(id="ff")),
        common.TimeSkippingConfig(enabled=True, fast_forward_config=forward(-1)),
        common.TimeSkippingConfig(enabled=True, fast_forward_config=forward(1, " ")),
        common.TimeSkippingConfig(fast_forward_config=forward(1)),
        common.TimeSkippingConfig(enabled=True, fast_forward_config=common.FastForwardConfig()),
    ):
        await s.attempt(s.start_request(time_skipping_config=config))
    request = ws.SignalWithStartWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_id=s.unique("wf"),
        workflow_type=common.WorkflowType(name="flow"),
        task_queue=s.queue,
        signal_name="go",
        time_skipping_config=common.TimeSkippingConfig(fast_forward_config=forward(1)),
    )
    await s.attempt(request)
    await s.start(time_skipping_config=common.TimeSkippingConfig(enabled=True, max_session_skip_count=-1))
    await info(s)


@scenario()
async def signal_with_start_skips(s: Session) -> None:
    """The other way to start."""
    request = ws.SignalWithStartWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_id=s.unique("wf"),
        workflow_type=common.WorkflowType(name="flow"),
        task_queue=s.queue,
        signal_name="go",
        request_id=s.unique("request"),
        **skipping(),
    )
    await s.quiet(request)
    await s.advance(start_timer("t", DAY))
    await s.advance(complete_workflow())
    await show(s)


@scenario()
async def child_inherits(s: Session) -> None:
    """A child lives in its parent's time and skips too; the parent waits for it."""
    await s.start_quietly(**skipping(fast_forward_config=forward(100)))
    await s.advance(start_timer("t", 2 * DAY))
    await s.advance(
        start_child(s.children, s.unique("child"), workflow_run_timeout=days(9)), start_timer("u", 30 * DAY)
    )
    await s.advance_child(start_timer("t", 5 * DAY))
    await s.advance()
    await info(s)
    await s.advance_child(complete_workflow())
    await s.advance()
    await s.advance(complete_workflow())
    await show(s)
    await show(s, "child")
    await info(s, "child")


@scenario()
async def child_does_not_skip(s: Session) -> None:
    """A parent that keeps it to itself: its child has its time, and no more."""
    await s.start_quietly(**skipping(disable_propagation=True))
    await s.advance(start_timer("t", 2 * DAY))
    await s.advance(start_child(s.children, s.unique("child")))
    await s.advance_child(start_timer("t", 5 * DAY))
    await info(s, "child")
    await s.advance()
    await s.terminate("child")
    await s.advance(complete_workflow())
    await show(s)
    await show(s, "child")


@scenario()
async def next_run_inherits(s: Session) -> None:
    """Time, configuration, count and fast-forward go on over continue-as-new."""
    await s.start_quietly(**skipping(fast_forward_config=forward(6), max_session_skip_count=5))
    first = await s.advance(start_timer("t", 2 * DAY))
    await s.advance(continue_as_new())
    await s.advance(start_timer("t", 3 * DAY))
    await s.advance(start_timer("t", 3 * DAY))
    await info(s, day=False)  # the reference adds what was skipped to the start time of such a run twice
    await s.terminate()
    await show(s, run_id=first.workflow_execution.run_id)
    await show(s)


@scenario()
async def retry_inherits(s: Session) -> None:
    """Another attempt of the workflow, after a backoff that is skipped."""
    policy = common.RetryPolicy(initial_interval=days(2), maximum_attempts=2)
    await s.start_quietly(**skipping(), retry_policy=policy)
    first = await s.advance(start_timer("t", DAY))
    await s.advance(fail_workflow())
    await s.advance(complete_workflow())
    await show(s, run_id=first.workflow_execution.run_id)
    await show(s)
    await info(s)


@scenario()
async def schedule_is_skipped_through(s: Session) -> None:
    """Runs of a schedule."""
    await s.start_quietly(**skipping(), cron_schedule="@every 240h")
    await s.advance(complete_workflow())
    await s.advance(complete_workflow())
    await s.take()
    events = await s.events()
    began = events[0].workflow_execution_started_event_attributes
    s.show("what the third run began with", began.time_skipping_config)
    state = began.time_skipping_state_propagation
    s.note(f"skips: {state.initial_skip_count}, days: {round(state.initial_skipped_duration.ToSeconds() / DAY)}")
    s.note(" ".join(kinds.EventType.Name(one.event_type) for one in events[1:]))
    await s.terminate()


@scenario()
async def events_wake_it(s: Session) -> None:
    """A signal comes while its time is ahead."""
    await s.start_quietly(**skipping(max_session_skip_count=1))
    await s.advance(start_timer("t", DAY))
    await s.advance()
    await s.signal("now")
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED)
    await s.advance(complete_workflow())
    await show(s)
