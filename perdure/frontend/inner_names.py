"""The namespaces that a request names besides its own field: by tokens, by ids, in operations and in commands.

Invariant: every field of the API that names a namespace which is acted on is found here, or is the same as the
request's by a check of its method. What is only recorded and never followed (links, the origin of a failure) is left
out: workers pass on what they were given. A test walks the whole API by its descriptors.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from temporalio.api.workflowservice.v1 import ExecuteMultiOperationRequest, RespondWorkflowTaskCompletedRequest

from perdure.base.errors import InvalidArgument
from perdure.workflow.tokens import QueryToken, TaskToken, decode_query_token, decode_token


class InnerNames(msgspec.Struct, frozen=True):
    """`namespace_id`: that of a token, or the one by which a namespace is asked for; "" = none that can be read.
    `others`: names, "" = the request's own.
    """

    namespace_id: str = ""
    others: tuple[str, ...] = ()


_NONE = InnerNames()
# The attributes of a command that begins or reaches a workflow, by the field of the command.
COMMANDS = (
    "start_child_workflow_execution_command_attributes",
    "signal_external_workflow_execution_command_attributes",
    "request_cancel_external_workflow_execution_command_attributes",
)
# Requests that may name their namespace by an id instead.
_IDS = {"DescribeNamespaceRequest": "id", "DeleteNamespaceRequest": "namespace_id"}


def inner_names(request: Any) -> InnerNames:
    """What the request names besides `request.namespace`."""
    kind = request.DESCRIPTOR.name
    if isinstance(request, RespondWorkflowTaskCompletedRequest):
        return InnerNames(_id_in(request.task_token, decode_token), tuple(_of_commands(request.commands)))
    if isinstance(request, ExecuteMultiOperationRequest):
        return InnerNames(others=tuple(_of_operations(request)))
    if kind == "RespondQueryTaskCompletedRequest":
        return InnerNames(_id_in(request.task_token, decode_query_token))
    if "task_token" in request.DESCRIPTOR.fields_by_name:
        return InnerNames(_id_in(request.task_token, decode_token))
    if kind in _IDS:
        return InnerNames(getattr(request, _IDS[kind]))
    return _NONE


def _id_in(token: bytes, decode: Callable[[bytes], TaskToken | QueryToken]) -> str:
    try:
        return decode(token).namespace_id if token else ""
    except InvalidArgument:
        return ""


def _of_commands(commands: Iterable[Any]) -> Iterable[str]:
    found: dict[str, None] = {}
    for command in commands:
        # A command of one type may carry attributes of another one; which of them counts is decided elsewhere.
        attributes = command.WhichOneof("attributes")
        if attributes in COMMANDS:
            found[getattr(command, attributes).namespace] = None
    return found


def _of_operations(request: ExecuteMultiOperationRequest) -> Iterable[str]:
    found: dict[str, None] = {}
    for operation in request.operations:
        kind = operation.WhichOneof("operation")
        if kind is not None:
            found[getattr(operation, kind).namespace] = None
    return found
