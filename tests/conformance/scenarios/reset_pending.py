"""Reset: what happens again in the new run, and what becomes of all that was pending at the point."""

from __future__ import annotations

from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import reset_pb2 as types
from temporalio.api.enums.v1 import workflow_pb2 as enums

from tests.conformance.harness.commands import (
    cancel_activity,
    complete_workflow,
    continue_as_new,
    record_marker,
    schedule_activity,
    signal_external,
    start_child,
    start_timer,
)
from tests.conformance.harness.payloads import duration, header, payloads, retry_policy
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session
from tests.conformance.scenarios.continue_as_new import THROTTLED
from tests.conformance.scenarios.resets import reset, two_tasks

ANOTHER = {"force_create_new_workflow_task": True}
SIGNAL = types.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
UPDATE = types.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE
NEXUS = types.RESET_REAPPLY_EXCLUDE_TYPE_NEXUS
CANCEL = types.RESET_REAPPLY_EXCLUDE_TYPE_CANCEL_REQUEST
STARTED = kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
COMPLETED = kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED


@scenario()
async def signals_again(s: Session) -> None:
    """Signals before the point are history, those after it come again with all they had."""
    await s.start_quietly()
    await s.signal("before")
    await s.advance(record_marker("one"))
    await s.signal("after", input=payloads("in"), header=header(h="1"), request_id=s.unique("request"))
    await s.advance(record_marker("two"))
    await reset(s, 5)
    await s.show_history(first=3)


@scenario(differs="a signal's request id counts once, also where a reset took it along; the reference takes it again")
async def signal_repeated_after_reset(s: Session) -> None:
    """A signal that is history of the new run, and one that came again there, each sent once more."""
    await s.start_quietly()
    await s.signal("before", request_id=s.unique("one"))
    await s.advance(record_marker("one"))
    await s.signal("after", request_id=s.unique("two"))
    await reset(s, 5)
    await s.signal("before", request_id=s.unique("one"))
    await s.signal("after", request_id=s.unique("two"))
    await s.show_history(first=3)


@scenario()
async def signals_excluded(s: Session) -> None:
    """Each way to leave signals out, and one that leaves them in."""
    run_id = await two_tasks(s)
    await s.signal("after")
    for fields in (
        {"reset_reapply_type": types.RESET_REAPPLY_TYPE_NONE},
        {"reset_reapply_exclude_types": [SIGNAL]},
        {"reset_reapply_exclude_types": [SIGNAL, UPDATE, NEXUS, CANCEL]},
        {"reset_reapply_type": types.RESET_REAPPLY_TYPE_SIGNAL, "reset_reapply_exclude_types": [SIGNAL]},
        {"reset_reapply_type": types.RESET_REAPPLY_TYPE_SIGNAL},
        {"reset_reapply_type": types.RESET_REAPPLY_TYPE_ALL_ELIGIBLE},
        {"reset_reapply_exclude_types": [UPDATE, NEXUS, CANCEL]},
    ):
        new = await reset(s, 8, run_id, request_id=s.unique(f"reset {fields}"), **fields)
        await s.show_history(run_id=new, first=8)


@scenario()
async def buffered_signals_again(s: Session) -> None:
    """Signals that wait for a started task are numbered by the termination, and come again."""
    run_id = await two_tasks(s)
    await s.signal("first")
    await s.take()
    await s.signal("second")
    await s.signal("third")
    await reset(s, 4)
    await s.show_history(run_id=run_id, first=10)
    await s.show_history(first=4)


@scenario()
async def buffered_signals_excluded(s: Session) -> None:
    """The same where signals are left out."""
    await two_tasks(s)
    await s.signal("first")
    await s.take()
    await s.signal("second")
    await reset(s, 4, reset_reapply_exclude_types=[SIGNAL])
    await s.show_history(first=4)


@scenario(rules=THROTTLED)
async def signals_of_chain_again(s: Session) -> None:
    """Those of every run that continued the base, the last one's buffered ones too."""
    first = await s.start_quietly()
    await s.signal("one")
    await s.advance(record_marker("m"), **ANOTHER)
    for name in ("two", "three"):
        await s.advance(continue_as_new(workflow_type={"name": "flow"}, task_queue=s.queue))
        await s.signal(name)
    await s.take()
    await s.signal("four")
    await reset(s, 4, first)
    await s.show_history()


@scenario()
async def cancel_request_again(s: Session) -> None:
    """A request to cancel that came after the point is not made again; an earlier one is there."""
    run_id = await two_tasks(s)
    await s.request_cancel()
    await s.advance(record_marker("three"))
    new = await reset(s, 8, run_id)
    await s.show_history(first=8)
    await s.describe(run_id=new)
    new = await reset(s, 13, run_id)
    await s.show_history(first=9)
    await s.describe(run_id=new)


@scenario()
async def attached_start_again(s: Session) -> None:
    """A start that attached itself after the point, and one before it."""
    await s.start_quietly()
    on_conflict = {"attach_request_id": True}
    use = {
        "workflow_id_conflict_policy": enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
        "on_conflict_options": on_conflict,
    }
    await s.start(request_id=s.unique("one"), **use)
    await s.advance(record_marker("m"))
    await s.start(request_id=s.unique("two"), **use)
    await reset(s, 5)
    await s.show_history(first=3)
    await s.describe()


@scenario()
async def activity_not_started(s: Session) -> None:
    """An activity that waits for a worker at the point is offered again, from its first attempt on."""
    run_id = await s.start_quietly()
    await s.advance(schedule_activity(s.queue, retry_policy=retry_policy(initial=0.1)), **ANOTHER)
    await s.advance(record_marker("m"))
    first = await s.take_activity()
    await s.fail_activity(first.task_token)
    second = await s.take_activity()
    await reset(s, 8)
    await s.heartbeat(second.task_token)
    await s.complete_activity(second.task_token)
    await s.show_history(run_id=run_id, first=9)
    await s.show_history(first=4)
    await s.poll_activity()
    await s.describe()


@scenario()
async def activity_completed_after(s: Session) -> None:
    """What an activity brought after the point is forgotten: it runs again."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue), **ANOTHER)
    await s.complete_activity((await s.take_activity()).task_token)
    await s.advance(complete_workflow())
    await reset(s, 8)
    await s.describe()
    await s.complete_activity((await s.take_activity()).task_token, "again")
    await s.advance(complete_workflow())
    await s.show_history(first=5)


@scenario()
async def activity_cancel_requested(s: Session) -> None:
    """An activity whose cancellation was requested before the point."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue, heartbeat_timeout=duration(20)))
    await s.take_activity()
    await s.signal("go")
    await s.advance(cancel_activity(5), **ANOTHER)
    await s.advance(record_marker("m"))
    await s.show_history(first=5)
    await reset(s, 12)
    await s.describe()
    task = await s.take_activity()
    await s.heartbeat(task.task_token)
    await s.show_history(first=12)


@scenario()
async def timer_pending(s: Session) -> None:
    """A timer that was started before the point fires in the new run; one after it is gone."""
    await s.start_quietly()
    await s.advance(start_timer("t", 1.5), **ANOTHER)
    await s.advance(start_timer("late", 1))
    await reset(s, 8)
    await s.advance()
    await s.take()
    await s.show_history(first=5)


@scenario()
async def timer_over(s: Session) -> None:
    """A timer that has fired by now fires at once."""
    await s.start_quietly()
    await s.advance(start_timer("t", 0.2), **ANOTHER)
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_TASK_STARTED)
    task = await s.take()
    await s.quiet(s.completion(task))
    await s.wait_for_event(kinds.EVENT_TYPE_TIMER_FIRED)
    await reset(s, 8)
    await s.wait_for_event(kinds.EVENT_TYPE_TIMER_FIRED)
    await s.show_history(first=5)


@scenario()
async def child_pending(s: Session) -> None:
    """A child that runs goes on, as the new run's: its end is told there."""
    run_id = await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(STARTED)
    await s.advance(record_marker("m"))
    await reset(s, 9)
    await s.describe()
    await s.describe("child")
    await s.advance_child(complete_workflow("out"))
    await s.wait_for_event(COMPLETED)
    await s.show_history(run_id=run_id, first=9)
    await s.show_history(first=5)


@scenario()
async def child_ended_after(s: Session) -> None:
    """A child that ended after the point: what became of it is told again."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(STARTED)
    await s.advance_child(complete_workflow("out"))
    await s.wait_for_event(COMPLETED)
    await s.advance(complete_workflow())
    await s.show_history(first=5)
    await reset(s, 8)
    await s.show_history(first=5)
    await reset(s, 4)
    await s.show_history(first=4)


@scenario()
async def child_started_after(s: Session) -> None:
    """A child that was initiated before the point and started after it."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")), **ANOTHER)
    await s.wait_for_event(STARTED)
    await s.show_history(first=5)


@scenario()
async def child_initiated_after(s: Session) -> None:
    """A child of after the point runs on, and is in the way of the one that is started again."""
    await two_tasks(s)
    await s.signal("go")
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(STARTED)
    await reset(s, 8)
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(kinds.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED)
    await s.show_history(first=8)
    await s.describe("child")


@scenario()
async def child_not_started_again(s: Session) -> None:
    """A child that could not be started, after the point."""
    await s.start_quietly("taken")
    await s.take()
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("taken")))
    await s.wait_for_event(kinds.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED)
    await s.advance(complete_workflow())
    await s.show_history(first=4)


@scenario()
async def child_is_reset(s: Session) -> None:
    """A child that is reset: its parent hears of the run that goes on only."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(STARTED)
    await s.advance()
    await s.advance_child(record_marker("m"))
    await reset(s, 4, workflow_id="child")
    await s.describe()
    await s.advance_child(complete_workflow("after"))
    await s.wait_for_event(COMPLETED)
    await s.show_history(first=5)
    await s.show_history("child")


@scenario(differs="the new run is its child's parent as the base was; the reference's is to its completion only")
async def child_signalled_after_reset(s: Session) -> None:
    """The new run signals its child, and only a child of its own."""
    await s.start_quietly()
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(STARTED)
    await s.advance(record_marker("m"))
    await reset(s, 9)
    await s.advance(signal_external(s.execution("child"), child_workflow_only=True))
    await s.take()
    await s.show_history(first=9)


@scenario()
async def external_signal_sent(s: Session) -> None:
    """A signal to another workflow that was sent before the point, and answered."""
    await s.start_quietly("other", task_queue=s.children)
    await s.start_quietly()
    await s.advance(signal_external(s.execution("other")))
    await s.wait_for_event(kinds.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED)
    await s.advance(record_marker("m"))
    await reset(s, 9)
    await s.show_history(first=5)
    await s.show_history("other", first=2)
