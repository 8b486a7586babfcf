"""Every field of the API that names a namespace inside a request, found by walking the descriptors.

Each is tried with a namespace that is there and with one that isn't, by a caller who may write to another one only.
Either the call is refused in both cases and nothing happened, or the field is one that is only recorded: then the two
calls end alike, and nothing of that namespace was looked up.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    RespondWorkflowTaskCompletedRequest,
)

from perdure.base.errors import PerdureError, Unauthorized
from perdure.frontend.authorization import Authorization, Claims, Role
from perdure.frontend.frontend import TOPICS
from perdure.frontend.guards import Guards
from perdure.frontend.inner_names import COMMANDS
from perdure.frontend.methods import OPERATOR_SERVICE, WORKFLOW_SERVICE, marked_names
from perdure.rpc.call import CallMeta
from perdure.workflow.tokens import QueryToken, TaskToken, encode_token
from tests.unit.frontend.fakes import AWAY, HOME, Desk, open_desk

SERVED: dict[str, Any] = {name: mark.request for topic in TOPICS for name, mark in marked_names(topic).items()}
UNKNOWN_ID = "0a0a0a0a-0000-4000-8000-00000000000f"
RUN_ID = "0a0a0a0a-0000-4000-8000-0000000000aa"
# The last names of fields that name a namespace, or lead to one, by which kind of value.
NAMES = {"namespace", "workflow_namespace", "parent_workflow_namespace", "namespace_name"}
IDS = {"namespace_id", "workflow_namespace_id"}
TOKENS = {"task_token"}
# What has such a word in its name and is none.
OTHERS = {
    "security_token",
    "is_global_namespace",
    "promote_namespace",
    "next_page_token",
    "conflict_token",
    "operation_token",
    "long_poll_token",
}
TRIED = {"there": (AWAY.name, AWAY.id), "not there": ("nope", UNKNOWN_ID)}
# What makes a request, or a message in it, one that goes on to another role.
SAMPLE: dict[str, Any] = {
    "workflow_id": "wf",
    "run_id": RUN_ID,
    "activity_id": "activity",
    "operation_id": "operation",
    "signal_name": "signal",
    "request_id": "request",
    "job_id": "job",
    "reason": "reason",
    "query_type": "query",
    "update_id": "update",
    "name": "name",
}
_FILLED = {
    "workflow_execution",
    "execution",
    "workflow_type",
    "task_queue",
    "request",
    "meta",
    "input",
    "update_ref",
}

Path = tuple[str, ...]


def paths(message: Any, path: Path = (), seen: frozenset[str] = frozenset()) -> Iterator[Path]:
    """Every field in the message that names a namespace. A message within one of its own kind is walked once."""
    for field in message.fields:
        inner = field.message_type
        if inner is not None:
            if inner.full_name not in seen:
                yield from paths(inner, (*path, field.name), seen | {inner.full_name})
        elif field.name in NAMES | IDS | TOKENS:
            yield (*path, field.name)


def inner_paths() -> Iterator[tuple[str, Path]]:
    for name, request in SERVED.items():
        for path in paths(request.DESCRIPTOR):
            if path != ("namespace",):
                yield name, path


def fill(message: Any) -> None:
    """Values for what validation asks for."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None and field.name in SAMPLE and field.type == FieldDescriptor.TYPE_STRING:
            if not field.is_repeated:
                setattr(message, field.name, SAMPLE[field.name])
        elif field.name in _FILLED and field.message_type is not None:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name))


def put(message: Any, path: Path, value: object) -> None:
    """Set the field at the path, in one new element of each list on the way."""
    for name in path[:-1]:
        field = message.DESCRIPTOR.fields_by_name[name]
        inner = getattr(message, name)
        message = inner.add() if field.is_repeated else inner
        message.SetInParent()
        fill(message)
    setattr(message, path[-1], value)


def made(name: str, path: Path, kind: str) -> Any:
    """A request of HOME that names another namespace at the path."""
    request = SERVED[name]()
    fill(request)
    if "namespace" in request.DESCRIPTOR.fields_by_name:
        request.namespace = HOME.name
    if "task_token" in request.DESCRIPTOR.fields_by_name:
        request.task_token = token(name, HOME.id)
    if isinstance(request, ExecuteMultiOperationRequest):
        fill_both(request)
    other_name, other_id = TRIED[kind]
    value: object = other_name
    if path[-1] in TOKENS:
        value = token(name, other_id)
    elif path[-1] in IDS:
        value = other_id
    put_within(request, path, value)
    return request


def fill_both(request: ExecuteMultiOperationRequest) -> None:
    start = request.operations.add().start_workflow
    update = request.operations.add().update_workflow
    for part in (start, update):
        fill(part)
        part.namespace = HOME.name
    update.workflow_execution.run_id = ""


def put_within(request: Any, path: Path, value: object) -> None:
    """As `put`, but in the operations that are there already, and in the values of a map."""
    if isinstance(request, ExecuteMultiOperationRequest):
        operation = request.operations[0 if path[1] == "start_workflow" else 1]
        put(operation, path[1:], value)
    elif path[0] == "query_results":
        request.query_results["query"].SetInParent()
        put(request.query_results["query"], path[2:], value)
    else:
        put(request, path, value)


def token(name: str, namespace_id: str) -> bytes:
    if name == "RespondQueryTaskCompleted":
        return encode_token(QueryToken(namespace_id, "queue", "query"))
    return encode_token(TaskToken(namespace_id, "wf", RUN_ID, 2, 3))


class Writer:
    """Everybody may write to HOME, and to nothing else."""

    async def identify(self, meta: CallMeta) -> Claims:
        return Claims("writer", 0, {HOME.name: Role.WRITE})


async def outcome(request: Any) -> tuple[Desk, str]:
    desk = await open_desk(guards=Guards(authorization=Authorization(Writer())))
    desk.documents.reads.clear()
    try:
        await desk.call(request)
    except Unauthorized:
        return desk, "unauthorized"
    except PerdureError as error:
        return desk, f"{type(error).__name__}: {error.message}"
    except AttributeError as error:  # a scripted role answers None
        return desk, str(error)
    return desk, "done"


CHECKED = {
    "ExecuteMultiOperation": {
        ("operations", "start_workflow", "namespace"),
        ("operations", "update_workflow", "namespace"),
    },
    "RespondWorkflowTaskCompleted": {("commands", command, "namespace") for command in COMMANDS},
}


def is_checked(name: str, path: Path) -> bool:
    return path == ("task_token",) or path in CHECKED.get(name, set())


@pytest.mark.parametrize(
    ("name", "path"), list(inner_paths()), ids=lambda part: part if isinstance(part, str) else None
)
async def test_no_name_inside_reaches_another_namespace(name: str, path: Path) -> None:
    ends = {}
    for kind in TRIED:
        desk, ends[kind] = await outcome(made(name, path, kind))
        asked = {key.namespace_id for key, _ in desk.history.asked}
        assert asked <= {HOME.id}
        assert set(desk.documents.reads) <= {"", HOME.name}
        assert all(poll.partition.namespace_id == HOME.id for poll in desk.matching.polls)
        if is_checked(name, path):
            assert ends[kind] == "unauthorized"
            assert (asked, desk.matching.answers) == (set(), [])
    assert ends["there"] == ends["not there"]


async def test_what_is_only_recorded_goes_on_to_be_recorded() -> None:
    """The walk would show nothing if validation refused all of what it makes."""
    went_on = set()
    for name, path in inner_paths():
        desk, _ = await outcome(made(name, path, "there"))
        if desk.history.asked or desk.matching.answers:
            went_on.add((name, path[-2]))
    assert {kind for _, kind in went_on} >= {"workflow_event", "workflow", "child_workflow_execution_failure_info"}
    assert {name for name, _ in went_on} >= {
        "SignalWorkflowExecution",
        "TerminateWorkflowExecution",
        "RequestCancelWorkflowExecution",
        "RespondActivityTaskFailedById",
        "RespondWorkflowTaskCompleted",
        "RespondWorkflowTaskFailed",
        "RespondQueryTaskCompleted",
    }


@pytest.mark.parametrize("command", COMMANDS)
async def test_commands_to_the_own_namespace_go_on(command: str) -> None:
    request = RespondWorkflowTaskCompletedRequest(task_token=token("", HOME.id))
    for name in ("", HOME.name):
        attributes = getattr(request.commands.add(), command)
        attributes.SetInParent()
        attributes.namespace = name
    desk, _ = await outcome(request)
    assert len(desk.history.asked) == 1


def test_every_field_with_such_a_word_in_its_name_is_known() -> None:
    """A new version of the API may bring new ones."""
    unknown = set()
    for service in (WORKFLOW_SERVICE, OPERATOR_SERVICE):
        for method in service.methods:
            unknown |= {(method.name, name) for name in words(method.input_type)}
    assert unknown == set()


def words(message: Any, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    known = NAMES | IDS | TOKENS | OTHERS
    for field in message.fields:
        inner = field.message_type
        if inner is not None and inner.full_name not in seen:
            yield from words(inner, seen | {inner.full_name})
        elif inner is None and ("namespace" in field.name or "token" in field.name) and field.name not in known:
            yield field.name
