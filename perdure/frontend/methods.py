"""How an RPC becomes part of the method table: a method named as in the API, marked with its request's class.

The mark also says where the call's namespace is found, because that decides what is checked before the method runs.
The table is read from the marks; there is no second list.
"""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import Message
from temporalio.api.operatorservice.v1.service_pb2 import DESCRIPTOR as OPERATOR
from temporalio.api.workflowservice.v1.service_pb2 import DESCRIPTOR as WORKFLOW

WORKFLOW_SERVICE = WORKFLOW.services_by_name["WorkflowService"]
OPERATOR_SERVICE = OPERATOR.services_by_name["OperatorService"]
# What operators ask of this implementation; it has no descriptor.
ADMIN_SERVICE = "perdure.admin.v1.Admin"
ADMIN_METHODS = frozenset(
    {"Ring", "ListShards", "SplitShard", "MergeShards", "MoveShard", "Queues", "Tasks", "Diagnose"}
)


class Scope(Enum):
    """Where a call's namespace is found, and what its method is called with."""

    NAMESPACE = "request.namespace"  # (request, namespace, call)
    TASK = "the task token"  # (request, namespace, token, call)
    QUERY = "the query token"  # (request, namespace, token, call)
    NONE = "there is none, or the method looks it up"  # (request, call)


class Mark(msgspec.Struct, frozen=True):
    """`visibility`: the call is charged to the namespace's allowance of list calls. `begins`: it begins something that
    lasts, for which the namespace has to be registered.
    """

    request: type[Message]
    scope: Scope
    visibility: bool
    begins: bool


_Method = TypeVar("_Method", bound=Callable[..., Any])


def rpc(
    request: type[Message], scope: Scope = Scope.NAMESPACE, *, visibility: bool = False, begins: bool = False
) -> Callable[[_Method], _Method]:
    """Marks a method as the RPC of its name."""

    def mark(method: _Method) -> _Method:
        setattr(method, "_mark", Mark(request, scope, visibility, begins))  # noqa: B010 - a function has no such attribute
        return method

    return mark


def marked_names(topic: type) -> dict[str, Mark]:
    """The RPCs that a topic's class has, by name."""
    marks = {name: getattr(getattr(topic, name), "_mark", None) for name in dir(topic)}
    return {name: mark for name, mark in marks.items() if isinstance(mark, Mark)}


def marked(topic: object) -> Iterator[tuple[str, Mark, Callable[..., Any]]]:
    """The RPCs of a topic: name, mark, bound method."""
    for name, mark in marked_names(type(topic)).items():
        yield name, mark, getattr(topic, name)


def full_name(name: str) -> str:
    """`/package.Service/Name`. Raises KeyError if no service has such a method."""
    for service in (WORKFLOW_SERVICE, OPERATOR_SERVICE):
        if name in service.methods_by_name:
            return f"/{service.full_name}/{name}"
    if name in ADMIN_METHODS:
        return f"/{ADMIN_SERVICE}/{name}"
    raise KeyError(name)


def api_methods() -> Iterator[str]:
    """Every method of the API's services by its full name."""
    for service in (WORKFLOW_SERVICE, OPERATOR_SERVICE):
        for method in service.methods:
            yield f"/{service.full_name}/{method.name}"
