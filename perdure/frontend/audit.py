"""Who changed what: one record of each call that changes something, and of each that was denied.

Records go to the logger `perdure.audit`, whatever the level of the rest. Invariant: a record holds names and ids, each
cut to a length, and never a payload, a header or a token. Refuses to know why a call ended as it did.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import structlog
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code  # type: ignore[import-untyped]  # it ships no annotations

from perdure.base.errors import InvalidArgument
from perdure.frontend.authorization import Reach, Role, need_of
from perdure.frontend.inner_names import inner_names
from perdure.frontend.measured import GuardMeter
from perdure.rpc.call import CallMeta
from perdure.workflow.tokens import TaskToken, decode_token

TEXT_MAX = 1_000  # characters: as long as an id may be
# Where a request says what it is about: the name in the record -> fields, the first that there is.
_TARGETS: dict[str, tuple[str, ...]] = {
    "workflow_id": ("workflow_id", "workflow_execution.workflow_id", "execution.workflow_id"),
    "run_id": ("run_id", "workflow_execution.run_id", "execution.run_id"),
    "activity_id": ("activity_id",),
    "target": ("schedule_id", "job_id", "task_queue.name", "task_queue", "deployment_name", "endpoint_id", "rule_id"),
    "identity": ("identity",),
}
_OK = "OK"
_Get = Callable[[Any], object]


class Audit:
    """`workers`: calls that only workers make are recorded too. `meter` counts the records."""

    def __init__(self, meter: GuardMeter, *, workers: bool) -> None:
        self._meter = meter
        self._workers = workers
        self._getters: dict[str, list[tuple[str, _Get]]] = {}
        # Another logger than the rest: a level that is set for those doesn't count here.
        self._log: Any = structlog.wrap_logger(
            None, wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET)
        )

    def covers(self, method: str) -> bool:
        """Whether calls of the method are recorded, also those that weren't denied."""
        need = need_of(method)
        is_workers_own = need.reach is Reach.NAMESPACE and bool(need.roles & Role.WORKER)
        return need.changes and (self._workers or not is_workers_own)

    def record(self, method: str, request: Message, meta: CallMeta, caller: tuple[str, str], outcome: int) -> None:
        """`caller`: who it is, and the namespace if that isn't in the request. `outcome`: a google.rpc.Code."""
        subject, namespace = caller
        found = {
            "logger": "perdure.audit",
            "operation": method,
            "outcome": Code.Name(outcome) if outcome in Code.values() else str(outcome),
            "subject": subject,
            "namespace": _cut(getattr(request, "namespace", "") or namespace),
            "client": _cut(meta.client_name),
        }
        found |= {name: text for name, get in self._getters_of(method, request) if (text := _cut(get(request)))}
        try:
            self._log.info("audit", **found)
        except (OSError, ValueError):  # the call is done: what can't be written doesn't fail it
            self._meter.audited(is_done=False)
        else:
            self._meter.audited(is_done=True)

    def _getters_of(self, method: str, request: Message) -> list[tuple[str, _Get]]:
        found = self._getters.get(method)
        if found is None:
            found = self._getters[method] = list(_getters(request))
        return found


def namespace_id_of(request: Message) -> str:
    """The namespace of a request that names it by a token or an id alone."""
    return inner_names(request).namespace_id


def _getters(request: Message) -> Iterator[tuple[str, _Get]]:
    fields = request.DESCRIPTOR.fields_by_name
    if request.DESCRIPTOR.name == "ExecuteMultiOperationRequest":
        yield (
            "workflow_id",
            lambda message: message.operations[0].start_workflow.workflow_id if message.operations else "",
        )
    if request.DESCRIPTOR.full_name == "google.protobuf.Struct":
        yield "target", _told
    if "task_token" in fields:
        yield "workflow_id", lambda message: _token(message).workflow_id
        yield "run_id", lambda message: _token(message).run_id
        yield "activity_id", lambda message: _token(message).activity_id
    for name, paths in _TARGETS.items():
        for path in paths:
            first, _, second = path.partition(".")
            field = fields.get(first)
            if field is None or (field.message_type is None) == bool(second):
                continue
            yield name, _reader(first, second)
            break


def _reader(first: str, second: str) -> _Get:
    if second:
        return lambda message: getattr(getattr(message, first), second)
    return lambda message: getattr(message, first)


def _told(request: Any) -> str:
    """What an operator has asked for: shards, hosts and numbers, by name."""
    known = (name for name in ("shard", "shards", "parts", "host") if name in request.fields)
    return " ".join(f"{name}={_plain(request.fields[name])}" for name in known)


def _plain(value: Any) -> str:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return ",".join(map(_plain, value.list_value.values))
    return f"{value.number_value:g}" if kind == "number_value" else str(value.string_value)


_NO_TOKEN = TaskToken("", "", "", 0)


def _token(message: Any) -> TaskToken:
    try:
        return decode_token(message.task_token)
    except InvalidArgument:
        return _NO_TOKEN


def _cut(text: object) -> str:
    return str(text)[:TEXT_MAX]
