"""Decisions as text: each step of the record, the task changes, notices, and the answer."""

import dataclasses
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
from google.protobuf.message import Message
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.slots import ChainKey
from perdure.workflow.core import Decision
from perdure.workflow.steps import Append, Assign, Buffer, Create, Delete, Drop, Flush, Mutation, Put, Step, Unbuffer
from perdure.workflow.tasks import Effect, Offer, QueueKey, Task, Timer
from tests.conformance.harness.render import Names, event_lines, message_lines
from tests.transcripts.stage import T0

_HIDDEN = ("namespace_id", "workflow_id", "history_size_bytes", "created_time_ns")


class Renderer:
    """Keeps the names of ids over a whole transcript."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names = Names("~")

    def note(self, text: str) -> None:
        """A heading of the scenario's own."""
        self.lines += ["", f"# {text}"] if self.lines else [f"# {text}"]

    def decision(self, request: Any, decision: Decision, now_ns: int) -> None:
        """One request and all that follows from it."""
        self.lines += ["", f"> {_seconds(now_ns)} {self._request(request)}"]
        mutations = decision.record.mutations if decision.record is not None else []
        for mutation in mutations:
            self._mutation(mutation)
        for sign, tasks in (("+", decision.added), ("-", decision.removed), ("~", decision.volatile)):
            self.lines += [f"  {sign} {self._task(task)}" for task in tasks]
        self.lines += [f"  lapsed {self._names.name(run_id, 'run')}" for run_id in decision.lapsed]
        self.lines += [f"  notice {self._value(notice)}" for notice in decision.notices]
        if decision.refusal is not None:
            name = type(decision.refusal).__name__
            self.lines.append(f"  ! {name}: {self._names.clean(decision.refusal.message)}")
            details = decision.refusal.details()
            if details is not None:
                self.lines += [f"      {line}" for line in message_lines(details, self._names)]
        elif isinstance(decision.reply, Message):
            self.lines += [f"  = {line}" for line in message_lines(decision.reply, self._names)]
        elif decision.reply is not None:
            self.lines.append(f"  = {self._value(decision.reply)}")

    def _request(self, request: Any) -> str:
        fields = {
            field.name: getattr(request, field.name)
            for field in dataclasses.fields(request)
            if getattr(request, field.name) != field.default
        }
        return f"{type(request).__name__} {self._fields(fields)}".rstrip()

    def _mutation(self, mutation: Mutation) -> None:
        self.lines.append(f"  run {self._names.name(mutation.run_id, 'run')} batches {list(mutation.batches)}")
        for step in mutation.steps:
            self.lines += [f"    {line}" for line in self._step(step)]

    def _step(self, step: Step) -> list[str]:
        match step:
            case Append(event):
                return self._event(event)
            case Buffer(event):
                first, *rest = self._event(event)
                return [f"buffer {first}", *rest]
            case Flush(events):
                return ["flush", *(line for event in events for line in self._event(event))]
            case Unbuffer(index):
                return [f"unbuffer {index}"]
            case Assign(field, value):
                return [f"{field} = {self._value(value)}"]
            case Put(field, key, value):
                return [f"{field}[{key}] = {self._value(value)}"]
            case Drop(field, key):
                return [f"drop {field}[{key}]"]
            case Create(durable):
                return [f"create {self._value(durable)}"]
            case Delete():
                return ["delete"]

    def _event(self, encoded: bytes) -> list[str]:
        event = HistoryEvent.FromString(encoded)
        time = event.event_time.seconds - T0 // SECOND_NS + event.event_time.nanos / SECOND_NS
        head, *rest = event_lines(event, self._names)
        return [f"{head} at {time:g}s", *(line for line in rest if "first_workflow_task_backoff: 0s" not in line)]

    def _task(self, task: Task) -> str:
        if isinstance(task, Timer):
            due = f"{task.kind.name} at {_seconds(task.due_ns)}"
            return f"Timer {due}{self._ids(task)}"
        if isinstance(task, Effect):
            return f"{task.kind.name} version {task.version} of {self._names.name(task.run_id, 'run')}"
        sticky = f" sticky {task.sticky}" if task.sticky else ""
        return f"Offer {task.queue.kind.name} on {task.queue.name}{sticky}{self._ids(task)}"

    def _ids(self, task: Timer | Offer) -> str:
        event_id = task.event_id if isinstance(task, Timer) else task.scheduled_event_id
        return f" event {event_id} attempt {task.attempt}" if event_id else ""

    def _fields(self, fields: dict[str, Any]) -> str:
        shown = {name: self._value(value, name) for name, value in fields.items() if name not in _HIDDEN}
        return ", ".join(f"{name} {value}" for name, value in shown.items() if value not in ("", "''"))

    def _value(self, value: Any, name: str = "") -> str:
        if isinstance(value, Message):
            return "{" + ", ".join(map(_printable, message_lines(value, self._names))) + "}"
        if isinstance(value, bytes):
            return f"({len(value)} bytes)" if value else ""
        if isinstance(value, Timer | Offer | Effect):
            return f"[{self._task(value)}]"
        if isinstance(value, ChainKey | QueueKey):
            return ""
        if isinstance(value, msgspec.Struct):
            given = {
                field.name: getattr(value, field.name)
                for field in msgspec.structs.fields(value)
                if getattr(value, field.name) != field.default and getattr(value, field.name) != {}
            }
            return f"{type(value).__name__}({self._fields(given)})"
        if is_dataclass(value):
            held = {field.name: getattr(value, field.name) for field in fields(value)}
            return f"{type(value).__name__}({self._fields(held)})"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{key}: {self._value(entry)}" for key, entry in value.items()) + "}"
        if isinstance(value, tuple):
            return "[" + ", ".join(self._value(entry) for entry in value) + "]"
        if isinstance(value, Exception):
            return f"{type(value).__name__}({value})"
        return self._scalar(value, name)

    def _scalar(self, value: Any, name: str) -> str:
        if isinstance(value, int) and not isinstance(value, bool) and name.endswith("_ns"):
            return _seconds(value) if value > T0 // 2 else f"{value / SECOND_NS:g}s"
        if name == "event_type":
            return EventType.Name(value).removeprefix("EVENT_TYPE_")
        if isinstance(value, str):
            return self._names.clean(repr(value), "run" if "run_id" in name else "uuid")
        return str(value)


def _printable(line: str) -> str:
    """The line, with what of it is no text (a message inside of another) as numbers."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in line)


def _seconds(time_ns: int) -> str:
    """A point in time as seconds since the scenario began."""
    return f"{(time_ns - T0) / SECOND_NS:g}s"
