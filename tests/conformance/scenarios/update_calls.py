"""Updates as their callers see them: stages, deadlines, one id twice, and workflows that close or go on meanwhile."""

from __future__ import annotations

from contextlib import suppress

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as events
from temporalio.api.update.v1 import message_pb2 as update

from tests.conformance.harness.commands import complete_workflow, continue_as_new, fail_workflow, start_timer
from tests.conformance.harness.payloads import payloads
from tests.conformance.harness.render import Wording
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import ROUND_TRIPS, Session
from tests.conformance.harness.updates import (
    ACCEPTED,
    ADMITTED,
    COMPLETED,
    accept,
    answer,
    poll_request,
    reject,
    request_of,
    respond,
    respond_failed,
    take_update,
    update_request,
)

_LATE = Wording(
    r"^(Stream removed.*|context deadline exceeded|Deadline Exceeded)$",
    "the client's library and the server both see that the time is over",
    "<late>",
)


async def _idle(s: Session, workflow: str = "wf") -> None:
    await s.start_quietly(workflow)
    await s.advance(start_timer(seconds=100))


async def _arrived(s: Session) -> None:
    """What was begun before has arrived at the workflow after these: they go the same way."""
    for _ in range(ROUND_TRIPS):
        with suppress(CallFailed):  # the first of them may overtake the update
            await s.quiet(poll_request(s, stage=0))


async def _accepted(s: Session, update_id: str = "u") -> None:
    """An idle workflow with an update that is accepted and not completed."""
    await _idle(s)
    asked = s.begin(update_request(s, update_id, stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await asked


async def _completed(s: Session, update_id: str = "u") -> None:
    """An idle workflow with an update that is completed."""
    await _idle(s)
    asked = s.begin(update_request(s, update_id))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await asked


@scenario()
async def update_completes_at_once(s: Session) -> None:
    """Accepted and completed with one task; polls find the outcome whatever they wait for."""
    await _idle(s)
    asked = s.begin(update_request(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "update")
    for stage in 0, ADMITTED, ACCEPTED, COMPLETED:
        await s.attempt(poll_request(s, stage=stage))
    await s.show_history(first=5)


@scenario()
async def update_waits_for_acceptance(s: Session) -> None:
    """A caller that waits for acceptance is answered then; polls for the outcome wait for a later task."""
    await _idle(s)
    asked = s.begin(update_request(s, stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await s.finish(asked, "update")
    for stage in 0, ADMITTED, ACCEPTED:
        await s.attempt(poll_request(s, stage=stage))
    polled = s.begin(poll_request(s))
    again = s.begin(update_request(s))
    await _arrived(s)
    await s.signal("go")
    task = await s.take()
    await answer(s, task, respond(message))
    await s.finish(polled, "poll")
    await s.finish(again, "the same update")


@scenario()
async def update_accepted_and_completed_for_acceptance(s: Session) -> None:
    """Who waits for acceptance gets the outcome too where it is there already."""
    await _idle(s)
    asked = s.begin(update_request(s, stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "update")


@scenario()
async def update_without_stage(s: Session) -> None:
    """A call that names no stage waits for completion."""
    await _idle(s)
    asked = s.begin(update_request(s, wait_policy=None))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await s.signal("go")
    await answer(s, await s.take(), respond(message))
    await s.finish(asked, "update")


@scenario()
async def update_without_id(s: Session) -> None:
    """The server makes up an id."""
    await _idle(s)
    asked = s.begin(update_request(s, ""))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "update")


@scenario()
async def update_fails(s: Session) -> None:
    """An outcome may be a failure; that is no rejection."""
    await _idle(s)
    asked = s.begin(update_request(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond_failed(message))
    await s.finish(asked, "update")
    await s.attempt(poll_request(s))
    await s.attempt(update_request(s))


@scenario()
async def update_rejected(s: Session) -> None:
    """A rejected update is forgotten: no poll finds it, and the same id is asked anew."""
    await _idle(s)
    asked = s.begin(update_request(s, stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, reject(message))
    await s.finish(asked, "update")
    await s.attempt(poll_request(s))
    asked = s.begin(update_request(s))
    task, message = await take_update(s)
    await answer(s, task, reject(message, "no again"))
    await s.finish(asked, "update")
    await s.show_history(first=5)


@scenario()
async def update_same_id_at_once(s: Session) -> None:
    """Several callers with one id wait for one update, each for its stage."""
    await _idle(s)
    first = s.begin(update_request(s))
    await s.settle()
    second = s.begin(update_request(s, stage=ACCEPTED))
    third = s.begin(update_request(s, request=request_of(input=update.Input(name="other", args=payloads("other")))))
    await s.settle()
    polled = s.begin(poll_request(s, stage=ACCEPTED))
    await _arrived(s)
    await s.attempt(poll_request(s, stage=0))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await s.finish(second, "waited for acceptance")
    await s.finish(polled, "polled for acceptance")
    await s.signal("go")
    await answer(s, await s.take(), respond(message))
    await s.finish(first, "waited for completion")
    await s.finish(third, "asked for something else")
    await s.show_history(first=5)


@scenario()
async def update_same_id_again(s: Session) -> None:
    """The id of a completed update gets its outcome, whatever is asked for and waited for."""
    await _completed(s)
    await s.attempt(update_request(s, stage=ACCEPTED))
    await s.attempt(update_request(s))
    other = request_of(input=update.Input(name="other", args=payloads("other")))
    await s.attempt(update_request(s, request=other))
    await s.show_history(first=8)


@scenario()
async def update_same_id_rejected_for_all(s: Session) -> None:
    """Everybody who waits hears of the rejection."""
    await _idle(s)
    first = s.begin(update_request(s))
    await s.settle()
    second = s.begin(update_request(s, stage=ACCEPTED))
    polled = s.begin(poll_request(s))
    await _arrived(s)
    task, message = await take_update(s)
    await answer(s, task, reject(message))
    await s.finish(first, "waited for completion")
    await s.finish(second, "waited for acceptance")
    await s.finish(polled, "polled for completion")


@scenario()
async def update_completed_and_closed(s: Session) -> None:
    """What became of an update can be asked after its workflow closed."""
    await _completed(s)
    await s.signal("go")
    await s.advance(complete_workflow())
    await s.attempt(update_request(s))
    await s.attempt(update_request(s, stage=ACCEPTED))
    for stage in 0, ACCEPTED, COMPLETED:
        await s.attempt(poll_request(s, stage=stage))
    await s.attempt(update_request(s, "other"))
    await s.attempt(poll_request(s, "other"))


@scenario()
async def update_completed_with_workflow(s: Session) -> None:
    """The task that completes the update completes the workflow."""
    await _idle(s)
    asked = s.begin(update_request(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message), commands=[complete_workflow()])
    await s.finish(asked, "update")
    await s.attempt(poll_request(s))


@scenario()
async def update_accepted_and_closed(s: Session) -> None:
    """An accepted update fails when its workflow ends first."""
    await _accepted(s)
    waiting = s.begin(update_request(s))
    polled = s.begin(poll_request(s))
    await _arrived(s)
    await s.signal("go")
    await s.advance(complete_workflow())
    await s.finish(waiting, "update")
    await s.finish(polled, "poll")
    for stage in 0, ACCEPTED, COMPLETED:
        await s.attempt(poll_request(s, stage=stage))
    await s.attempt(update_request(s))
    await s.attempt(update_request(s, stage=ACCEPTED))


@scenario()
async def update_accepted_with_close(s: Session) -> None:
    """Accepted by the task that ends the workflow."""
    await _idle(s)
    first = s.begin(update_request(s))
    await s.settle()
    second = s.begin(update_request(s, stage=ACCEPTED))
    await _arrived(s)
    task, message = await take_update(s)
    await answer(s, task, accept(message), commands=[fail_workflow()])
    await s.finish(first, "waited for completion")
    await s.finish(second, "waited for acceptance")
    await s.attempt(poll_request(s))


@scenario()
async def update_accepted_and_terminated(s: Session) -> None:
    """The same when it is terminated."""
    await _accepted(s)
    polled = s.begin(poll_request(s))
    await _arrived(s)
    await s.terminate()
    await s.finish(polled, "poll")
    await s.attempt(poll_request(s))


@scenario()
async def update_admitted_and_terminated(s: Session) -> None:
    """An update that no worker has seen ends with its workflow."""
    await _idle(s)
    first = s.begin(update_request(s))
    await s.settle()
    second = s.begin(update_request(s, stage=ACCEPTED))
    polled = s.begin(poll_request(s))
    await _arrived(s)
    await s.terminate()
    await s.finish(first, "waited for completion")
    await s.finish(second, "waited for acceptance")
    await s.finish(polled, "poll")
    await s.attempt(update_request(s))
    await s.attempt(poll_request(s))
    await s.attempt(update_request(s, "other"))


@scenario()
async def update_during_task_that_closes(s: Session) -> None:
    """An update that comes while a task is started, whose completion ends the workflow."""
    await s.start_quietly()
    task = await s.take()
    asked = s.begin(update_request(s))
    await s.settle()
    await s.complete(task, complete_workflow())
    await s.finish(asked, "update")


@scenario()
async def update_before_first_task(s: Session) -> None:
    """Goes along with the first workflow task."""
    await s.start_quietly()
    asked = s.begin(update_request(s))
    await s.settle()
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "update")
    await s.show_history()


@scenario()
async def update_during_task(s: Session) -> None:
    """Waits for the started task to be completed, and gets one of its own."""
    await s.start_quietly()
    task = await s.take()
    asked = s.begin(update_request(s))
    await s.settle()
    await s.complete(task, start_timer(seconds=100))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "update")
    await s.show_history()


@scenario(differs="the reference makes its client repeat the call, and SDKs do so; here the new run gets it at once")
async def update_and_continue_as_new(s: Session) -> None:
    """An update that nobody has seen goes on to the next run, if its call names no run."""
    await s.start_quietly()
    task = await s.take()
    asked = s.begin(update_request(s))
    await _arrived(s)
    await s.complete(task, continue_as_new())
    task = await s.take()
    s.note(f"updates with the new run's task: {len(task.messages)}")
    done = [part(message) for message in task.messages for part in (accept, respond)]
    await answer(s, task, *done)
    await s.finish(asked, "update")


@scenario(differs="the reference makes its client repeat the call, and then says that the run is completed")
async def update_of_run_and_continue_as_new(s: Session) -> None:
    """An update that nobody has seen ends with its run, if its call names that."""
    run_id = await s.start_quietly()
    task = await s.take()
    asked = s.begin(update_request(s, run_id=run_id))
    await _arrived(s)
    await s.complete(task, continue_as_new())
    await s.finish(asked, "update")


@scenario()
async def update_accepted_and_continued(s: Session) -> None:
    """An accepted update fails when its workflow continues as another run."""
    await _accepted(s)
    polled = s.begin(poll_request(s))
    await _arrived(s)
    await s.signal("go")
    await s.advance(continue_as_new())
    await s.finish(polled, "poll")
    await s.attempt(poll_request(s))


@scenario(rules=(_LATE,))
async def update_out_of_time(s: Session) -> None:
    """The caller's deadline is an error; the update goes on, and the same id finds it."""
    await _idle(s)
    first = s.begin(update_request(s), seconds=3)
    task, message = await take_update(s)
    await s.finish(first, "update")
    asked = s.begin(update_request(s))
    await s.settle()
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "the same update")


@scenario()
async def update_long_poll_ends(s: Session) -> None:
    """After twenty seconds the server answers with the stage that was reached."""
    await _accepted(s)
    pending = [
        ("update", s.begin(update_request(s), seconds=28)),
        ("poll", s.begin(poll_request(s), seconds=28)),
        ("nobody takes it", s.begin(update_request(s, "lonely"), seconds=28)),
        ("nor that", s.begin(update_request(s, "alone", stage=ACCEPTED), seconds=28)),
    ]
    await s.settle()
    pending += [("polled", s.begin(poll_request(s, "lonely", stage=ACCEPTED), seconds=28))]
    for what, call in pending:
        await s.finish(call, what)


@scenario()
async def update_of_run(s: Session) -> None:
    """An update that names its run, or the first run of its chain."""
    first = await s.start_quietly()
    await s.advance(continue_as_new())
    second = (await s.take()).workflow_execution.run_id
    await s.attempt(update_request(s, run_id=first))
    await s.attempt(update_request(s, first_execution_run_id=second))
    await s.attempt(poll_request(s, run_id=first))
    await s.attempt(poll_request(s, run_id=second))


@scenario()
async def update_with_links(s: Session) -> None:
    """A request id comes back in the link of the answer."""
    await _idle(s)
    asked = s.begin(update_request(s, request=request_of(request_id="request-1")))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "update")
    await s.show_history(first=5)


@scenario()
async def update_and_its_limit(s: Session) -> None:
    """Ten may be on their way at a time."""
    await _idle(s)
    for number in range(10):
        s.begin(update_request(s, f"u{number}"))
        await s.settle()
    await s.attempt(update_request(s, "eleventh"))


@scenario()
async def update_call_refused(s: Session) -> None:
    """What is missing, or wrong."""
    await _idle(s)
    await s.attempt(update_request(s, workflow_execution=None))
    await s.attempt(update_request(s, workflow_execution=common.WorkflowExecution()))
    await s.attempt(update_request(s, run_id="no-uuid"))
    await s.attempt(update_request(s, run_id="00000000-0000-4000-8000-000000000000"))
    await s.attempt(update_request(s, request=None))
    await s.attempt(update_request(s, request=update.Request()))
    await s.attempt(update_request(s, request=request_of(meta=None)))
    await s.attempt(update_request(s, "x" * 1001))
    await s.attempt(update_request(s, request=request_of(input=None)))
    await s.attempt(update_request(s, request=request_of(input=update.Input())))
    await s.attempt(update_request(s, stage=ADMITTED))
    await s.attempt(update_request(s, workflow="missing"))
    await s.attempt(update_request(s, namespace=""))
    await s.attempt(update_request(s, namespace="missing"))
    await s.attempt(update_request(s, first_execution_run_id="no-uuid"))


@scenario()
async def update_poll_call_refused(s: Session) -> None:
    """Polls that name nothing that is there."""
    await _idle(s)
    await s.attempt(poll_request(s))
    await s.attempt(poll_request(s, ""))
    await s.attempt(poll_request(s, update_ref=None))
    await s.attempt(poll_request(s, update_ref=update.UpdateRef(update_id="u")))
    await s.attempt(poll_request(s, update_ref=update.UpdateRef()))
    await s.attempt(poll_request(s, workflow="missing"))
    await s.attempt(poll_request(s, run_id="no-uuid"))
    await s.attempt(poll_request(s, run_id="00000000-0000-4000-8000-000000000000"))
    await s.attempt(poll_request(s, "x" * 1001))
    await s.attempt(poll_request(s, namespace=""))
    await s.attempt(poll_request(s, namespace="missing"))


@scenario()
async def update_of_delayed_workflow(s: Session) -> None:
    """A workflow whose first task is delayed gets its update with a task at once, or later."""
    await s.start_quietly(workflow_start_delay={"seconds": 3})
    asked = s.begin(update_request(s), seconds=10)
    await s.settle()
    task = await s.take()
    s.note(f"messages: {len(task.messages)}")
    (message,) = task.messages
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "update")
    await s.show_history()


@scenario()
async def update_and_history_long_poll(s: Session) -> None:
    """Who long-polls the history sees an update's events."""
    await _idle(s)
    asked = s.begin(update_request(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.wait_for_event(events.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED)
    await s.finish(asked, "update")
