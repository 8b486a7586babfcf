"""A real cluster, as the simulator's clients and workers see theirs: calls that raise the error tree, over gRPC.

So the same parties use it, and the same checkers judge them. Invariant: each call is made once; the frontend is drawn.
`outside`: host:port of the receiver of callbacks. Rules about what only a simulated cluster sees of itself have other
evidence here: rule 5 `stills`, rule 27 `ledger`, rule 33 a restart of everything. Rule 29 has none but that everything
ends (rule 26): what a shard that serves has outstanding is in its memory.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.errordetails.v1 import message_pb2 as details
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.clock import SystemClock
from perdure.base.errors import (
    Aborted,
    AlreadyExists,
    Bug,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    OperationAborted,
    OperationsFailed,
    PerdureError,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
    WorkflowAlreadyStarted,
)
from perdure.testing.entropy import SeededEntropy
from perdure.testing.oplog import OpLog
from tests.chaos.outside import Outside
from tests.conformance.harness.rpc import CallFailed, Client

_CLASSES: dict[str, type[PerdureError]] = {
    "INVALID_ARGUMENT": InvalidArgument,
    "UNIMPLEMENTED": Unimplemented,
    "FAILED_PRECONDITION": FailedPrecondition,
    "NOT_FOUND": NotFound,
    "ALREADY_EXISTS": AlreadyExists,
    "PERMISSION_DENIED": PermissionDenied,
    "ABORTED": Aborted,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "INTERNAL": Bug,
    "UNKNOWN": Bug,
}
_BY_STATUS = {kind.status: kind for kind in _CLASSES.values()} | {Unavailable.status: Unavailable}


class Reached:
    """What the simulator's parties need of a cluster. `errors`: how often each code was seen, by method."""

    zombies = True  # onlookers look often

    def __init__(self, addresses: Sequence[str], seed: int, outside: str) -> None:
        self.entropy = SeededEntropy(seed)
        self.log = OpLog(SystemClock())
        self.alarms: list[str] = []
        self.errors: Counter[tuple[str, str]] = Counter()
        self.receiver = Outside(outside, self.entropy.fork("outside"))
        self.outside = self.receiver.world
        self._chance = self.entropy.fork("frontends")
        self._clients = [Client(address) for address in addresses]

    async def call(
        self,
        method: str,
        request: Message,
        *,
        timeout_s: float = 10.0,
        client_name: str = "temporal-python",
        lingers: bool = False,
    ) -> Any:
        """Call a method of the public API as a client does, on any frontend. Raises the error tree."""
        del lingers
        if isinstance(request, StartWorkflowExecutionRequest):
            for callback in request.completion_callbacks:
                callback.nexus.url = self.receiver.url(callback.nexus.url)
        client = self._clients[self._chance.below(len(self._clients))]
        try:
            return await client.call(request, timeout_s, {"client-name": client_name, "client-version": "1.0.0"})
        except CallFailed as failed:
            self.errors[method, failed.code] += 1
            raise raised(failed) from None

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.close()


def raised(failed: CallFailed) -> PerdureError:
    """The error of the tree that became this status."""
    for detail in failed.details:
        if isinstance(detail, details.WorkflowExecutionAlreadyStartedFailure):
            text = f"{failed.text} {detail.run_id}"
            return WorkflowAlreadyStarted(text, start_request_id=detail.start_request_id, run_id=detail.run_id)
        if isinstance(detail, details.MultiOperationExecutionFailure):
            return OperationsFailed([_part(status) for status in detail.statuses])
    if failed.code == "RESOURCE_EXHAUSTED":
        return ResourceExhausted(failed.text, ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_UNSPECIFIED)
    return _CLASSES.get(failed.code, Unavailable)(failed.text)


def _part(status: details.MultiOperationExecutionFailure.OperationStatus) -> PerdureError | None:
    if not status.code:
        return None
    if status.code == Aborted.status:
        return OperationAborted()
    for packed in status.details:
        found = details.WorkflowExecutionAlreadyStartedFailure()
        if packed.Unpack(found):
            return WorkflowAlreadyStarted(
                f"{status.message} {found.run_id}", start_request_id=found.start_request_id, run_id=found.run_id
            )
    return _BY_STATUS.get(status.code, Unavailable)(status.message)
