"""Signals and cancellation requests from one workflow to another."""

from __future__ import annotations

import uuid

from temporalio.api.command.v1.message_pb2 import Command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds

from tests.conformance.harness.commands import (
    cancel_external,
    complete_workflow,
    continue_as_new,
    signal_external,
    start_timer,
)
from tests.conformance.harness.payloads import header, payloads
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session

SIGNALED = kinds.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_SIGNALED
NOT_SIGNALED = kinds.EVENT_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED
CANCEL_REQUESTED = kinds.EVENT_TYPE_EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED
NOT_CANCELLED = kinds.EVENT_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED
UNKNOWN_RUN = str(uuid.UUID(int=0x123))


async def target(s: Session, *commands: Command) -> str:
    """A workflow to aim at, closed by a command if one is given; its run id."""
    run_id = await s.start_quietly("target", task_queue=s.children)
    if commands:
        await s.advance_child(*commands)
    return run_id


async def tried(s: Session, attempt: Command, outcome: int) -> None:
    """A workflow that sends one signal or request, until it has this outcome."""
    await s.start_quietly()
    await s.advance(attempt)
    await s.wait_for_event(outcome)
    await s.show_history(first=5)


async def not_taken(s: Session, *commands: Command) -> None:
    """A workflow task whose completion is refused for its commands."""
    await s.start_quietly()
    await s.complete(await s.take(), *commands)
    await s.show_history(first=3)


@scenario()
async def external_signal(s: Session) -> None:
    """Both sides of a signal; the sender gets a task for it, and so does the target."""
    await target(s)
    await s.advance_child()
    signal = signal_external(
        s.execution("target"), "hello", input=payloads("x"), header=header(k="v"), control="control"
    )
    await tried(s, signal, SIGNALED)
    await s.show_history("target", first=5)
    await s.describe("target")


@scenario()
async def external_signal_by_run(s: Session) -> None:
    """The run id may be given, and is in both events then."""
    run_id = await target(s)
    await tried(s, signal_external(s.execution("target", run_id)), SIGNALED)


@scenario()
async def external_signal_to_missing(s: Session) -> None:
    """No such workflow."""
    await tried(s, signal_external(s.execution("nobody"), control="control"), NOT_SIGNALED)


@scenario()
async def external_signal_to_closed(s: Session) -> None:
    """A closed workflow is not there either."""
    await target(s, complete_workflow())
    await tried(s, signal_external(s.execution("target")), NOT_SIGNALED)


@scenario()
async def external_signal_to_closed_run(s: Session) -> None:
    """A closed run, though the workflow has a later one."""
    run_id = await target(s, continue_as_new(workflow_type=common.WorkflowType(name="flow"), task_queue=s.children))
    await tried(s, signal_external(s.execution("target", run_id)), NOT_SIGNALED)


@scenario()
async def external_signal_to_unknown_run(s: Session) -> None:
    """A run that isn't there."""
    await target(s)
    await tried(s, signal_external(s.execution("target", UNKNOWN_RUN)), NOT_SIGNALED)


@scenario()
async def external_signal_to_itself(s: Session) -> None:
    """A workflow that signals itself."""
    await tried(s, signal_external(s.execution("wf")), NOT_SIGNALED)


@scenario()
async def external_signal_to_itself_by_run(s: Session) -> None:
    """So with its run id."""
    run_id = await s.start_quietly()
    await s.advance(signal_external(s.execution("wf", run_id)))
    await s.wait_for_event(NOT_SIGNALED)
    await s.show_history(first=5)


@scenario()
async def external_signal_to_no_child(s: Session) -> None:
    """A signal for children only, to a workflow that is nobody's child."""
    await target(s)
    await tried(s, signal_external(s.execution("target"), child_workflow_only=True), NOT_SIGNALED)


@scenario()
async def external_signals_of_one_task(s: Session) -> None:
    """Two equal signals of one task are two signals."""
    await target(s)
    await s.start_quietly()
    await s.advance(
        signal_external(s.execution("target"), "one"),
        signal_external(s.execution("target"), "one"),
    )
    await s.wait_for_event(SIGNALED, count=2)
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, "target", count=2)
    await s.show_history("target", first=2)
    await s.describe("target")


@scenario()
async def external_signal_in_own_namespace_by_name(s: Session) -> None:
    """The namespace may be named."""
    await target(s)
    await tried(s, signal_external(s.execution("target"), namespace="default"), SIGNALED)


@scenario()
async def external_signal_in_unknown_namespace(s: Session) -> None:
    """A namespace that isn't there."""
    await not_taken(s, signal_external(s.execution("target"), namespace="no-such-namespace"))


@scenario()
async def external_signal_refused(s: Session) -> None:
    """What a signal command is refused for: no target."""
    await not_taken(s, signal_external(None))


@scenario()
async def external_signal_without_workflow_id(s: Session) -> None:
    """No workflow id."""
    await not_taken(s, signal_external(common.WorkflowExecution()))


@scenario()
async def external_signal_without_name(s: Session) -> None:
    """No signal name."""
    await not_taken(s, signal_external(s.execution("target"), ""))


@scenario()
async def external_signal_bad_run(s: Session) -> None:
    """A run id that is none."""
    await not_taken(s, signal_external(s.execution("target", "no-run")))


@scenario()
async def external_signal_name_long(s: Session) -> None:
    """A signal name over the limit of the API is taken here."""
    await target(s)
    await tried(s, signal_external(s.execution("target"), "x" * 1001), SIGNALED)


@scenario()
async def external_commands_beside_a_close(s: Session) -> None:
    """A signal and a request of the completion that closes the sender are never sent."""
    await target(s)
    await s.start_quietly()
    await s.advance(signal_external(s.execution("target")), cancel_external(s.unique("target")), complete_workflow())
    await s.show_history(first=5)
    # Another signal takes the same way, so the first would have come before it.
    await s.start_quietly("second")
    await s.advance(signal_external(s.execution("target"), "second"))
    await s.wait_for_event(SIGNALED, "second")
    await s.show_history("target", first=2)


@scenario()
async def external_signal_during_task(s: Session) -> None:
    """The answer is held back while the sender has a task."""
    await target(s)
    await s.start_quietly()
    another = {"return_new_workflow_task": True, "force_create_new_workflow_task": True}
    signal = signal_external(s.execution("target"))
    task = (await s.quiet(s.completion(await s.take(), signal, **another))).workflow_task
    await s.wait_for_event(kinds.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED, "target")
    await s.signal("late")
    await s.settle()
    await s.complete(task, start_timer(seconds=100))
    await s.wait_for_event(SIGNALED)


@scenario()
async def external_cancel(s: Session) -> None:
    """Both sides of a request."""
    await target(s)
    await s.advance_child()
    await tried(s, cancel_external(s.unique("target"), reason="enough", control="control"), CANCEL_REQUESTED)
    await s.show_history("target", first=5)
    await s.describe("target")


@scenario()
async def external_cancel_by_run(s: Session) -> None:
    """The run id may be given."""
    run_id = await target(s)
    await tried(s, cancel_external(s.unique("target"), run_id=run_id), CANCEL_REQUESTED)


@scenario()
async def external_cancel_of_missing(s: Session) -> None:
    """No such workflow."""
    await tried(s, cancel_external(s.unique("nobody"), control="control"), NOT_CANCELLED)


@scenario()
async def external_cancel_of_unknown_run(s: Session) -> None:
    """A run that isn't there."""
    await target(s)
    await tried(s, cancel_external(s.unique("target"), run_id=UNKNOWN_RUN), NOT_CANCELLED)


@scenario()
async def external_cancel_of_closed(s: Session) -> None:
    """A closed workflow needs no request any more: the request succeeds."""
    await target(s, complete_workflow())
    await s.start_quietly()
    await s.advance(cancel_external(s.unique("target")))
    await s.take()
    await s.show_history(first=5)
    await s.show_history("target", first=5)


@scenario()
async def external_cancel_twice(s: Session) -> None:
    """The target is asked once; the second request finds that enough."""
    await target(s)
    await s.start_quietly()
    await s.advance(cancel_external(s.unique("target")))
    await s.wait_for_event(CANCEL_REQUESTED)
    await s.advance(cancel_external(s.unique("target")))
    await s.wait_for_event(CANCEL_REQUESTED, count=2)
    await s.show_history(first=5)
    await s.show_history("target", first=2)


@scenario()
async def external_cancel_of_itself(s: Session) -> None:
    """A workflow that asks itself to cancel."""
    await tried(s, cancel_external(s.unique("wf")), NOT_CANCELLED)


@scenario()
async def external_cancel_of_itself_by_run(s: Session) -> None:
    """So with its run id."""
    run_id = await s.start_quietly()
    await s.advance(cancel_external(s.unique("wf"), run_id=run_id))
    await s.wait_for_event(NOT_CANCELLED)
    await s.show_history(first=5)


@scenario()
async def external_cancel_of_no_child(s: Session) -> None:
    """A request for children only, to a workflow that is nobody's child."""
    await target(s)
    await tried(s, cancel_external(s.unique("target"), child_workflow_only=True), NOT_CANCELLED)


@scenario()
async def external_cancel_in_unknown_namespace(s: Session) -> None:
    """A namespace that isn't there."""
    await not_taken(s, cancel_external(s.unique("target"), namespace="no-such-namespace"))


@scenario()
async def external_cancel_without_workflow_id(s: Session) -> None:
    """No workflow id."""
    await not_taken(s, cancel_external(""))


@scenario()
async def external_cancel_bad_run(s: Session) -> None:
    """A run id that is none."""
    await not_taken(s, cancel_external(s.unique("target"), run_id="no-run"))


@scenario()
async def external_commands_empty(s: Session) -> None:
    """Commands without attributes."""
    empty = signal_external(None)
    empty.ClearField("signal_external_workflow_execution_command_attributes")
    await not_taken(s, empty)
    empty = cancel_external("")
    empty.ClearField("request_cancel_external_workflow_execution_command_attributes")
    await s.complete(await s.take(), empty)
