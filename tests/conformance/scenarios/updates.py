"""Updates as workers see them: speculative workflow tasks, and the messages that go both ways."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import event_type_pb2 as events
from temporalio.api.query.v1 import message_pb2 as query
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, record_marker, schedule_activity, start_timer
from tests.conformance.harness.payloads import duration, payloads, retry_policy
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Pending, Session
from tests.conformance.harness.updates import (
    accept,
    answer,
    carry,
    poll_request,
    reject,
    respond,
    take_update,
    update_request,
)
from tests.conformance.harness.waiting import until

_CAPABLE = ws.RespondWorkflowTaskCompletedRequest.Capabilities(discard_speculative_workflow_task_with_events=True)


async def idle(s: Session, *commands: Any, **fields: Any) -> None:
    """A workflow whose first task is done."""
    await s.start_quietly(**fields)
    await s.advance(*commands)


async def asked(s: Session, update_id: str = "u", **fields: Any) -> Pending:
    """An update that has arrived; its task is scheduled, if none was."""
    pending = s.begin(update_request(s, update_id, **fields))

    async def known() -> bool:
        try:
            await s.quiet(poll_request(s, update_id, stage=0))
        except CallFailed:
            return False
        return True

    await until("the update", known)
    return pending


def stickiness(s: Session, seconds: float = 5) -> dict[str, Any]:
    """The fields of a completion whose worker wants the next task itself."""
    attributes = taskqueue.StickyExecutionAttributes(
        worker_task_queue=s.sticky, schedule_to_start_timeout=duration(seconds)
    )
    return {"sticky_attributes": attributes}


@scenario()
async def speculative_task_as_its_worker_sees_it(s: Session) -> None:
    """Its events end the history that it comes with, and are in none before it is completed."""
    await idle(s, start_timer(seconds=100))
    pending = await asked(s)
    await s.describe()
    await s.show_history(first=4)
    task = await s.poll()
    await s.describe()
    await s.show_history(first=4)
    (message,) = task.messages
    await s.complete(task, carry(accept(message)), messages=[accept(message)])
    await s.show_history(first=4)
    await s.signal("go")
    await answer(s, await s.take(), respond(message))
    await s.finish(pending, "update")


@scenario()
async def speculative_task_rejected(s: Session) -> None:
    """Nothing is left of it: the worker is told where to go back to."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.describe()
    await s.complete(task, messages=[reject(message)])
    await s.signal("go")
    await s.poll()


@scenario()
async def speculative_task_scheduled_and_a_signal(s: Session) -> None:
    """The signal makes it an ordinary task."""
    await idle(s)
    pending = await asked(s)
    await s.signal("go")
    await s.show_history(first=4)
    task, message = await take_update(s)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def speculative_task_started_and_a_signal(s: Session) -> None:
    """It becomes an ordinary task, and the signal waits behind it."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    await s.signal("go")
    await s.show_history(first=4)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.poll()


@scenario()
async def speculative_task_and_a_cancel_request(s: Session) -> None:
    """As with a signal."""
    await idle(s)
    pending = await asked(s)
    await s.request_cancel()
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message), commands=[complete_workflow()])
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def speculative_task_and_an_activity(s: Session) -> None:
    """Whatever is written makes it an ordinary task, also where it is no event."""
    await idle(s, schedule_activity(s.queue, retry_policy=retry_policy()))
    pending = await asked(s)
    activity = await s.take_activity()
    await s.show_history(first=4)
    task, message = await take_update(s)
    await s.complete_activity(activity.task_token)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def speculative_task_and_a_timer(s: Session) -> None:
    """A timer that fires while it is started."""
    await idle(s, start_timer(seconds=1))
    pending = await asked(s)
    task, message = await take_update(s)
    await s.wait_for_event(events.EVENT_TYPE_WORKFLOW_TASK_STARTED, count=2)
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def speculative_task_on_the_sticky_queue(s: Session) -> None:
    """Its worker gets what is new, accepted or rejected."""
    await s.start_quietly()
    await s.advance(record_marker(), **stickiness(s))
    polled = s.begin(s.poll_request(task_queue=s.sticky))
    await s.settle()
    pending = await asked(s)
    task = await s.finish(polled, "poll of the sticky queue")
    (message,) = task.messages
    await s.complete(task, messages=[reject(message)], capabilities=_CAPABLE, **stickiness(s))
    await s.finish(pending, "rejected")
    polled = s.begin(s.poll_request(task_queue=s.sticky))
    await s.settle()
    pending = await asked(s)
    task = await s.finish(polled, "poll of the sticky queue")
    (message,) = task.messages
    await s.complete(task, carry(accept(message)), messages=[accept(message), respond(message)], **stickiness(s))
    await s.finish(pending, "completed")
    await s.show_history(first=4)


@scenario()
async def speculative_task_whose_sticky_worker_is_gone(s: Session) -> None:
    """Another worker gets it, with the whole history; if it rejects, nothing is written."""
    await s.start_quietly()
    await s.advance(**stickiness(s))
    pending = await asked(s)
    task = await s.poll()
    (message,) = task.messages
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def speculative_task_that_nobody_fetches(s: Session) -> None:
    """After five seconds it is in history, with its timeout, and an ordinary one follows."""
    await idle(s)
    pending = await asked(s)
    await s.wait_for_event(events.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
    await s.show_history(first=4)
    task = await s.poll()
    (message,) = task.messages
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.show_history(first=7)


@scenario()
async def speculative_task_that_a_signal_made_ordinary_is_not_fetched(s: Session) -> None:
    """It keeps its time to be started in."""
    await idle(s)
    await asked(s)
    await s.signal("go")
    await s.wait_for_event(events.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
    await s.show_history(first=4)


@scenario()
async def speculative_task_that_is_not_answered(s: Session) -> None:
    """It times out like any other, and the next attempt carries its updates again."""
    await idle(s, workflow_task_timeout=duration(1))
    pending = await asked(s)
    await take_update(s)
    await s.wait_for_event(events.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
    await s.show_history(first=4)
    task = await s.poll()
    (message,) = task.messages
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.show_history(first=7)


@scenario()
async def speculative_task_that_fails(s: Session) -> None:
    """Its failure is in history, and the next attempts carry its updates again."""
    await idle(s)
    pending = await asked(s)
    task, _ = await take_update(s)
    await s.fail_task(task)
    await s.show_history(first=4)
    task = await s.poll()
    await s.fail_task(task)
    task = await s.poll()
    (message,) = task.messages
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.show_history(first=7)


@scenario()
async def update_of_a_workflow_whose_task_keeps_failing(s: Session) -> None:
    """From the third attempt on none is taken."""
    await s.start_quietly()
    for _ in range(2):
        await s.fail_task(await s.take())
    await s.attempt(update_request(s))


@scenario()
async def speculative_task_whose_worker_needs_time(s: Session) -> None:
    """A heartbeat writes it, and what it carried is not carried again at once."""
    await idle(s)
    first = await asked(s, "a")
    task, message = await take_update(s)
    second = await asked(s, "b")
    reply = await s.complete(task, force_create_new_workflow_task=True, return_new_workflow_task=True)
    (other,) = reply.workflow_task.messages
    await answer(s, reply.workflow_task, accept(message), respond(message), reject(other))
    await s.finish(first, "a")
    await s.finish(second, "b")
    await s.show_history(first=4)


@scenario()
async def speculative_task_follows_a_speculative_task(s: Session) -> None:
    """What came meanwhile goes with the answer, and if that is rejected too nothing was written."""
    await idle(s)
    first = await asked(s, "a")
    task, message = await take_update(s)
    second = await asked(s, "b")
    reply = await s.complete(task, messages=[reject(message)], return_new_workflow_task=True)
    (message,) = reply.workflow_task.messages
    await s.complete(reply.workflow_task, messages=[reject(message)], return_new_workflow_task=True)
    await s.finish(first, "a")
    await s.finish(second, "b")
    await s.show_history(first=4)


@scenario()
async def speculative_task_after_an_ordinary_one(s: Session) -> None:
    """An update that comes while a task is started goes with the next."""
    await s.start_quietly()
    task = await s.take()
    pending = await asked(s)
    reply = await s.complete(task, return_new_workflow_task=True)
    (message,) = reply.workflow_task.messages
    await s.complete(reply.workflow_task, messages=[reject(message)], return_new_workflow_task=True)
    await s.finish(pending, "update")
    await s.show_history()


@scenario()
async def update_while_a_task_is_started_whose_worker_does_not_wait(s: Session) -> None:
    """To a worker that does not take the next task at once an ordinary one is offered."""
    await s.start_quietly()
    task = await s.take()
    pending = await asked(s)
    await s.complete(task)
    await s.show_history()
    task, message = await take_update(s)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def update_with_the_first_task_that_times_out(s: Session) -> None:
    """The first task carries it, and each attempt anew."""
    await s.start_quietly(workflow_task_timeout=duration(1))
    pending = await asked(s)
    await take_update(s)
    task, message = await take_update(s)
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history()


@scenario()
async def speculative_tasks_show_events_again_to_workers_that_can_take_it(s: Session) -> None:
    """Others get the task written; so do all after ten events."""
    await idle(s, *[record_marker() for _ in range(10)])
    for capable in (True, False):
        pending = await asked(s)
        task, message = await take_update(s)
        await s.complete(task, messages=[reject(message)], capabilities=_CAPABLE if capable else None)
        await s.finish(pending, "update")
        await s.show_history(first=14)
    await s.signal("go")
    await s.advance(*[record_marker() for _ in range(11)])
    await asked(s)
    task, message = await take_update(s)
    await s.complete(task, messages=[reject(message)], capabilities=_CAPABLE)
    await s.show_history(first=32)


@scenario()
async def speculative_task_and_termination(s: Session) -> None:
    """A scheduled one was never there; a started one fails first."""
    await idle(s)
    pending = await asked(s)
    await s.terminate()
    await s.finish(pending, "update")
    await s.show_history(first=4)
    await idle(s, request_id=s.unique("again"))
    pending = await asked(s, "v")
    await take_update(s)
    await s.terminate()
    await s.finish(pending, "update of the second run")
    await s.show_history(first=4)


@scenario()
async def speculative_task_and_reset_sticky(s: Session) -> None:
    """It moves to the normal queue, and is an ordinary one then."""
    await s.start_quietly()
    await s.advance(**stickiness(s))
    waiting = s.begin(s.poll_request(task_queue=s.sticky), 1)
    await s.finish(waiting, "a poll of the sticky queue")
    pending = await asked(s)
    await s.attempt(ws.ResetStickyTaskQueueRequest(namespace=NAMESPACE, execution=s.execution("wf")))
    await s.show_history(first=4)
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def started_speculative_task_and_reset_sticky(s: Session) -> None:
    """One that a worker has stays as it is."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    await s.attempt(ws.ResetStickyTaskQueueRequest(namespace=NAMESPACE, execution=s.execution("wf")))
    await s.describe()
    await s.complete(task, messages=[reject(message)])
    await s.finish(pending, "update")
    await s.show_history()


@scenario()
async def speculative_task_carries_a_query(s: Session) -> None:
    """A query that comes while it is scheduled is answered with it, also where nothing of it is written."""
    await idle(s)
    pending = await asked(s)
    request = ws.QueryWorkflowRequest(
        namespace=NAMESPACE, execution=s.execution("wf"), query=query.WorkflowQuery(query_type="state")
    )
    questioned = s.begin(request)
    await s.settle()
    task, message = await take_update(s)
    results = {
        query_id: query.WorkflowQueryResult(result_type=1, answer=payloads("answer"))  # type: ignore[arg-type]  # an enum's number
        for query_id in task.queries
    }
    await s.complete(task, messages=[reject(message)], query_results=results)
    await s.finish(questioned, "query")
    await s.finish(pending, "update")
    await s.show_history(first=4)


@scenario()
async def update_that_its_worker_ignores(s: Session) -> None:
    """The server rejects it for the worker."""
    await idle(s)
    pending = await asked(s)
    await s.complete(await s.take())
    await s.finish(pending, "update")
    pending = await asked(s, "v")
    await s.complete(await s.take(), record_marker())
    await s.finish(pending, "update of a task with commands")
    await s.show_history(first=4)


@scenario()
async def update_is_accepted_after_its_workflow_closed(s: Session) -> None:
    """Nothing comes after the end; a rejection is heard."""
    await idle(s)
    first = await asked(s, "a")
    second = await asked(s, "b")
    task = await s.take()
    a, b = task.messages
    await s.complete(task, complete_workflow(), messages=[accept(a), respond(a), reject(b)])
    await s.finish(first, "a")
    await s.finish(second, "b")
    await s.show_history(first=4)


@scenario()
async def update_and_a_close_over_an_unseen_signal(s: Session) -> None:
    """The close is refused, and with it the update that the task carried; another one is not taken before the end."""
    await idle(s)
    pending = await asked(s)
    task, message = await take_update(s)
    await s.signal("go")
    named = [accept(message), respond(message)]
    await s.complete(task, *map(carry, named), complete_workflow(), messages=named)
    await s.finish(pending, "update")
    await s.show_history(first=4)
    task = await s.poll()
    await s.complete(task, complete_workflow())


@scenario()
async def accepted_update_is_completed_by_a_speculative_task(s: Session) -> None:
    """A task that an other update brought completes the one that was accepted before."""
    await idle(s)
    first = await asked(s, "a")
    task, a = await take_update(s)
    await answer(s, task, accept(a))
    second = await asked(s, "b")
    task, b = await take_update(s)
    await s.complete(task, carry(respond(a)), messages=[respond(a), reject(b)])
    await s.finish(first, "a")
    await s.finish(second, "b")
    await s.show_history(first=4)


@scenario()
async def request_ids_of_updates(s: Session) -> None:
    """An accepted update's request id is shown with its event."""
    await idle(s)
    request = update_request(s)
    request.request.request_id = "request of u"
    pending = s.begin(request)
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(pending, "update")
    await s.describe()
