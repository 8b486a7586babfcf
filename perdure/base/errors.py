"""The one error tree.

    PerdureError
    ├── Refused               the caller's fault; repeating the same call changes nothing
    │   ├── InvalidArgument       3
    │   ├── NotFound              5    NamespaceNotFound
    │   ├── AlreadyExists         6    WorkflowAlreadyStarted, NamespaceAlreadyExists
    │   ├── PermissionDenied      7    Unauthorized
    │   ├── ResourceExhausted     8
    │   ├── FailedPrecondition    9    WorkflowNotReady, NamespaceInvalidState
    │   ├── QueryFailed           3
    │   └── Unimplemented        12
    ├── Unavailable           14  try again: the shard moved, the store does not answer
    │   ├── StickyUnavailable     nobody polls the worker's own queue
    │   ├── ShardLost             the owner lost the shard; nothing of this call is known to be done
    │   ├── ShardElsewhere        another host has the shard; nothing was done here
    │   ├── PartitionElsewhere    another host has the task-queue partition; nothing was done here
    │   ├── QueueSpread           the task queue has another number of partitions; nothing was done here
    │   ├── HostUnreachable       no connection to another host: nothing was sent
    │   └── StoreUnavailable      the store refused or could not be reached
    ├── Aborted               10  the call lost to another one; try again
    ├── DeadlineExceeded       4  the caller's time is over
    ├── OperationsFailed       -  operations that belong together were not done; the status is that of the culprit
    └── Bug                   13  ours; fails its request and unloads its shard, never the process

Each class carries the gRPC status code it becomes (`status`, google.rpc.Code) and, where the API defines one, the
detail message that SDKs branch on. Only `perdure.rpc` turns these into a wire status.
"""

from collections.abc import Sequence

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from temporalio.api.enums.v1 import NamespaceState, ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import (
    MultiOperationExecutionFailure,
    NamespaceAlreadyExistsFailure,
    NamespaceInvalidStateFailure,
    NamespaceNotFoundFailure,
    NotFoundFailure,
    PermissionDeniedFailure,
    QueryFailedFailure,
    ResourceExhaustedFailure,
    WorkflowExecutionAlreadyStartedFailure,
    WorkflowNotReadyFailure,
)
from temporalio.api.failure.v1 import Failure, MultiOperationExecutionAborted

UNAUTHORIZED = "Request unauthorized."


class PerdureError(Exception):
    """Root of the tree. `status` is the google.rpc.Code of the class; `message` is what the caller reads."""

    status: int = 2

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def details(self) -> Message | None:
        """The API's detail message for this error, or None where the API defines none."""
        return None


class Refused(PerdureError):
    """The caller's fault: the same call would be refused again."""

    status = 9


class InvalidArgument(Refused):
    """A field of the request is missing, malformed or over a limit."""

    status = 3


class Unimplemented(Refused):
    """The API has it, this server does not yet; the message names it."""

    status = 12


class FailedPrecondition(Refused):
    """The request is well-formed, but not for the state that things are in."""

    status = 9


class WorkflowNotReady(FailedPrecondition):
    """The workflow can't serve the request yet, e.g. a query before its first task completed."""

    def details(self) -> Message:
        return WorkflowNotReadyFailure()


class NamespaceInvalidState(FailedPrecondition):
    """The namespace is on its way out; only one that is registered takes this call."""

    def __init__(self, namespace: str, state: NamespaceState.ValueType) -> None:
        name = NamespaceState.Name(state).removeprefix("NAMESPACE_STATE_").title()
        super().__init__(f"Namespace has invalid state: {name}. Must be Registered.")
        self.namespace = namespace
        self.state = state

    def details(self) -> Message:
        return NamespaceInvalidStateFailure(
            namespace=self.namespace, state=self.state, allowed_states=[NamespaceState.NAMESPACE_STATE_REGISTERED]
        )


class NotFound(Refused):
    """What the request names does not exist (any more)."""

    status = 5

    def details(self) -> Message | None:
        return NotFoundFailure()


class NamespaceNotFound(NotFound):
    """No namespace has this name or id."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"Namespace {namespace} is not found.")
        self.namespace = namespace

    def details(self) -> Message:
        return NamespaceNotFoundFailure(namespace=self.namespace)


class AlreadyExists(Refused):
    """What the request would create is there already."""

    status = 6


class NamespaceAlreadyExists(AlreadyExists):
    """A namespace of this name is registered already."""

    def details(self) -> Message:
        return NamespaceAlreadyExistsFailure()


class WorkflowAlreadyStarted(AlreadyExists):
    """A start was refused for an existing run; carries the winner's ids, which SDKs use to attach to it."""

    def __init__(self, message: str, *, start_request_id: str, run_id: str, first_execution_run_id: str = "") -> None:
        super().__init__(message)
        self.start_request_id = start_request_id
        self.run_id = run_id
        self.first_execution_run_id = first_execution_run_id

    def details(self) -> Message:
        return WorkflowExecutionAlreadyStartedFailure(
            start_request_id=self.start_request_id,
            run_id=self.run_id,
            first_execution_run_id=self.first_execution_run_id,
        )


class QueryFailed(Refused):
    """The worker answered a query with a failure."""

    status = 3

    def __init__(self, message: str, failure: Failure | None = None) -> None:
        super().__init__(message)
        self.failure = failure

    def details(self) -> Message:
        return QueryFailedFailure(failure=self.failure)


class PermissionDenied(Refused):
    """This server does not do that, for anybody."""

    status = 7

    def details(self) -> Message:
        return PermissionDeniedFailure()


class Unauthorized(PermissionDenied):
    """This caller may not do that. One text for every reason, so that it says nothing of what there is."""

    def __init__(self) -> None:
        super().__init__(UNAUTHORIZED)


class ResourceExhausted(Refused):
    """A limit was met. `cause` and `scope` are the API's enums; SDKs back off on this status."""

    status = 8

    def __init__(
        self,
        message: str,
        cause: ResourceExhaustedCause.ValueType,
        scope: ResourceExhaustedScope.ValueType = ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.scope = scope

    def details(self) -> Message:
        return ResourceExhaustedFailure(cause=self.cause, scope=self.scope)


class Unavailable(PerdureError):
    """Try again: nothing is wrong with the request. Whether it was done is unknown to the caller."""

    status = 14


class ShardLost(Unavailable):
    """The shard's owner lost it while the call ran; whatever the call saw is thrown away."""


class ShardElsewhere(Unavailable):
    """Another host has the shard; nothing was done here. `host`: the member that may have it, "" = unknown. `view`: the
    version of the members' document of who says so.
    """

    def __init__(self, message: str, host: str = "", view: int = 0) -> None:
        super().__init__(message)
        self.host = host
        self.view = view


class PartitionElsewhere(Unavailable):
    """Another host has the task-queue partition; nothing was done here that would not be done again. Fields as of
    `ShardElsewhere`.
    """

    def __init__(self, message: str, host: str = "", view: int = 0) -> None:
        super().__init__(message)
        self.host = host
        self.view = view


class QueueSpread(Unavailable):
    """The task queue has so many `partitions` now; nothing was done here: choose one of them."""

    def __init__(self, message: str, partitions: int = 1) -> None:
        super().__init__(message)
        self.partitions = partitions


class HostUnreachable(Unavailable):
    """There is no connection to another host, and the call was never sent: nothing was done. `host`: what is known of
    it, an id or an address.
    """

    def __init__(self, message: str, host: str = "") -> None:
        super().__init__(message)
        self.host = host


class StickyUnavailable(Unavailable):
    """Nobody polls this sticky queue, or nobody did lately: use the normal one."""


class StoreUnavailable(Unavailable):
    """The store refused the operation or could not be reached; the operation was definitely not done."""


class Aborted(PerdureError):
    """The call lost to a concurrent one, or to a change of owner; the caller may repeat it."""

    status = 10


class OperationAborted(Aborted):
    """One of several operations was not done, because another one could not be."""

    def __init__(self) -> None:
        super().__init__("Operation was aborted.")

    def details(self) -> Message:
        return MultiOperationExecutionAborted()


class OperationsFailed(PerdureError):
    """Operations that belong together were not all done. `errors`: what became of each, in order; None = it was done,
    `OperationAborted` = it was not the one at fault. The status is that of the first one that was.
    """

    def __init__(self, errors: Sequence[PerdureError | None]) -> None:
        super().__init__("Update-with-Start could not be executed.")
        self.errors = tuple(errors)
        faults = [error.status for error in errors if error is not None and error.status != Aborted.status]
        self.status = faults[0] if faults else Aborted.status

    def details(self) -> Message:
        failure = MultiOperationExecutionFailure()
        for error in self.errors:
            status = failure.statuses.add()
            if error is None:
                continue
            status.code, status.message = error.status, error.message
            details = error.details()
            if details is not None:
                packed = Any()
                packed.Pack(details)
                status.details.append(packed)
        return failure


class DeadlineExceeded(PerdureError):
    """The caller's deadline passed before an answer was there."""

    status = 4


class Bug(PerdureError):
    """An invariant of ours does not hold. The request fails, and its shard forgets its memory and replays its log,
    though not twice within a minute; the process goes on.
    """

    status = 13
