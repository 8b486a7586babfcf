"""Commands of a completion, legal in the state that the worker sees; and some that no state makes legal.

At most one command of a completion has an outcome that comes by itself (a short timer, a child's start, a call to
another workflow), so that the order of what comes is the same everywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.sdk.v1 import user_metadata_pb2 as metadata

from tests.conformance.generated.case import Case, Fields, Flow
from tests.conformance.generated.settling import pending_timers
from tests.conformance.generated.steps.starting import HOUR, TASK_SECONDS, run_options
from tests.conformance.harness import commands
from tests.conformance.harness.payloads import (
    duration,
    failure,
    header,
    memo,
    payload,
    payloads,
    retry_policy,
    search_attributes,
)

SHORT_TIMER_SECONDS = 0.3
SHORT_ATTEMPT_SECONDS = 1
SHORT_QUEUE_SECONDS = 0.4
_KIDS = ("kid", "kin")

Made = command.Command | None
Maker = Callable[[Case, Flow], Awaitable[Made]]


def _current_run(flow: Flow) -> str:
    return flow.task.workflow_execution.run_id if flow.task is not None else ""


async def marker(case: Case, flow: Flow) -> Made:
    return commands.record_marker(
        "marker",
        **case.fields([{}, {"details": {"d": payloads("x")}}, {"failure": failure("m")}, {"header": header(t="m")}]),
    )


async def long_timer(case: Case, flow: Flow) -> Made:
    made = commands.start_timer(case.of(["t1", "t2", "t3"]), HOUR)
    if case.rarely(4):
        made.user_metadata.CopyFrom(metadata.UserMetadata(summary=payload("timer")))
    return made


async def stop_timer(case: Case, flow: Flow) -> Made:
    pending = sorted(pending_timers(await case.events(flow)))
    return commands.cancel_timer(case.of([*pending, *pending, *pending, "none"]))


async def activity(case: Case, flow: Flow) -> Made:
    """An activity with timeouts of hours."""
    flow.activities += 1
    name = f"act{flow.activities}" if not case.rarely(12) else "act1"
    fields: Fields = {}
    for _ in range(2):
        fields |= case.fields(
            [
                {},
                {"retry_policy": retry_policy(0.2)},
                {"retry_policy": retry_policy(HOUR)},
                {"retry_policy": retry_policy(0.2, attempts=1)},
                {"retry_policy": retry_policy(0.2, attempts=2)},
                {"schedule_to_close_timeout": duration(HOUR)},
                {"schedule_to_close_timeout": duration(HOUR), "retry_policy": retry_policy(2 * HOUR)},
                {"heartbeat_timeout": duration(HOUR)},
                {"input": payloads("in"), "header": header(trace="a")},
                {"start_to_close_timeout": duration(HOUR), "priority": common.Priority(priority_key=1)},
                {"retry_policy": retry_policy(0.2, never=("fatal",))},
                {"schedule_to_start_timeout": duration(HOUR)},
            ]
        )
    if "schedule_to_close_timeout" not in fields:
        fields = {"start_to_close_timeout": duration(HOUR), **fields}
    return commands.schedule_activity(case.queue(f"{flow.name}-{name}"), name, **fields)


async def stop_activity(case: Case, flow: Flow) -> Made:
    info = case.last.get(flow.name)
    if info is not None and any(one.paused for one in info.pending_activities):
        # See AVOIDED in intended.py.
        return None
    events = await case.events(flow)
    pending = [one.event_id for one in events if one.HasField("activity_task_scheduled_event_attributes")]
    return commands.cancel_activity(case.of([*reversed(pending), *pending, 999]))


async def attributes(case: Case, flow: Flow) -> Made:
    return commands.upsert_search_attributes(
        search_attributes(**case.fields([{"CustomKeywordField": "one"}, {"CustomKeywordField": "two"}]))
    )


async def properties(case: Case, flow: Flow) -> Made:
    fields = {"note": common.Payload()} if case.rarely(3) else {case.of(["note", "more"]): payload("text")}
    return commands.modify_properties(common.Memo(fields=fields))


async def short_timer(case: Case, flow: Flow) -> Made:
    run_id = _current_run(flow)
    timer_id = case.of(["s1", "s2"])
    seconds = case.of([SHORT_TIMER_SECONDS, 0])
    flow.timers[run_id, timer_id] = asyncio.get_running_loop().time() + seconds
    return commands.start_timer(timer_id, seconds)


async def doomed_activity(case: Case, flow: Flow) -> Made:
    """An activity that nobody takes in time, or that is not finished in time once somebody has taken it."""
    flow.activities += 1
    name = f"act{flow.activities}"
    fields: Fields = case.fields(
        [
            {"schedule_to_start_timeout": duration(SHORT_QUEUE_SECONDS), "start_to_close_timeout": duration(HOUR)},
            {"start_to_close_timeout": duration(SHORT_ATTEMPT_SECONDS)},
            {"start_to_close_timeout": duration(HOUR), "heartbeat_timeout": duration(SHORT_ATTEMPT_SECONDS)},
            {"schedule_to_close_timeout": duration(SHORT_ATTEMPT_SECONDS)},
        ]
    )
    if "schedule_to_start_timeout" in fields or "schedule_to_close_timeout" in fields:
        flow.doomed.add((_current_run(flow), name, 1))
    fields |= case.fields(
        [{}, {"retry_policy": retry_policy(0.2, attempts=1)}, {"retry_policy": retry_policy(0.2, attempts=2)}]
    )
    return commands.schedule_activity(case.queue(f"{flow.name}-{name}"), name, **fields)


async def child(case: Case, flow: Flow) -> Made:
    """A child, whose id may be that of another workflow of the case."""
    name = case.of([*_KIDS, *_KIDS, *case.flows])
    case.flow(name)
    fields: Fields = {
        **case.fields([{}, {"parent_close_policy": 2}, {"parent_close_policy": 3}, {"parent_close_policy": 1}]),
        **case.fields(
            [{}, {}, {"workflow_id_reuse_policy": 2}, {"workflow_id_reuse_policy": 3}, {"workflow_id_reuse_policy": 4}]
        ),
        **case.fields([{}, {"input": payloads("in"), "header": header(trace="c")}, {"control": "c"}]),
    }
    if name == flow.name:
        # See AVOIDED in intended.py.
        fields.pop("workflow_id_reuse_policy", None)
    options = run_options(case)
    told = options.pop("user_metadata", None)
    options.pop("workflow_start_delay", None)
    options["workflow_task_timeout"] = duration(TASK_SECONDS)
    made = commands.start_child(case.queue(name), case.session.unique(name), **{**options, **fields})
    if told is not None:
        made.user_metadata.CopyFrom(told)
    return made


def _target(case: Case, flow: Flow) -> common.WorkflowExecution:
    names = [*(name for name in case.flows if name != flow.name), flow.name, "nobody"]
    other = case.flow(case.of(names)) if names else flow
    return case.session.execution(other.name, case.of(["", "", "", *other.runs[-1:]]))


async def call_signal(case: Case, flow: Flow) -> Made:
    flow.calls.add(_current_run(flow))
    fields = case.fields(
        [{}, {"input": payloads("ext"), "control": "c"}, {"child_workflow_only": True}, {"header": header(t="x")}]
    )
    return commands.signal_external(_target(case, flow), "from-outside", **fields)


async def call_cancel(case: Case, flow: Flow) -> Made:
    flow.calls.add(_current_run(flow))
    target = _target(case, flow)
    fields = case.fields([{}, {"reason": "why", "control": "c"}, {"child_workflow_only": True}])
    return commands.cancel_external(target.workflow_id, run_id=target.run_id, **fields)


async def complete(case: Case, flow: Flow) -> Made:
    return commands.complete_workflow()


async def fail(case: Case, flow: Flow) -> Made:
    cause = case.of(
        [failure("broken"), failure("broken", "fatal", non_retryable=True), failure("soon", next_retry_delay=0.1)]
    )
    return commands.fail_workflow(failure=cause)


async def be_cancelled(case: Case, flow: Flow) -> Made:
    return commands.cancel_workflow()


async def go_on(case: Case, flow: Flow) -> Made:
    """Continue as new."""
    fields: Fields = case.fields(
        [
            {},
            {"input": payloads("next")},
            {"memo": memo(note="next"), "search_attributes": search_attributes(CustomKeywordField="next")},
            {"retry_policy": retry_policy(0.2, attempts=2)},
            {"workflow_run_timeout": duration(HOUR), "workflow_type": common.WorkflowType(name="other")},
            {"header": header(trace="n"), "initiator": 1},
            {"backoff_start_interval": duration(HOUR)},
            {"initiator": 2, "failure": failure("before")},
            {"last_completion_result": payloads("last")},
        ]
    )
    return commands.continue_as_new(**fields)


async def bad_timer(case: Case, flow: Flow) -> Made:
    return commands.start_timer(case.of(["", "t1"]), case.of([-1, HOUR]))


async def bad_activity(case: Case, flow: Flow) -> Made:
    fields = case.fields(
        [
            {"activity_type": common.ActivityType()},
            {"start_to_close_timeout": duration(-1)},
            {"activity_id": ""},
            {"retry_policy": retry_policy(-1)},
            {"heartbeat_timeout": duration(-1)},
        ]
    )
    return commands.schedule_activity(case.queue("bad"), **{"activity_id": "bad", **fields})


async def bad_marker(case: Case, flow: Flow) -> Made:
    return commands.record_marker("")


async def bad_attributes(case: Case, flow: Flow) -> Made:
    return case.of(
        [
            commands.upsert_search_attributes(search_attributes(Unknown="word")),
            commands.upsert_search_attributes(None),
            commands.modify_properties(None),
            commands.upsert_search_attributes(search_attributes(CustomIntField="word")),
        ]
    )


async def bad_child(case: Case, flow: Flow) -> Made:
    fields = case.fields(
        [
            {"workflow_id": ""},
            {"workflow_type": common.WorkflowType()},
            {"retry_policy": retry_policy(-1)},
            {"namespace": "n"},
        ]
    )
    return commands.start_child(case.queue("bad"), **{"workflow_id": case.session.unique("bad"), **fields})


async def bad_call(case: Case, flow: Flow) -> Made:
    return case.of(
        [
            commands.signal_external(None),
            commands.signal_external(case.session.execution("b"), ""),
            commands.signal_external(case.session.execution("b", "no-run")),
            commands.cancel_external(""),
            commands.cancel_external(case.session.unique("b"), run_id="no-run"),
        ]
    )


async def bad_go_on(case: Case, flow: Flow) -> Made:
    fields = case.fields(
        [
            {"workflow_run_timeout": duration(-1)},
            {"search_attributes": search_attributes(Unknown="word")},
            {"retry_policy": retry_policy(-1)},
            {"backoff_start_interval": duration(-1)},
        ]
    )
    return commands.continue_as_new(**fields)


async def nothing(case: Case, flow: Flow) -> Made:
    return case.of([command.Command(), command.Command(command_type=999), command.Command(command_type=1)])  # type: ignore[arg-type]  # a type that is none


PLAIN: list[Maker] = [marker, long_timer, activity, activity, stop_timer, stop_activity, attributes, properties]
RACING: list[Maker] = [short_timer, child, child, call_signal, call_cancel, doomed_activity]
CLOSING: list[Maker] = [complete, fail, go_on, be_cancelled]
BAD: list[Maker] = [
    bad_timer,
    bad_activity,
    bad_marker,
    bad_attributes,
    bad_child,
    bad_call,
    bad_go_on,
    nothing,
]
