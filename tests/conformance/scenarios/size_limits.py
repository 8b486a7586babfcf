"""Runs that grow: when they are told to continue as new, and when they are ended."""

from __future__ import annotations

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import modify_properties, record_marker, schedule_activity, start_timer
from tests.conformance.harness.payloads import payload
from tests.conformance.harness.render import Rule, Wording
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until

MIB = 1 << 20
TASK_STARTED = kinds.EVENT_TYPE_WORKFLOW_TASK_STARTED
TERMINATED = kinds.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED


def _marker(size: int) -> command.Command:
    details = {"d": common.Payloads(payloads=[payload("x" * size)])}
    return record_marker(details=details)


async def _last(s: Session, count: int = 3) -> None:
    """Show the last events, what was large in them left out."""
    request = ws.GetWorkflowExecutionHistoryReverseRequest(
        namespace=NAMESPACE, execution=s.execution("wf"), maximum_page_size=count
    )
    reply: ws.GetWorkflowExecutionHistoryReverseResponse = await s.quiet(request)
    for event in reply.history.events[:count]:
        event.ClearField("marker_recorded_event_attributes")
    s.transcript.events(list(reply.history.events[:count]))


async def _grown(s: Session, *commands: command.Command) -> bool:
    """Complete a task with these commands and ask for the next; False, with the error shown, if that was too much."""
    task = await s.take()
    try:
        await s.quiet(s.completion(task, *commands, force_create_new_workflow_task=True))
    except CallFailed as failed:
        s.transcript.failure(failed)
        return False
    return True


async def _suggestions(s: Session) -> None:
    for event in await s.events():
        if event.event_type == TASK_STARTED:
            s.show(f"task started by event {event.event_id}", event.workflow_task_started_event_attributes)


@scenario(alone=True)
async def suggested_by_count(s: Session) -> None:
    """With 4,096 events and more a task says that it is time to continue as new, and why."""
    await s.start_quietly()
    await _grown(s, *[record_marker()] * 4086)
    await _grown(s, *[record_marker()] * 3)
    await _grown(s, *[record_marker()] * 3)
    task = await s.take()
    s.show("poll", task.history.events[-1])
    await _suggestions(s)


@scenario(alone=True)
async def suggested_by_size(s: Session) -> None:
    """With 4 MiB and more, too; a failed task says it again."""
    await s.start_quietly()
    await _grown(s, _marker(2 * MIB - 5000))
    await _grown(s, _marker(2 * MIB - 5000))
    await _grown(s, _marker(20000))
    await s.fail_task(await s.take())
    await s.take()
    await _suggestions(s)


@scenario(alone=True)
async def ended_by_count(s: Session) -> None:
    """A run of more than 51,200 events is terminated instead of what was asked."""
    await s.start_quietly()
    for _ in range(14):
        if not await _grown(s, *[record_marker()] * 4000):
            break
    await _last(s)
    await s.signal("late")


@scenario(alone=True)
async def ended_by_size(s: Session) -> None:
    """A run of more than 50 MiB is terminated instead of what was asked."""
    await s.start_quietly()
    request = ws.SignalWorkflowExecutionRequest(
        namespace=NAMESPACE,
        workflow_execution=s.execution("wf"),
        signal_name="large",
        input=common.Payloads(payloads=[payload("x" * (2 * MIB - 5000))]),
    )
    for count in range(30):
        try:
            await s.quiet(request)
        except CallFailed as failed:
            s.note(f"after {count} signals")
            s.transcript.failure(failed)
            break
    await _last(s, 1)
    await s.signal("late")


@scenario(alone=True, rules=(Rule("workflow_task_completed_event_id", "the request that finds it", "<id>"),))
async def ended_by_state(s: Session) -> None:
    """Heartbeats of several activities that are too much together."""
    await s.start_quietly()
    await s.advance(*(schedule_activity(s.queue, name) for name in "abcdef"), start_timer(seconds=100))
    details = common.Payloads(payloads=[payload("x" * (2 * MIB - 5000))])
    tokens = [(await s.take_activity()).task_token for _ in range(6)]

    async def is_ended() -> bool:
        for token in tokens:
            try:
                await s.quiet(
                    ws.RecordActivityTaskHeartbeatRequest(namespace=NAMESPACE, task_token=token, details=details)
                )
            except CallFailed as failed:
                s.transcript.failure(failed)
                return True
        return False

    await until("the run to be ended", is_ended)
    await s.closed()
    await _last(s, 1)
    await s.heartbeat(tokens[0])


@scenario(alone=True)
async def memo_over_the_limit(s: Session) -> None:
    """A memo that grows over 2 MiB by upserts, none of which is too large."""
    await s.start_quietly()
    for name in "abc":
        memo = common.Memo(fields={name: payload("x" * MIB)})
        if not await _grown(s, modify_properties(memo)):
            break
    await _last(s, 2)


@scenario(
    alone=True, rules=(Wording(r"size of \d+ bytes", "the size of what is written is each server's own", "size"),)
)
async def transaction_over_the_limit(s: Session) -> None:
    """What waits behind a task and what its completion brings is too much for one write."""
    await s.start_quietly()
    task = await s.take()
    large = common.Payloads(payloads=[payload("x" * (MIB - 5000))])
    for number in range(2):
        await s.quiet(
            ws.SignalWorkflowExecutionRequest(
                namespace=NAMESPACE,
                workflow_execution=s.execution("wf"),
                signal_name=str(number),
                input=large,
            )
        )
    try:
        await s.quiet(s.completion(task, _marker(MIB), _marker(MIB), _marker(MIB)))
    except CallFailed as failed:
        s.transcript.failure(failed)
    events = await s.events()
    s.note(", ".join(kinds.EventType.Name(event.event_type) for event in events))
    await s.signal("late")
