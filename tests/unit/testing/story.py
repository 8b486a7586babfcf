"""A run in which everything is as it should be, told by hand: what each rule's mutation starts from."""

from typing import Any

import msgspec
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Header, Payload, RetryPolicy
from temporalio.api.enums.v1 import CommandType, EventType, TimeoutType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS, to_timestamp
from perdure.testing.checkers.evidence import (
    REQUEST_ID,
    STATUS_OF,
    AttemptSeen,
    Commit,
    Evidence,
    Row,
    RunHistory,
    digest_of,
)
from perdure.testing.oplog import Kind, Op, Outcome

RUN, NEXT_RUN = "run-one-1", "run-two-2"


def at(seconds: float) -> int:
    return 1_000 * SECOND_NS + int(seconds * SECOND_NS)


def header(request_id: str) -> Header:
    return Header(fields={REQUEST_ID: Payload(data=request_id.encode())})


def event(event_id: int, seconds: float, name: str, **attributes: Any) -> HistoryEvent:
    made = HistoryEvent(
        event_id=event_id,
        task_id=100 + event_id,
        event_time=to_timestamp(at(seconds)),
        event_type=EventType.Value("EVENT_TYPE_" + name),
    )
    field = getattr(made, name.lower() + "_event_attributes")
    field.SetInParent()
    for key, value in attributes.items():
        if hasattr(value, "DESCRIPTOR"):
            getattr(field, key).CopyFrom(value)
        else:
            setattr(field, key, value)
    return made


def first_run() -> list[HistoryEvent]:
    """A workflow task, an activity with two attempts, a timer, two signals, three workflow tasks in all."""
    seconds = Duration(seconds=10)
    policy = RetryPolicy(initial_interval=Duration(seconds=1), backoff_coefficient=1.0, maximum_attempts=3)
    return [
        event(1, 0, "WORKFLOW_EXECUTION_STARTED", header=header("s1"), workflow_run_timeout=Duration(seconds=60)),
        event(2, 0, "WORKFLOW_TASK_SCHEDULED", start_to_close_timeout=seconds, attempt=1),
        event(3, 1, "WORKFLOW_TASK_STARTED", scheduled_event_id=2),
        event(4, 2, "WORKFLOW_TASK_COMPLETED", scheduled_event_id=2, started_event_id=3, identity="worker#11"),
        event(
            5,
            2,
            "ACTIVITY_TASK_SCHEDULED",
            activity_id="a",
            workflow_task_completed_event_id=4,
            retry_policy=policy,
            start_to_close_timeout=seconds,
        ),
        event(
            6,
            2,
            "TIMER_STARTED",
            timer_id="t",
            workflow_task_completed_event_id=4,
            start_to_fire_timeout=Duration(seconds=5),
        ),
        event(7, 3, "WORKFLOW_EXECUTION_SIGNALED", header=header("g1")),
        event(8, 3, "WORKFLOW_TASK_SCHEDULED", start_to_close_timeout=seconds, attempt=1),
        event(9, 3.2, "WORKFLOW_EXECUTION_SIGNALED", header=header("g2")),
        event(10, 3.5, "WORKFLOW_TASK_STARTED", scheduled_event_id=8),
        event(11, 4, "WORKFLOW_TASK_COMPLETED", scheduled_event_id=8, started_event_id=10, identity="worker#12"),
        event(12, 4, "MARKER_RECORDED", marker_name="m", workflow_task_completed_event_id=11),
        event(13, 5.5, "ACTIVITY_TASK_STARTED", scheduled_event_id=5, attempt=2),
        event(14, 6, "ACTIVITY_TASK_COMPLETED", scheduled_event_id=5, started_event_id=13, identity="worker#24"),
        event(15, 6, "WORKFLOW_TASK_SCHEDULED", start_to_close_timeout=seconds, attempt=1),
        event(16, 7, "TIMER_FIRED", timer_id="t", started_event_id=6),
        event(17, 7.5, "WORKFLOW_TASK_STARTED", scheduled_event_id=15),
        event(18, 8, "WORKFLOW_TASK_COMPLETED", scheduled_event_id=15, started_event_id=17, identity="worker#13"),
        event(19, 8, "WORKFLOW_EXECUTION_COMPLETED", workflow_task_completed_event_id=18),
    ]


def second_run() -> list[HistoryEvent]:
    """Started after the first one, and terminated."""
    return [
        event(1, 10, "WORKFLOW_EXECUTION_STARTED", header=header("s2")),
        event(2, 10, "WORKFLOW_TASK_SCHEDULED", attempt=1),
        event(3, 12, "WORKFLOW_EXECUTION_TERMINATED", identity="client#31"),
    ]


def history(run_id: str, events: list[HistoryEvent]) -> RunHistory:
    status = next((STATUS_OF[e.event_type] for e in events if e.event_type in STATUS_OF), 1)
    return RunHistory("ns", "wf", run_id, events, len(events), status)


def operation(n: int, kind: Kind, start: float, end: float, **fields: Any) -> Op:
    fields = {"party": "client", "namespace": "ns", "workflow_id": "wf", "run_id": RUN, "outcome": Outcome.OK} | fields
    return Op(n=n, kind=kind, invoked_ns=at(start), returned_ns=at(end), **fields)


def read(events: list[HistoryEvent], first: int = 1, end: int = 0) -> dict[str, Any]:
    """What a call that read the events `first`..`end` - 1 says of them."""
    chosen = [e for e in events if first <= e.event_id < (end or len(events) + 1)]
    return {
        "run_id": RUN,
        "first": first,
        "digests": [digest_of(e) for e in chosen],
        "types": [int(e.event_type) for e in chosen],
        "whole": first == 1,
    }


def _workflow_task(scheduled: int, started: int, start: float) -> dict[str, Any]:
    return {
        "scheduled": scheduled,
        "started": started,
        "started_ns": at(start),
        "attempt": 1,
        "stamp": 0,
        "run_id": RUN,
    }


def _activity(attempt: int, start: float) -> dict[str, Any]:
    return {"scheduled": 5, "started_ns": at(start), "attempt": attempt, "stamp": 0, "activity_id": "a", "run_id": RUN}


def _worker_calls(events: list[HistoryEvent]) -> list[Op]:
    tasks = [_workflow_task(2, 3, 1), _workflow_task(8, 10, 3.5), _workflow_task(15, 17, 7.5)]
    commands: list[list[tuple[int, str]]] = [
        [(CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK, "a"), (CommandType.COMMAND_TYPE_START_TIMER, "t")],
        [(CommandType.COMMAND_TYPE_RECORD_MARKER, "m")],
        [(CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION, "")],
    ]
    calls = []
    for i, (task, start) in enumerate(zip(tasks, (1, 3.5, 7.5), strict=True)):
        seen = read(events, end=task["started"] + 1)
        calls.append(operation(8 + i, Kind.POLL_WORKFLOW, start, start + 0.1, party="worker", reply=task | seen))
        args = task | {"commands": commands[i]}
        calls.append(operation(11 + i, Kind.COMPLETE_WORKFLOW, start + 0.3, start + 0.6, party="worker", args=args))
    once, twice = _activity(1, 3), _activity(2, 5.5)
    beat = once | {"details": "half"}
    calls += [
        operation(20, Kind.POLL_ACTIVITY, 2.5, 3.1, party="worker", reply=once | {"heartbeat": ""}),
        operation(21, Kind.HEARTBEAT, 3.2, 3.3, party="worker", args=beat),
        operation(22, Kind.FAIL_ACTIVITY, 4.4, 4.5, party="worker", args=once),
        operation(23, Kind.POLL_ACTIVITY, 4.6, 5.6, party="worker", reply=twice | {"heartbeat": "half"}),
        operation(24, Kind.COMPLETE_ACTIVITY, 5.9, 6.1, party="worker", args=twice),
    ]
    return calls


def story() -> Evidence:
    """Evidence that breaks no rule."""
    events, after = first_run(), second_run()
    ops = [
        operation(0, Kind.START, 0, 0.1, request_id="s1", run_id="", reply={"run_id": RUN, "started": True}),
        operation(1, Kind.SIGNAL, 2.9, 3.05, request_id="g1"),
        operation(2, Kind.SIGNAL, 3.15, 3.25, request_id="g2"),
        operation(3, Kind.QUERY, 4.5, 4.8, reply={"run_id": RUN, "signals": ["g1", "g2"]}),
        operation(4, Kind.HISTORY, 3.3, 3.4, args={"tail": True}, reply=read(events, end=10)),
        operation(5, Kind.HISTORY, 9, 9.1, args={}, reply=read(events)),
        operation(6, Kind.LIST, 13, 13.1, reply={"rows": [("wf", RUN, 2), ("wf", NEXT_RUN, 5)]}),
        *_worker_calls(events),
        operation(30, Kind.START, 9.9, 10.1, request_id="s2", run_id="", reply={"run_id": NEXT_RUN, "started": True}),
        operation(31, Kind.TERMINATE, 11.9, 12.1, run_id=NEXT_RUN),
    ]
    return Evidence(
        ops=ops,
        histories=[history(RUN, events), history(NEXT_RUN, after)],
        rereads=[history(RUN, first_run()), history(NEXT_RUN, second_run())],
        pointers={("ns", "wf"): NEXT_RUN},
        rows=[Row("ns", "wf", RUN, 2, at(0), at(8)), Row("ns", "wf", NEXT_RUN, 5, at(10), at(12))],
        counts={"ns": 2},
        commits=[Commit("shard", 1, 1, 1), Commit("shard", 1, 1, 2), Commit("shard", 2, 3, 3)],
        attempts=[AttemptSeen(RUN, 5, 1, 0), AttemptSeen(RUN, 5, 1, 0), AttemptSeen(RUN, 5, 2, 0)],
        faults={"crash": 1},
    )


def timed_out(event_id: int, seconds: float) -> HistoryEvent:
    """A workflow task that timed out in the first run, in place of a Completed."""
    return event(
        event_id,
        seconds,
        "WORKFLOW_TASK_TIMED_OUT",
        scheduled_event_id=8,
        started_event_id=10,
        timeout_type=TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE,
    )


def renumbered(events: list[HistoryEvent], moved: dict[int, int]) -> list[HistoryEvent]:
    """The events with ids changed as `moved` says, in order of the new ids; what refers to them stays."""
    for changed in events:
        changed.event_id = moved.get(changed.event_id, changed.event_id)
    ordered = sorted(events, key=lambda e: e.event_id)
    for changed in ordered:
        changed.task_id = 100 + changed.event_id
    return ordered


def reread(evidence: Evidence) -> Evidence:
    """The evidence after its histories were changed: whoever read them read them like that, and nothing is cached."""
    again = msgspec.structs.replace(evidence)
    again.histories = [history(h.run_id, h.events) for h in evidence.histories]
    again.rereads = [history(h.run_id, h.events) for h in evidence.histories]
    events = again.histories[0].events
    for op in again.ops:
        if "digests" in op.reply:
            op.reply |= read(events, op.reply["first"], op.reply["first"] + len(op.reply["digests"]))
    return again
