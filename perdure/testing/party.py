"""What clients and workers of the simulator share: calls that are written down, and reading histories.

Invariant: nothing is called without an entry in the log. Knows the public API and nothing behind it.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Header, Payload, WorkflowExecution
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)

from perdure.base.errors import Bug, PerdureError
from perdure.testing.checkers.evidence import REQUEST_ID, digest_of
from perdure.testing.cluster import SimCluster
from perdure.testing.entropy import SeededEntropy
from perdure.testing.oplog import Op

TOOL = "temporal-cli"
SDK = "temporal-python"


def header(request_id: str) -> Header:
    """The header by which an event names the call that caused it."""
    return Header(fields={REQUEST_ID: Payload(data=request_id.encode())})


def reading(run_id: str, events: Iterable[HistoryEvent]) -> dict[str, Any]:
    """What the log keeps of events that were read."""
    found = list(events)
    first = found[0].event_id if found else 1
    return {
        "run_id": run_id,
        "first": first,
        "digests": [digest_of(event) for event in found],
        "types": [int(event.event_type) for event in found],
        "whole": first == 1,
    }


class Party:
    """One who makes calls, one after the other, under a name of its own."""

    def __init__(self, name: str, namespace: str, cluster: SimCluster) -> None:
        self.name = name
        self.namespace = namespace
        self.cluster = cluster
        self.log = cluster.log
        self.chance: SeededEntropy = cluster.entropy.fork(name)
        self.is_stopped = False

    async def call(
        self, op: Op, method: str, request: Message, *, timeout_s: float = 10.0, client_name: str = SDK
    ) -> Any:
        """Make the call that `op` says is being made; its failure is logged and raised, its success is the caller's
        to log. What is no error of the tree is logged as a defect.
        """
        try:
            return await self.cluster.call(method, request, timeout_s=timeout_s, client_name=client_name)
        except PerdureError as error:
            self.log.failed(op, error)
            if isinstance(error, Bug):
                self.cluster.alarms.append(f"{method}: {error.message}")
            raise
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.log.failed(op, error)
            self.cluster.alarms.append(f"{method}: {error!r}")
            raise Bug(f"{method} raised {error!r}") from error

    async def pause(self, s_max: float) -> None:
        """Wait for up to `s_max` virtual seconds."""
        await asyncio.sleep(self.chance.fraction() * s_max)

    async def read_events(
        self, workflow_id: str, run_id: str, *, page: int = 0, client_name: str = SDK, token: bytes = b""
    ) -> list[HistoryEvent]:
        """The whole history, page by page (or what follows `token`); not logged. Raises the error tree."""
        events: list[HistoryEvent] = []
        while True:
            request = GetWorkflowExecutionHistoryRequest(
                namespace=self.namespace,
                execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
                maximum_page_size=page,
                next_page_token=token,
            )
            body = await self.cluster.call("GetWorkflowExecutionHistory", request, client_name=client_name)
            response = parsed(GetWorkflowExecutionHistoryResponse, body)
            events += response.history.events
            token = response.next_page_token
            if not token:
                return events


def parsed(kind: type[Any], body: Message | bytes) -> Any:
    """The response, which a role may give encoded."""
    return kind.FromString(body) if isinstance(body, bytes) else body


def events_of(history: History) -> list[HistoryEvent]:
    """The events as a list."""
    return list(history.events)
