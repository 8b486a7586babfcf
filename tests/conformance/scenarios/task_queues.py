"""Workflow task heartbeats, sticky queues, shutting workers, and empty polls."""

from __future__ import annotations

from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import failed_cause_pb2 as causes
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, record_marker, schedule_activity, start_timer
from tests.conformance.harness.payloads import duration
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, WORKER, Session


def _sticky(s: Session, seconds: float = 5) -> taskqueue.StickyExecutionAttributes:
    return taskqueue.StickyExecutionAttributes(worker_task_queue=s.sticky, schedule_to_start_timeout=duration(seconds))


@scenario()
async def empty_poll(s: Session) -> None:
    """A poll that gets nothing ends before its deadline, with an empty answer."""
    workflows = s.begin(s.poll_request(), seconds=3)
    activities = s.begin(s.poll_activity_request(), seconds=3)
    await s.finish(workflows, "workflow poll")
    await s.finish(activities, "activity poll")


@scenario()
async def task_heartbeat(s: Session) -> None:
    """A completion without commands that asks for a new task gets one at once, in its reply."""
    await s.start()
    task = await s.take()
    reply = await s.complete(task, force_create_new_workflow_task=True, return_new_workflow_task=True)
    task = reply.workflow_task
    await s.show_history(first=2)
    await s.complete(task, record_marker(), force_create_new_workflow_task=True)
    task = await s.poll()
    await s.complete(task, complete_workflow(), return_new_workflow_task=True)
    await s.show_history(first=5)


@scenario()
async def new_task_returned(s: Session) -> None:
    """What arrived during a task brings the next one, in the reply if it was asked for."""
    await s.start_quietly()
    task = await s.take()
    await s.signal("go")
    await s.complete(task, start_timer(seconds=100), return_new_workflow_task=True)
    await s.show_history(first=3)


@scenario()
async def new_task_not_wanted(s: Session) -> None:
    """A reply has no task if nothing came in meanwhile."""
    await s.start_quietly()
    task = await s.take()
    await s.complete(task, start_timer(seconds=100), return_new_workflow_task=True)


@scenario()
async def sticky_task_has_partial_history(s: Session) -> None:
    """A task on the sticky queue brings only what came since the last one."""
    await s.start_quietly()
    await s.complete(await s.take(), start_timer(seconds=100), sticky_attributes=_sticky(s))
    waiting = s.begin(s.poll_request(task_queue=s.sticky))
    await s.settle()
    await s.signal("go")
    task = await s.finish(waiting, "sticky poll")
    await s.describe()
    await s.complete(task, complete_workflow())
    await s.show_history(first=6)


@scenario()
async def sticky_times_out(s: Session) -> None:
    """A task that the sticky worker doesn't fetch in time moves to the normal queue, with the whole history."""
    await s.start_quietly()
    await s.complete(await s.take(), start_timer(seconds=100), sticky_attributes=_sticky(s, 1))
    waiting = s.begin(s.poll_request(task_queue=s.sticky))
    await s.settle()
    await s.signal("one")
    task = await s.finish(waiting, "sticky poll")
    await s.complete(task, sticky_attributes=_sticky(s, 1))
    s.note("the worker stops polling")
    await s.signal("two")
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=6)


@scenario()
async def sticky_queue_unknown(s: Session) -> None:
    """If nobody ever polled the sticky queue, the task goes to the normal one at once."""
    await s.start_quietly()
    await s.complete(await s.take(), start_timer(seconds=100), sticky_attributes=_sticky(s, 10))
    await s.signal("go")
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=6)


@scenario()
async def sticky_reset(s: Session) -> None:
    """After ResetStickyTaskQueue the next task is for the normal queue."""
    await s.start_quietly()
    await s.complete(await s.take(), start_timer(seconds=100), sticky_attributes=_sticky(s))
    await s.describe()
    await s.call(ws.ResetStickyTaskQueueRequest(namespace=NAMESPACE, execution=s.execution("wf")))
    await s.signal("go")
    await s.poll()
    missing = ws.ResetStickyTaskQueueRequest(namespace=NAMESPACE, execution=s.execution("missing"))
    await s.attempt(missing)
    await s.terminate()
    await s.attempt(ws.ResetStickyTaskQueueRequest(namespace=NAMESPACE, execution=s.execution("wf")))


@scenario()
async def sticky_task_fails(s: Session) -> None:
    """A failed task clears stickiness: its next attempt is for the normal queue."""
    await s.start_quietly()
    await s.complete(await s.take(), start_timer(seconds=100), sticky_attributes=_sticky(s))
    waiting = s.begin(s.poll_request(task_queue=s.sticky))
    await s.settle()
    await s.signal("go")
    task = await s.finish(waiting, "sticky poll")
    await s.fail_task(task)
    await s.poll()
    await s.show_history(first=6)


@scenario()
async def worker_shuts_down(s: Session) -> None:
    """ShutdownWorker ends the sticky queue: the next task goes to the normal one."""
    await s.start_quietly()
    await s.complete(await s.take(), start_timer(seconds=100), sticky_attributes=_sticky(s))
    waiting = s.begin(s.poll_request(task_queue=s.sticky))
    await s.settle()
    await s.signal("one")
    await s.complete(await s.finish(waiting, "sticky poll"), sticky_attributes=_sticky(s))
    await s.call(
        ws.ShutdownWorkerRequest(
            namespace=NAMESPACE, sticky_task_queue=s.sticky.name, identity=WORKER, reason="shutdown"
        )
    )
    await s.signal("two")
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=9)


@scenario()
async def task_times_out_twice(s: Session) -> None:
    """Attempts of a lost task: the first timeout is an event, the next one isn't."""
    await s.start_quietly(workflow_task_timeout=duration(1))
    for _ in range(2):
        await s.take()
    await s.show_history(first=2)
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=4)


@scenario()
async def signal_during_transient_task(s: Session) -> None:
    """Events that arrive between attempts stand before the attempt that is then written."""
    await s.start_quietly()
    await s.fail_task(await s.take())
    await s.fail_task(await s.take())
    await s.signal("between")
    await s.show_history(first=4)
    task = await s.poll()
    await s.signal("during")
    await s.complete(task, record_marker())
    await s.show_history(first=4)


@scenario()
async def failed_task_causes(s: Session) -> None:
    """A task is failed with a cause; a reset point or an unspecified cause as well."""
    await s.start_quietly()
    await s.fail_task(await s.take(), cause=causes.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR)
    await s.advance(record_marker())
    await s.show_history(first=4)
    await s.signal("go")
    await s.fail_task(await s.take(), cause=causes.WORKFLOW_TASK_FAILED_CAUSE_UNSPECIFIED, failure=None)
    await s.show_history(first=9)


@scenario()
async def poll_refused(s: Session) -> None:
    """What polls are refused for."""
    await s.attempt(s.poll_request(task_queue=None), seconds=3)
    await s.attempt(s.poll_request(task_queue=taskqueue.TaskQueue(name="q" * 1001)), seconds=3)
    await s.attempt(s.poll_request(identity="i" * 1001), seconds=3)
    await s.attempt(s.poll_activity_request(task_queue=None), seconds=3)
    await s.attempt(s.poll_activity_request(task_queue=taskqueue.TaskQueue(name="q" * 1001)), seconds=3)


@scenario()
async def eager_start(s: Session) -> None:
    """A start that asks for it gets the first workflow task in its reply; asked again, it gets that one again."""
    request = s.start_request(request_eager_execution=True, identity=WORKER)
    reply = await s.call(request)
    await s.call(request)
    s.note("without the wish")
    await s.call(s.start_request(identity=WORKER))
    s.note("after the task")
    await s.complete(reply.eager_workflow_task, complete_workflow())
    await s.call(request)
    await s.show_history()


@scenario()
async def eager_start_with_delay(s: Session) -> None:
    """A first task that comes later is not given away with the start."""
    delay = duration(60)
    await s.call(s.start_request(request_eager_execution=True, identity=WORKER, workflow_start_delay=delay))
    await s.show_history()


@scenario()
async def eager_activity(s: Session) -> None:
    """A completion that asks for it gets the activity task in its reply, if the server can."""
    await s.start_quietly()
    task = await s.take()
    await s.complete(task, schedule_activity(s.queue, request_eager_execution=True))
    await s.show_history(first=4)


@scenario()
async def task_of_another_type(s: Session) -> None:
    """Workflow and activity tasks of one queue name never meet."""
    await s.start_quietly()
    await s.attempt(s.poll_activity_request(), seconds=3)
    await s.advance(schedule_activity(s.queue))
    await s.attempt(s.poll_request(), seconds=3)
    await s.wait_for_event(kinds.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
