"""Update-with-start: a workflow that is started or used, and an update to it; both or neither."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import workflow_pb2 as policies
from temporalio.api.update.v1 import message_pb2 as update
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, fail_workflow, start_timer
from tests.conformance.harness.payloads import duration
from tests.conformance.harness.render import Wording
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.updates import (
    ACCEPTED,
    ADMITTED,
    COMPLETED,
    accept,
    answer,
    both,
    poll_request,
    reject,
    request_of,
    respond,
    respond_failed,
    take_update,
    update_request,
    update_with_start,
)

FAIL = policies.WORKFLOW_ID_CONFLICT_POLICY_FAIL
USE_EXISTING = policies.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
TERMINATE = policies.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
REJECT_DUPLICATE = policies.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
FAILED_ONLY = policies.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY


_LATE = Wording(
    r"^(Stream removed.*|context deadline exceeded|Deadline Exceeded)$",
    "the client's library and the server both see that the time is over",
    "<late>",
)


def _use(s: Session, update_id: str = "u", stage: int = COMPLETED, **start: Any) -> ws.ExecuteMultiOperationRequest:
    """A start by another request id, which uses what is there unless told otherwise."""
    fields = {"request_id": s.unique("another"), "workflow_id_conflict_policy": USE_EXISTING}
    return update_with_start(s, update_id, stage=stage, **{**fields, **start})


async def _running(s: Session) -> None:
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))


async def _completed(s: Session, request: ws.ExecuteMultiOperationRequest, *commands: Any) -> None:
    """An update-with-start whose update the next task accepts and completes; unrecorded."""
    asked = s.begin(request)
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message), commands=commands)
    await asked


@scenario()
async def update_with_start_starts(s: Session) -> None:
    """A workflow that is not there is started; its first task carries the update."""
    asked = s.begin(update_with_start(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "both")
    await s.attempt(poll_request(s))
    await s.show_history()


@scenario()
async def update_with_start_waits_for_acceptance(s: Session) -> None:
    """Answered with the acceptance."""
    asked = s.begin(update_with_start(s, stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await s.finish(asked, "both")


@scenario()
async def update_with_start_rejected(s: Session) -> None:
    """A rejection is an outcome; the workflow goes on."""
    asked = s.begin(update_with_start(s))
    task, message = await take_update(s)
    await answer(s, task, reject(message))
    await s.finish(asked, "both")
    await s.show_history()


@scenario()
async def update_with_start_fails(s: Session) -> None:
    """So is a failure."""
    asked = s.begin(update_with_start(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond_failed(message), commands=[fail_workflow()])
    await s.finish(asked, "both")


@scenario()
async def update_with_start_uses_existing(s: Session) -> None:
    """The workflow that runs gets the update."""
    await _running(s)
    asked = s.begin(_use(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "both")
    await s.show_history(first=6)


@scenario()
async def update_with_start_refused_while_running(s: Session) -> None:
    """A workflow that runs may not be used: neither is done."""
    await _running(s)
    await s.attempt(_use(s, workflow_id_conflict_policy=FAIL))
    await s.attempt(_use(s, workflow_id_conflict_policy=0))
    await s.attempt(poll_request(s))
    await s.show_history(first=6)


@scenario()
async def update_with_start_terminates(s: Session) -> None:
    """The workflow that runs is terminated, and another one gets the update."""
    await _running(s)
    asked = s.begin(_use(s, workflow_id_conflict_policy=TERMINATE))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "both")


@scenario()
async def update_with_start_after_close(s: Session) -> None:
    """A closed workflow's id is used again, or not, as the reuse policy says."""
    await s.start_quietly()
    await s.advance(complete_workflow())
    await s.attempt(_use(s, workflow_id_reuse_policy=REJECT_DUPLICATE))
    await s.attempt(_use(s, workflow_id_reuse_policy=FAILED_ONLY))
    asked = s.begin(_use(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "both")


@scenario()
async def update_with_start_same_again(s: Session) -> None:
    """The same call again gets the same answer: while it waits, and when the update is completed."""
    first = s.begin(update_with_start(s))
    task, message = await take_update(s)
    second = s.begin(update_with_start(s))
    await s.settle()
    await answer(s, task, accept(message), respond(message))
    await s.finish(first, "first")
    await s.finish(second, "second")
    await s.attempt(update_with_start(s))
    await s.attempt(update_with_start(s, stage=ACCEPTED))
    await s.show_history(first=5)


@scenario()
async def update_with_start_other_update_again(s: Session) -> None:
    """The start is repeated with another update: the workflow that it began gets it, whatever the policy."""
    await _completed(s, update_with_start(s))
    asked = s.begin(update_with_start(s, "other"))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "both")


@scenario()
async def update_with_start_known_update(s: Session) -> None:
    """Another start with the id of an update that is there attaches itself to that, whatever the policy."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    first = s.begin(update_request(s, stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message))
    await first
    asked = s.begin(_use(s, workflow_id_conflict_policy=FAIL))
    await s.attempt(_use(s, stage=ACCEPTED, workflow_id_conflict_policy=TERMINATE))
    await s.signal("go")
    await answer(s, await s.take(), respond(message))
    await s.finish(asked, "both")
    await s.attempt(_use(s, workflow_id_conflict_policy=FAIL))


@scenario()
async def update_with_start_known_update_closed(s: Session) -> None:
    """The outcome of a completed update is the answer, also when its workflow is closed."""
    await _completed(s, update_with_start(s), complete_workflow())
    await s.attempt(_use(s))
    await s.attempt(_use(s, workflow_id_reuse_policy=REJECT_DUPLICATE))
    await s.attempt(update_with_start(s))


@scenario(differs="the reference says unavailable, as if to try again would help")
async def update_with_start_same_again_closed(s: Session) -> None:
    """A start that is repeated when the workflow that it began is closed, with an update that this one never saw."""
    await _completed(s, update_with_start(s), complete_workflow())
    await s.attempt(update_with_start(s, "other"), seconds=5)


@scenario()
async def update_with_start_accepted_and_closed(s: Session) -> None:
    """An update that was accepted when its workflow closed: the next call starts another workflow."""
    first = s.begin(update_with_start(s, stage=ACCEPTED))
    task, message = await take_update(s)
    await answer(s, task, accept(message), commands=[complete_workflow()])
    await s.finish(first, "both")
    await s.attempt(_use(s, workflow_id_reuse_policy=REJECT_DUPLICATE))
    asked = s.begin(_use(s))
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "another workflow")


@scenario()
async def update_with_start_aborted_by_close(s: Session) -> None:
    """The workflow that was started closes without a look at the update."""
    asked = s.begin(update_with_start(s))
    task = await s.take()
    s.note(f"messages: {len(task.messages)}")
    await s.terminate()
    await s.finish(asked, "both")


@scenario()
async def update_with_start_aborted_and_repeated(s: Session) -> None:
    """The workflow that was used closes without a look at the update: another one is started for it."""
    await _running(s)
    asked = s.begin(_use(s))
    await s.take()
    await s.terminate()
    task, message = await take_update(s)
    await answer(s, task, accept(message), respond(message))
    await s.finish(asked, "both")


@scenario(rules=(_LATE,))
async def update_with_start_out_of_time(s: Session) -> None:
    """The workflow was started when the caller's time is over."""
    await s.attempt(update_with_start(s), seconds=3)
    await s.attempt(poll_request(s, stage=0))
    await s.show_history()


@scenario()
async def update_with_start_long_poll_ends(s: Session) -> None:
    """After twenty seconds the server answers with the stage that was reached."""
    asked = s.begin(update_with_start(s), seconds=28)
    await s.finish(asked, "both")


@scenario()
async def update_with_start_and_its_limit(s: Session) -> None:
    """The update is refused: the start is aborted, and says so."""
    await _running(s)
    for number in range(10):
        s.begin(update_request(s, f"u{number}"))
        await s.settle()
    await s.attempt(_use(s, "eleventh"))


@scenario()
async def update_with_start_operations_refused(s: Session) -> None:
    """Exactly a start and an update, in that order."""
    operation = ws.ExecuteMultiOperationRequest.Operation
    start = operation(start_workflow=s.start_request())
    asked = operation(update_workflow=update_request(s))
    for operations in [], [start], [asked], [asked, start], [start, start], [start, asked, asked], [start, operation()]:
        await s.attempt(ws.ExecuteMultiOperationRequest(namespace=NAMESPACE, operations=operations))
    await s.attempt(ws.ExecuteMultiOperationRequest(operations=[start, asked]))
    await s.attempt(ws.ExecuteMultiOperationRequest(namespace="missing", operations=[start, asked]))


@scenario()
async def update_with_start_start_refused(s: Session) -> None:
    """What a start may not have here, or must have everywhere."""
    await s.attempt(update_with_start(s, cron_schedule="* * * * *"))
    await s.attempt(update_with_start(s, request_eager_execution=True))
    await s.attempt(update_with_start(s, workflow_start_delay=duration(1)))
    await s.attempt(update_with_start(s, namespace="missing"))
    await s.attempt(update_with_start(s, workflow_type=None))
    await s.attempt(update_with_start(s, task_queue=None))
    await s.attempt(update_with_start(s, workflow_id=""))
    await s.attempt(update_with_start(s, cron_schedule="nonsense"))
    await s.attempt(update_with_start(s, workflow_id=s.unique("another")))


@scenario()
async def update_with_start_update_refused(s: Session) -> None:
    """What an update may not have here, or must have everywhere."""
    start = s.start_request()
    await s.attempt(both(start, update_request(s, first_execution_run_id="00000000-0000-4000-8000-000000000000")))
    await s.attempt(both(start, update_request(s, run_id="00000000-0000-4000-8000-000000000000")))
    await s.attempt(both(start, update_request(s, namespace="missing")))
    await s.attempt(both(start, update_request(s, workflow="another")))
    await s.attempt(both(start, update_request(s, workflow_execution=common.WorkflowExecution())))
    await s.attempt(both(start, update_request(s, request=request_of(input=update.Input()))))
    await s.attempt(both(start, update_request(s, request=None)))
    await s.attempt(both(start, update_request(s, stage=ADMITTED)))
    await s.attempt(both(s.start_request(workflow_type=None), update_request(s, request=None)))
    await s.attempt(poll_request(s))


@scenario()
async def update_with_start_without_namespaces(s: Session) -> None:
    """The operations need not name the namespace."""
    asked = s.begin(both(s.start_request(namespace=""), update_request(s, namespace="")), seconds=5)
    await s.finish(asked, "both")
