"""A working copy of one run while a decision is made.

Every change goes through it: it changes the forked state at once, so that later parts of the decision see it, and notes
the step. Throwing the draft away undoes everything. An event is encoded once, when it has its id.
"""

import copy
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import Message
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import set_timestamp
from perdure.base.errors import Bug
from perdure.workflow import evolve
from perdure.workflow.context import Context
from perdure.workflow.external_payloads import external_payloads
from perdure.workflow.state import Durable, Facts, Run, section_of
from perdure.workflow.steps import (
    Append,
    Assign,
    Buffer,
    Create,
    Delete,
    Drop,
    Flush,
    Mutation,
    Put,
    Step,
    Unbuffer,
    check_durable,
)
from perdure.workflow.task_attributes import scheduled, started, task_queue


def _message_type(field: str) -> str:
    descriptor = HistoryEvent.DESCRIPTOR.fields_by_name[field].message_type
    assert descriptor is not None
    return str(descriptor.full_name)


_FIELD_OF: dict[str, tuple[int, str]] = {
    _message_type(name): (event_type, name)
    for event_type, name in evolve.ATTRIBUTE_FIELDS.items()
    if name in HistoryEvent.DESCRIPTOR.fields_by_name
}

_BUFFERED = frozenset(
    getattr(EventType, "EVENT_TYPE_" + name)
    for name in (
        "ACTIVITY_TASK_STARTED",
        "ACTIVITY_TASK_COMPLETED",
        "ACTIVITY_TASK_FAILED",
        "ACTIVITY_TASK_TIMED_OUT",
        "ACTIVITY_TASK_CANCELED",
        "TIMER_FIRED",
        "WORKFLOW_EXECUTION_SIGNALED",
        "WORKFLOW_EXECUTION_CANCEL_REQUESTED",
        "WORKFLOW_EXECUTION_OPTIONS_UPDATED",
        "WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED",
        "WORKFLOW_EXECUTION_PAUSED",
        "WORKFLOW_EXECUTION_UNPAUSED",
        "START_CHILD_WORKFLOW_EXECUTION_FAILED",
        "CHILD_WORKFLOW_EXECUTION_STARTED",
        "CHILD_WORKFLOW_EXECUTION_COMPLETED",
        "CHILD_WORKFLOW_EXECUTION_FAILED",
        "CHILD_WORKFLOW_EXECUTION_CANCELED",
        "CHILD_WORKFLOW_EXECUTION_TIMED_OUT",
        "CHILD_WORKFLOW_EXECUTION_TERMINATED",
        "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED",
        "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED",
        "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED",
        "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED",
    )
)
# Task ids only have to rise within a run. Made from the event id, they do so across takeovers, splits and resets.
_TASK_ID_BASE = 1 << 20


class Draft:
    """One run under change. `run` is the working copy: read it freely, change it only through this class.

    `event_bytes`: how much history this draft adds so far.
    """

    __slots__ = (
        "_batch_starts",
        "_event_count",
        "_steps",
        "context",
        "deleted",
        "event_bytes",
        "holding",
        "run",
        "woken",
    )

    def __init__(self, run: Run, context: Context) -> None:
        self.run = run
        self.context = context.ahead(run.ahead_ns)
        self.deleted = False
        self.holding = False  # the commands of a completion are at work: what may be buffered goes after their events
        self.woken = False  # `workflow_task.wake` was called while holding
        self.event_bytes = 0
        self._steps: list[Step] = []
        self._batch_starts: list[int] = [0]
        self._event_count = 0

    @classmethod
    def of(cls, run: Run, context: Context) -> "Draft":
        """A draft of an existing run, which stays untouched."""
        return cls(run.fork(), context)

    @classmethod
    def create(cls, durable: Durable, context: Context, facts: Facts | None = None) -> "Draft":
        """A draft of a run that does not exist yet. `facts`: where it begins as a copy; they stay as they are."""
        draft = cls(evolve.new_run(durable, None if facts is None else _copy(facts)), context)
        draft._steps.append(Create(_copy(durable), None if facts is None else _copy(facts)))
        draft.run.touched.add(("run_id", None))
        return draft

    @property
    def changed(self) -> bool:
        """True once anything durable was changed."""
        return bool(self._steps)

    def add(self, attributes: Message, *, time_ns: int | None = None, **fields: Any) -> HistoryEvent:
        """Add the event with these attributes: numbered now, or buffered if its type allows and a workflow task is
        started, or its commands are at work (`holding`).

        `fields` are HistoryEvent's own (`user_metadata`, `links`, `worker_may_ignore`, `principal`). The event's id is
        0 while it is buffered. Do not change the event afterwards.
        """
        if self.run.ephemeral.speculative_task is not None:
            self.settle_task()
        event_type, name = _FIELD_OF[attributes.DESCRIPTOR.full_name]
        event = HistoryEvent(event_type=event_type, **fields)  # type: ignore[arg-type]  # the stub wants the enum's type
        # Both in place: a message given to the constructor is encoded and parsed again.
        set_timestamp(event.event_time, self.context.now_ns if time_ns is None else time_ns)
        getattr(event, name).CopyFrom(attributes)
        if event_type in _BUFFERED and (self.holding or self._task_started()):
            encoded = event.SerializeToString()
            evolve.buffer(self.run, event, encoded)
            self._steps.append(Buffer(encoded))
            return event
        self._number(event)
        evolve.arrive(self.run, event)
        evolve.number(self.run, event)
        self._steps.append(Append(self._encoded(event)))
        return event

    def _task_started(self) -> bool:
        task = self.run.durable.workflow_task
        return task is not None and task.started_event_id != 0

    def _number(self, event: HistoryEvent) -> None:
        event.event_id = self.run.facts.next_event_id
        event.task_id = _TASK_ID_BASE + event.event_id
        self._event_count += 1

    def _encoded(self, event: HistoryEvent) -> bytes:
        encoded = event.SerializeToString()
        self.event_bytes += len(encoded)
        count, size = external_payloads(event, encoded)
        if count:
            for field, more in (("external_payload_count", count), ("external_payload_bytes", size)):
                value = getattr(self.run.durable, field) + more
                self.run.assign(field, value)
                self._steps.append(Assign(field, value))
        return encoded

    def settle_task(self, identity: str = "") -> None:
        """Make the run's speculative workflow task, if it has one, an ordinary one, in history: something is about to
        be written. `identity`: of the worker, where it is known.
        """
        task = self.run.ephemeral.speculative_task
        if task is None:
            return
        self.run.assign("speculative_task", None)
        queue = task_queue(self.run)
        event = self.add(scheduled(queue, task.timeout_ns, task.attempt), time_ns=task.scheduled_time_ns)
        if event.event_id != task.scheduled_event_id:
            raise Bug(f"event {event.event_id} for a speculative task that was shown as {task.scheduled_event_id}")
        if task.started_event_id:
            unversioned = msgspec.structs.replace(task, worker_version=b"")
            self.add(started(unversioned, identity), time_ns=task.started_time_ns)
            self.new_batch()
        self.assign("workflow_task", msgspec.structs.replace(task, speculative=False))

    def assign(self, field: str, value: Any, *, beside_task: bool = False) -> None:
        """Set a durable field. `beside_task`: a speculative workflow task stays what it is."""
        if self.run.ephemeral.speculative_task is not None and not beside_task:
            self.settle_task()
        check_durable(field)
        self.run.assign(field, value)
        self._steps.append(Assign(field, value))

    def put(self, field: str, key: Any, value: Any) -> None:
        """Set an entry of a durable map."""
        if self.run.ephemeral.speculative_task is not None:
            self.settle_task()
        check_durable(field)
        self.run.put(field, key, value)
        self._steps.append(Put(field, key, value))

    def drop(self, field: str, key: Any) -> None:
        """Remove an entry of a durable map, if it is there."""
        check_durable(field)
        if key in getattr(self.run.durable, field):
            if self.run.ephemeral.speculative_task is not None:
                self.settle_task()
            self.run.drop(field, key)
            self._steps.append(Drop(field, key))

    def note(self, field: str, key: Any, value: Any) -> None:
        """Set an entry of an ephemeral map; nothing is logged."""
        if section_of(field) != "ephemeral":
            raise Bug(f"{field} is not ephemeral state")
        self.run.put(field, key, value)

    def forget(self, field: str, key: Any) -> None:
        """Remove an entry of an ephemeral map; nothing is logged."""
        if section_of(field) != "ephemeral":
            raise Bug(f"{field} is not ephemeral state")
        self.run.drop(field, key)

    def buffered(self) -> list[HistoryEvent]:
        """The events that wait for an id, in order of arrival (copies)."""
        return [HistoryEvent.FromString(body) for body in self.run.durable.buffered]

    def unbuffer(self, index: int) -> None:
        """Take back the buffered event at `index`."""
        evolve.unbuffer(self.run, index)
        self._steps.append(Unbuffer(index))

    def flush(self, events: list[HistoryEvent]) -> None:
        """Number the whole buffer, given in its final order (`perdure.workflow.flush` makes it, and fills in ids
        inside).

        `events` come from `buffered()`. An empty list drops the buffer (a close).
        """
        evolve.clear_buffer(self.run)
        for event in events:
            self._number(event)
            evolve.number(self.run, event)
        self._steps.append(Flush(tuple(map(self._encoded, events))))

    def show(self) -> None:
        """Lists have to show the run anew."""
        version = self.run.durable.transition_count + 1
        if self.run.durable.visibility_version != version:
            self.assign("visibility_version", version)

    def new_batch(self) -> None:
        """Events from here on form a history batch of their own."""
        if self._event_count > self._batch_starts[-1]:
            self._batch_starts.append(self._event_count)

    def delete(self, branches: tuple[str, ...]) -> None:
        """The run goes, with its history: these branches."""
        self.deleted = True
        self._steps.append(Delete(branches, self.run.start_time_ns))

    def mutation(self) -> Mutation:
        """Freeze: do the end-of-mutation bookkeeping. Called once, by `decide`."""
        ends = [*self._batch_starts[1:], self._event_count]
        batches = tuple(end - start for start, end in zip(self._batch_starts, ends, strict=True) if end > start)
        evolve.finish(self.run, batches, self.event_bytes)
        return Mutation(self.run.run_id, self._steps, batches)


_Section = TypeVar("_Section", Durable, Facts)


def _copy(section: _Section) -> _Section:
    """It as it is now: the live one goes on changing, the step does not."""
    copied = copy.copy(section)
    for name in _MAPS[type(section)]:
        setattr(copied, name, dict(getattr(copied, name)))
    return copied


_MAPS: dict[type, tuple[str, ...]] = {
    struct: tuple(name for name in struct.__struct_fields__ if isinstance(getattr(struct(), name), dict))
    for struct in (Durable, Facts)
}
