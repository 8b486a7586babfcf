"""Time skipping of one execution that is turned on, changed and turned off while it runs."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow, start_timer
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.scenarios.time_skipping import DAY, forward, info, show, skipping


def update_request(
    s: Session, config: common.TimeSkippingConfig | None, path: str = "time_skipping_config"
) -> ws.UpdateWorkflowExecutionOptionsRequest:
    """An update of the options of `wf`."""
    return ws.UpdateWorkflowExecutionOptionsRequest(
        namespace=NAMESPACE,
        workflow_execution=s.execution("wf"),
        workflow_execution_options=workflow.WorkflowExecutionOptions(time_skipping_config=config),
        update_mask=FieldMask(paths=[path]),
        identity="operator",
    )


async def update(s: Session, config: common.TimeSkippingConfig | None, path: str = "time_skipping_config") -> None:
    """Update the options of `wf`; the time of the update is not of the transcript."""
    await s.attempt(update_request(s, config, path))


async def arrived(s: Session) -> None:
    """A poll that was begun waits at the server, also where that is busy."""
    for _ in range(4):
        await s.settle()


ON = common.TimeSkippingConfig(enabled=True)
OFF = common.TimeSkippingConfig(enabled=False)


@scenario()
async def skipping_by_options_turn_it_on(s: Session) -> None:
    """A running workflow begins to skip, and ends to."""
    await s.start_quietly()
    await s.advance(start_timer("one", DAY))
    await info(s)
    await update(s, ON)
    await s.advance(start_timer("two", DAY))
    task = await s.take()
    await update(s, OFF)
    await s.complete(task, start_timer("three", DAY))
    await info(s)
    await update(s, None)
    await info(s)
    await update(s, ON)
    await s.advance(complete_workflow())
    await update(s, ON)
    await show(s)


@scenario()
async def skipping_by_options_while_a_task_is_started(s: Session) -> None:
    """Skips begin when the task is done, after the event that allows them."""
    await s.start_quietly()
    task = await s.take()
    await update(s, ON)
    await s.complete(task, start_timer("t", DAY))
    await s.advance(complete_workflow())
    await show(s)


@scenario()
async def skipping_by_options_count_anew(s: Session) -> None:
    """Another configuration begins another count; the same one changes nothing, unless it is a fast-forward."""
    await s.start_quietly(**skipping(max_session_skip_count=1))
    await s.advance(start_timer("one", DAY))
    await s.advance(start_timer("two", DAY))
    await update(s, common.TimeSkippingConfig(enabled=True, max_session_skip_count=2))
    await s.advance(start_timer("three", DAY))
    await s.advance()
    await info(s)
    await update(s, common.TimeSkippingConfig(enabled=False, max_session_skip_count=2))
    # Where it skips at once, the reference writes what the skip left of the configuration into the event before it.
    await s.signal("a task, so that it does not")
    task = await s.take()
    await update(s, common.TimeSkippingConfig(enabled=True, fast_forward_config=forward(1)))
    await info(s)
    await update(s, common.TimeSkippingConfig(enabled=True, fast_forward_config=forward(1)))
    await s.complete(task)
    await info(s)
    await s.terminate()
    await show(s)


@scenario()
async def skipping_by_options_while_polled(s: Session) -> None:
    """A fast-forward that is waited for begins anew, or is turned off."""
    await s.start_quietly(**skipping(fast_forward_config=forward(3)))
    poll = ws.PollWorkflowExecutionTimeSkippingRequest(
        namespace=NAMESPACE, workflow_execution=s.execution("wf"), fast_forward_id="ff"
    )
    for config in (
        common.TimeSkippingConfig(enabled=True, fast_forward_config=forward(9)),
        common.TimeSkippingConfig(enabled=True, fast_forward_config=forward(9, "other")),
    ):
        waits = s.begin(poll)
        await arrived(s)
        await s.quiet(update_request(s, config))
        await s.finish(waits, "the fast-forward")
    poll.fast_forward_id = "other"
    waits = s.begin(poll)
    await arrived(s)
    await s.quiet(update_request(s, OFF))
    await s.finish(waits, "the fast-forward")


@scenario()
async def skipping_by_options_refused(s: Session) -> None:
    """A part of a configuration, and one that contradicts itself."""
    await s.start_quietly()
    await update(s, ON, "time_skipping_config.enabled")
    await update(s, common.TimeSkippingConfig(fast_forward_config=forward(1)))
    await update(s, common.TimeSkippingConfig(enabled=True, fast_forward_config=forward(1, "")))
    await s.terminate()
    await update(s, ON)


@scenario()
async def skipping_and_resetting(s: Session) -> None:
    """A run that is reset goes on with the time that it had by then, and skips on from there."""
    await s.start_quietly(**skipping())
    task = await s.advance(start_timer("one", 2 * DAY))
    await s.advance(start_timer("two", 3 * DAY))
    await s.take()
    request = ws.ResetWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_execution=task.workflow_execution,
        reason="again",
        workflow_task_finish_event_id=10,
        request_id=s.unique("reset"),
    )
    await s.quiet(request)
    await s.advance(start_timer("three", 4 * DAY))
    await s.take()
    await show(s)
    await info(s, day=False)  # the start time of such a run is the real one in the reference
    request.workflow_task_finish_event_id = 4
    request.request_id = s.unique("reset further")
    await s.quiet(request)
    await s.advance(start_timer("four", DAY))
    await s.take()
    await show(s)
    await info(s, day=False)
