"""How a workflow ended, in the words of Nexus: the HTTP request that calls a completion callback, and what an answer
to it means.

Pure. Source: the Nexus specification's HTTP binding, and the reference (`common/nexus/nexusrpc/completion.go`) where it
says less; completions may go to anybody, so no reason of a termination is told.
"""

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec
import orjson
from google.protobuf.json_format import MessageToDict
from temporalio.api.common.v1 import Callback, Link, Payload
from temporalio.api.enums.v1 import EventType, NexusHandlerErrorRetryBehavior
from temporalio.api.failure.v1 import (
    CanceledFailureInfo,
    Failure,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.slots import ChainKey
from perdure.workflow.evolve import attributes_of
from perdure.workflow.links import request_link, started_link
from perdure.workflow.requests import CallbackPlan

USER_AGENT = "temporalio/server"
_JSON = "application/json"
_STATE = "Nexus-Operation-State"
_UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
_RETRYABLE = NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_RETRYABLE
_NON_RETRYABLE = NexusHandlerErrorRetryBehavior.NEXUS_HANDLER_ERROR_RETRY_BEHAVIOR_NON_RETRYABLE
# They say how a message is framed, and where it goes: nobody but the sender does.
_SENDERS = frozenset({"host", "content-length", "transfer-encoding", "trailer"})
# encoding of a payload -> the content type of its data alone
_PLAIN = {"json/plain": _JSON, "binary/plain": "application/octet-stream", "binary/null": ""}
_WITH_TYPE = {
    "json/protobuf": 'application/json; format=protobuf; message-type="{}"',
    "binary/protobuf": 'application/x-protobuf; message-type="{}"',
}

_REPEATED_BYTES_MAX = 4 << 20
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_ERROR_TYPES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "UNAUTHORIZED",
    404: "NOT_FOUND",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "NOT_IMPLEMENTED",
    503: "UNAVAILABLE",
    520: "UPSTREAM_TIMEOUT",
}
_FINAL = frozenset({"BAD_REQUEST", "UNAUTHENTICATED", "UNAUTHORIZED", "NOT_FOUND", "CONFLICT", "NOT_IMPLEMENTED"})


class Completion(msgspec.Struct, frozen=True):
    """One POST: header names as they are written, and the body."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Answer(msgspec.Struct, frozen=True):
    """What a receiver answered; header names in lower case, the body as far as it was read."""

    status: int
    reason: str = ""
    headers: Mapping[str, str] = {}
    body: bytes = b""


def completion(plan: CallbackPlan, key: ChainKey, run_id: str, namespace: str, close: HistoryEvent) -> Completion:
    """The call of a callback for a run that ended with the event `close`."""
    callback = Callback.FromString(plan.callback)
    given = {name.lower(): value for name, value in callback.nexus.header.items() if name.lower() not in _SENDERS}
    state, headers, body = _outcome(close)
    headers |= {
        _STATE: state,
        "User-Agent": USER_AGENT,
        "Nexus-Operation-Start-Time": http_time(plan.start_time_ns),
        "Nexus-Operation-Close-Time": rfc3339(plan.close_time_ns),
        "Nexus-Link": nexus_link(_link(plan, key, run_id, namespace)),
    }
    kept = {name: value for name, value in headers.items() if not given.get(name.lower())}
    return Completion(callback.nexus.url, kept | {_canonical(name): value for name, value in given.items()}, body)


def header_fault(headers: Mapping[str, str]) -> str:
    """Why these headers can't be sent; "" if they can."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            return f'net/http: invalid header field name "{name}"'
        if _CONTROL.search(value):
            return f'net/http: invalid header field value for "{name}"'
    return ""


def shown(url: str) -> str:
    """The address as people may read it: without its password."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@", 1) if password else url


def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-")) if _NAME.fullmatch(name) else name


def _link(plan: CallbackPlan, key: ChainKey, run_id: str, namespace: str) -> Link:
    if plan.request_id:
        return request_link(namespace, key, run_id, plan.request_id, _UPDATED)
    return started_link(namespace, key, run_id)


def _outcome(close: HistoryEvent) -> tuple[str, dict[str, str], bytes]:
    """(operation state, headers, body)."""
    if close.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
        payloads = close.workflow_execution_completed_event_attributes.result.payloads
        content_type, body = content(payloads[0] if payloads else None)
        headers = {f"Content-{name.capitalize()}": value for name, value in content_type.items()}
        headers = {name: value for name, value in headers.items() if name.lower() not in _SENDERS}
        return "succeeded", headers, body
    state, failure = _FAILURES[close.event_type](attributes_of(close))
    return state, {"Content-Type": _JSON}, orjson.dumps(nexus_failure(failure))


def _failed(attributes: Any) -> tuple[str, Failure]:
    return "failed", attributes.failure


def _canceled(attributes: Any) -> tuple[str, Failure]:
    info = CanceledFailureInfo(details=attributes.details if attributes.HasField("details") else None)
    return "canceled", Failure(message="operation canceled", canceled_failure_info=info)


def _terminated(attributes: Any) -> tuple[str, Failure]:
    return "failed", Failure(message="operation terminated", terminated_failure_info=TerminatedFailureInfo())


def _timed_out(attributes: Any) -> tuple[str, Failure]:
    return "failed", Failure(message="operation exceeded internal timeout", timeout_failure_info=TimeoutFailureInfo())


_FAILURES: dict[int, Callable[[Any], tuple[str, Failure]]] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: _failed,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: _canceled,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: _terminated,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: _timed_out,
}


def content(payload: Payload | None) -> tuple[dict[str, str], bytes]:
    """A payload as Nexus content: (headers without their prefix, data)."""
    if payload is None:
        return {}, b""
    metadata = {name: value.decode(errors="replace") for name, value in payload.metadata.items()}
    encoding, message_type = metadata.get("encoding", ""), metadata.get("messageType", "")
    if encoding == "unknown/nexus-content":
        return {name: value for name, value in metadata.items() if name != "encoding"}, payload.data
    if encoding in _PLAIN and len(metadata) == 1:
        return {"type": _PLAIN[encoding]} if _PLAIN[encoding] else {}, payload.data
    if encoding in _WITH_TYPE and len(metadata) == 2 and message_type:
        quoted = message_type.replace("\\", "\\\\").replace('"', '\\"')
        return {"type": _WITH_TYPE[encoding].format(quoted)}, payload.data
    return {"type": "application/x-temporal-payload"}, payload.SerializeToString(deterministic=True)


def nexus_failure(failure: Failure) -> dict[str, Any]:
    """A failure as Nexus writes it, with its causes; all of it beside its texts is in the details. So each cause is
    there as often as it is deep, as in the reference; where that would be too much, the details are without.
    """
    return _nexus_failure(failure, failure.ByteSize() * _depth(failure) <= _REPEATED_BYTES_MAX)


def _depth(failure: Failure) -> int:
    depth = 1
    while failure.HasField("cause"):
        failure, depth = failure.cause, depth + 1
    return depth


def _nexus_failure(failure: Failure, repeats: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"message": failure.message}
    if failure.stack_trace:
        found["stackTrace"] = failure.stack_trace
    if failure.HasField("nexus_handler_failure_info"):
        found["metadata"] = {"type": "nexus.HandlerError"}
        found["details"] = _handler_error(failure)
    else:
        details = MessageToDict(failure if repeats else _without_cause(failure))
        details.pop("message", None)
        details.pop("stackTrace", None)
        found["metadata"] = {"type": Failure.DESCRIPTOR.full_name}
        found["details"] = details
    if failure.HasField("cause"):
        found["cause"] = _nexus_failure(failure.cause, repeats)
    return found


def _without_cause(failure: Failure) -> Failure:
    found = Failure()
    for field, value in failure.ListFields():
        if field.name != "cause" and field.message_type is not None:
            getattr(found, field.name).CopyFrom(value)
        elif field.name != "cause":
            setattr(found, field.name, value)
    return found


def _handler_error(failure: Failure) -> dict[str, Any]:
    info = failure.nexus_handler_failure_info
    found: dict[str, Any] = {"type": info.type} if info.type else {}
    if info.retry_behavior in (_RETRYABLE, _NON_RETRYABLE):
        found["retryableOverride"] = info.retry_behavior == _RETRYABLE
    if failure.HasField("encoded_attributes"):
        encoded = orjson.dumps(MessageToDict(failure.encoded_attributes))
        found["encodedAttributes"] = base64.urlsafe_b64encode(encoded).rstrip(b"=").decode()
    return found


def nexus_link(link: Link) -> str:
    """A link to an event as the value of a Nexus-Link header."""
    event = link.workflow_event
    path = "/".join(quote(part, safe="$&+:=@~") for part in (event.namespace, event.workflow_id, event.run_id))
    namespace, workflow_id, run_id = path.split("/")
    if event.HasField("request_id_ref"):
        reference = event.request_id_ref
        request_id = quote(reference.request_id, safe="~")
        query = f"eventType={_short(reference.event_type)}&referenceType=RequestIdReference&requestID={request_id}"
    else:
        event_type = _short(event.event_ref.event_type)
        query = f"eventID={event.event_ref.event_id}&eventType={event_type}&referenceType=EventReference"
    url = f"temporal:///namespaces/{namespace}/workflows/{workflow_id}/{run_id}/history?{query}"
    return f'<{url}>; type="{Link.WorkflowEvent.DESCRIPTOR.full_name}"'


def _short(event_type: EventType.ValueType) -> str:
    words = EventType.Name(event_type).removeprefix("EVENT_TYPE_").split("_")
    return "".join(word.capitalize() for word in words)


def http_time(time_ns: int) -> str:
    """As HTTP writes times, to the second."""
    return format_datetime(datetime.fromtimestamp(time_ns // SECOND_NS, UTC), usegmt=True)


def rfc3339(time_ns: int) -> str:
    """With as many digits as the time needs of 0, 3, 6 and 9."""
    seconds, nanoseconds = divmod(time_ns, SECOND_NS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    digits = f".{nanoseconds:09}"
    for _ in range(2):
        digits = digits.removesuffix("000")
    return text + digits.removesuffix(".000") + "Z"


def judge(answer: Answer) -> tuple[str, bool]:
    """(what was wrong, "" for nothing; whether the call is to be repeated)."""
    if 200 <= answer.status < 300:
        return "", False
    failure = _json(answer)
    if failure is not None and _kind(failure) == "nexus.HandlerError":
        details = failure.get("details")
        if isinstance(details, dict):
            return _judged(str(details.get("type", "")), details.get("retryableOverride"), failure.get("message"))
    error_type = _ERROR_TYPES.get(answer.status)
    if error_type is None:
        message = f'unexpected response status: "{answer.status} {answer.reason}"'
        said = failure.get("message") if failure is not None else None
        return (f"{message}: {said}" if isinstance(said, str) and said else message), True
    override = {"true": True, "false": False}.get(answer.headers.get("nexus-request-retryable", "").lower())
    return _judged(error_type, override, "")


def outcome_of(failure: str) -> str:
    """How a call that was answered is counted, by what was wrong."""
    if not failure:
        return "success"
    found = re.match(r"handler error \(([A-Z_]+)\)", failure)
    return f"handler-error:{found[1]}" if found is not None else "unknown-error"


def _judged(error_type: str, override: Any, message: Any) -> tuple[str, bool]:
    text = f"handler error ({error_type})"
    if isinstance(message, str) and message:
        text += f": {message}"
    return text, override if isinstance(override, bool) else error_type not in _FINAL


def _kind(failure: dict[str, Any]) -> str:
    metadata = failure.get("metadata")
    return str(metadata.get("type", "")) if isinstance(metadata, dict) else ""


def _json(answer: Answer) -> dict[str, Any] | None:
    """The body, if it is a JSON object and says so."""
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        return None
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
