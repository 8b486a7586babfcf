"""Steps of workflow workers: take a task and hold it, answer it with commands or a failure, let it time out."""

from __future__ import annotations

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.enums.v1 import failed_cause_pb2 as causes
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import PATIENCE_SECONDS, PAUSE_SECONDS, Case, Fields, Flow, action, has_task
from tests.conformance.generated.steps.commands import BAD, CLOSING, PLAIN, RACING, Maker
from tests.conformance.generated.steps.starting import HOUR
from tests.conformance.generated.steps.updates import carried, replies
from tests.conformance.harness.payloads import duration, failure
from tests.conformance.harness.session import NAMESPACE, WORKER
from tests.conformance.harness.waiting import until

_CAUSES = (
    causes.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
    causes.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
    causes.WORKFLOW_TASK_FAILED_CAUSE_UNSPECIFIED,
    causes.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND,
)
_FORCED: Fields = {"force_create_new_workflow_task": True}
# From the third failure on the server waits before it offers a task again, and longer each time.
_ATTEMPTS_MAX = 2


async def taken(case: Case, flow: Flow) -> bool:
    """Whether a worker holds the workflow's task now: it does, or one was offered and is taken."""
    state, _ = await case.state(flow)
    if state == "held":
        return True
    if state != "scheduled":
        return False
    reply = await case.session.attempt(case.poll_request(flow))
    flow.offered_twice = False
    flow.task = reply if reply is not None and reply.task_token else None
    return flow.task is not None


@action(weight=4, suits=has_task)
async def take(case: Case, flow: Flow) -> None:
    """A worker takes the task that is offered, and holds it over the next steps."""
    if not flow.tight and flow.task is None and await taken(case, flow):
        case.saw("take", "scheduled")


async def _made(case: Case, flow: Flow) -> tuple[list[command.Command], list[str]]:
    """The commands of a completion, and what they are called."""
    makers: list[Maker] = [case.of(PLAIN) for _ in range(case.of([1, 0, 2, 1]))]
    if case.of([False, True, False]):
        makers.append(case.of(RACING))
    if case.of([False, False, False, True]):
        makers.append(case.of(CLOSING))
    if case.rarely(10):
        makers.append(case.of(BAD))
    found = []
    for maker in makers:
        made = await maker(case, flow)
        if made is not None:
            found.append(made)
    return found, [maker.__name__ for maker in makers]


@action(weight=18, suits=has_task)
async def answer(case: Case, flow: Flow) -> None:
    """A worker completes the task that it holds, or the one that is offered."""
    if not await taken(case, flow):
        return
    assert flow.task is not None
    made, names = await _made(case, flow)
    said, _ = replies(case, flow, flow.task)
    if flow.updates and any(maker.__name__ in names for maker in CLOSING):
        # See AVOIDED in intended.py.
        made, names = made[:0], []
    made = [*carried(said), *made]
    racing = any(maker.__name__ in names for maker in RACING)
    fields: Fields = {}
    if not racing:
        fields = {**case.fields([{}, {}, _FORCED, {"return_new_workflow_task": True}])}
        if fields and case.rarely(2):
            fields = {**_FORCED, "return_new_workflow_task": True}
    if flow.tight:
        fields.pop("return_new_workflow_task", None)
    elif not racing and case.of([False, False, False, True]):
        fields["sticky_attributes"] = {
            "worker_task_queue": case.sticky(flow.name),
            "schedule_to_start_timeout": duration(HOUR),
        }
        if not fields.get("return_new_workflow_task") and case.of([True, False]):
            case.begin_sticky_poll(flow)
            await case.session.settle()
    held = flow.task
    if said:
        fields["messages"] = said
    for name in [*names, *fields] or ["no command"]:
        case.saw(f"complete: {name}", f"attempt {held.attempt}")
    reply = await case.session.complete(held, *made, **fields)
    if reply is None:
        # Most refusals fail the task, and some leave it as it was: what is known of it is asked before the next step.
        return
    flow.let_go()
    flow.sticky = "sticky_attributes" in fields
    flow.is_unstuck = False
    if reply.workflow_task.task_token:
        flow.task = reply.workflow_task


@action(weight=2, suits=has_task)
async def fail_task(case: Case, flow: Flow) -> None:
    """A worker fails the task."""
    if not await taken(case, flow):
        return
    assert flow.task is not None
    if flow.task.attempt > _ATTEMPTS_MAX:
        return
    case.saw("fail_task", f"attempt {flow.task.attempt}")
    cause = case.of(_CAUSES)
    fields = case.fields([{}, {"failure": None}, {"failure": failure("other", "fatal")}])
    await case.session.fail_task(flow.task, cause=cause, **fields)
    flow.let_go()


def _tight(flow: Flow, info: ws.DescribeWorkflowExecutionResponse) -> bool:
    return flow.tight and has_task(flow, info)


@action(weight=2, suits=_tight)
async def expire(case: Case, flow: Flow) -> None:
    """A worker takes the task and says no more; only where the task's time is short."""
    state, _ = await case.state(flow)
    if not flow.tight or state != "scheduled" or not await taken(case, flow):
        return
    assert flow.task is not None
    attempt = flow.task.attempt
    if attempt > _ATTEMPTS_MAX:
        await case.session.complete(flow.task)
        flow.let_go()
        return
    case.saw("expire", f"attempt {attempt}")

    async def over() -> bool:
        return (await case.state(flow))[0] != "held"

    await until(f"timeout of the task of {flow.name}", over, seconds=PATIENCE_SECONDS, pause_seconds=PAUSE_SECONDS)
    flow.let_go()


@action(weight=1)
async def answer_late(case: Case, flow: Flow) -> None:
    """A worker answers a task that it no longer has."""
    if not flow.old_tokens:
        return
    case.saw("answer_late", (await case.state(flow))[0])
    token = case.of(list(reversed(flow.old_tokens)))
    if case.of([False, True]):
        request = ws.RespondWorkflowTaskFailedRequest(namespace=NAMESPACE, task_token=token, identity=WORKER)
        await case.session.attempt(request)
    else:
        made, _ = await _made(case, flow)
        await case.session.attempt(
            ws.RespondWorkflowTaskCompletedRequest(
                namespace=NAMESPACE, task_token=token, identity=WORKER, commands=made
            )
        )
