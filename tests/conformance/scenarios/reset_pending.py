"""Reset: what happens again in the new run, and what becomes of all that was pending at the point."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import reset_pb2 as types
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.protocol.v1 import message_pb2 as protocol
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

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
from tests.conformance.harness.updates import (
    ACCEPTED,
    accept,
    answer,
    poll_request,
    respond,
    take_update,
    update_request,
)
from tests.conformance.harness.updates import (
    COMPLETED as DONE,
)
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
    use: dict[str, Any] = {
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
    await s.advance(start_timer("t", 1.5), **ANOTHER)
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


async def with_updates(s: Session) -> str:
    """A run with a completed and an accepted update after its first task; its run id."""
    run_id = await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    first = s.begin(update_request(s, "one", stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    second = s.begin(update_request(s, "two", stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await asyncio.gather(first, second)
    return run_id


def carried_over(task: ws.PollWorkflowTaskQueueResponse) -> list[protocol.Message]:
    """The updates that a worker finds as events: what it would have got for each as a message."""
    found = []
    for event in task.history.events:
        if event.event_type == kinds.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:
            request = event.workflow_execution_update_admitted_event_attributes.request
            update_id = request.meta.update_id
            message = protocol.Message(
                id=f"{update_id}/request", protocol_instance_id=update_id, event_id=event.event_id
            )
            message.body.Pack(request)
            found.append(message)
    return found


@scenario()
async def updates_again(s: Session) -> None:
    """Updates of after the point are admitted by an event, and accepted anew by the worker."""
    run_id = await with_updates(s)
    await s.show_history(first=5)
    new = await reset(s, 4, run_id)
    await s.show_history(first=4)
    await s.attempt(poll_request(s, "one", stage=0))
    task = await s.poll()
    messages = carried_over(task)
    await answer(s, task, *(part for each in messages for part in (accept(each), respond(each))))
    await s.attempt(poll_request(s, "one", stage=DONE))
    await s.attempt(poll_request(s, "two", stage=DONE))
    await s.show_history(run_id=new, first=4)


@scenario()
async def updates_excluded(s: Session) -> None:
    """Each way to leave updates out."""
    run_id = await with_updates(s)
    for fields in (
        {"reset_reapply_type": types.RESET_REAPPLY_TYPE_NONE},
        {"reset_reapply_type": types.RESET_REAPPLY_TYPE_SIGNAL},
        {"reset_reapply_exclude_types": [UPDATE]},
    ):
        await reset(s, 4, run_id, request_id=s.unique(f"reset {fields}"), **fields)
        await s.show_history(first=4)
        await s.attempt(poll_request(s, "one", stage=0))


@scenario()
async def updates_kept(s: Session) -> None:
    """An update that was accepted before the point is accepted; its outcome comes with the new run's."""
    run_id = await with_updates(s)
    await s.signal("go")
    await s.advance(record_marker("m"))
    events = await s.show_history(first=6)
    await reset(s, len(events) - 1, run_id)
    await s.show_history(first=len(events) - 1)
    await s.attempt(poll_request(s, "one", stage=0))
    await s.attempt(poll_request(s, "two", stage=0))


@scenario()
async def updates_carried_twice(s: Session) -> None:
    """A run that updates were carried to, reset in its turn, before and after its worker saw them."""
    run_id = await with_updates(s)
    second = await reset(s, 4, run_id)
    await reset(s, 4, second)
    await s.show_history(first=4)
    task = await s.take()
    await answer(s, task, *(accept(each) for each in carried_over(task)))
    await s.show_history(first=8)
    await reset(s, 9)
    await s.show_history(first=8)


@scenario(differs="an update that nobody has answered is asked of the run that goes on; the reference refuses it")
async def update_admitted_at_reset(s: Session) -> None:
    """An update that no worker has seen when its run is reset: its caller is told."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    asked = s.begin(update_request(s, "u"))
    await take_update(s)
    await reset(s, 4)
    await s.finish(asked, "the update")
    await s.show_history(first=4)


@scenario()
async def options_after_reset(s: Session) -> None:
    """The operation that changes the new run's options."""
    await two_tasks(s)
    change = workflow.PostResetOperation(
        update_workflow_options=workflow.PostResetOperation.UpdateWorkflowOptions(
            workflow_execution_options=workflow.WorkflowExecutionOptions(priority=common.Priority(priority_key=2)),
            update_mask=FieldMask(paths=["priority"]),
        )
    )
    await reset(s, 4, post_reset_operations=[change])
    await s.show_history(first=4)
    await s.describe()
