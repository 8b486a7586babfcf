"""Histories: pages forwards and backwards, and waiting for new events.

A page arrives encoded and leaves encoded: the reply is put together from its bytes, never parsed.
"""

from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
)

from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call, HistoryPage, HistoryRead
from perdure.frontend.checks import check_execution
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services

_CLOSE = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
# Both responses: history = 1, next_page_token = 3, length-delimited.
_HISTORY = b"\x0a"
_TOKEN = b"\x1a"


class Histories:
    """The RPCs that read a run's events."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits

    @rpc(GetWorkflowExecutionHistoryRequest)
    async def GetWorkflowExecutionHistory(
        self, request: GetWorkflowExecutionHistoryRequest, namespace: Namespace, call: Call
    ) -> bytes:
        check_execution(request, "execution")
        read = HistoryRead(
            request.execution.run_id,
            self._page_size(namespace, request.maximum_page_size),
            token=request.next_page_token,
            wait_new_event=request.wait_new_event,
            close_event_only=request.history_event_filter_type == _CLOSE,
        )
        return await self._read(ChainKey(namespace.id, request.execution.workflow_id), read, call)

    @rpc(GetWorkflowExecutionHistoryReverseRequest)
    async def GetWorkflowExecutionHistoryReverse(
        self, request: GetWorkflowExecutionHistoryReverseRequest, namespace: Namespace, call: Call
    ) -> bytes:
        check_execution(request, "execution")
        read = HistoryRead(
            request.execution.run_id,
            self._page_size(namespace, request.maximum_page_size),
            token=request.next_page_token,
            reverse=True,
        )
        return await self._read(ChainKey(namespace.id, request.execution.workflow_id), read, call)

    async def _read(self, key: ChainKey, read: HistoryRead, call: Call) -> bytes:
        async def ask(call: Call) -> HistoryPage:
            return await self._services.routing.on_history(
                key, lambda role, rest: role.read_history(key, read, rest), call, repeatable=True
            )

        waits = read.wait_new_event or read.close_event_only
        return encode_page(await (self._services.polls.wait_for(call, ask) if waits else ask(call)))

    def _page_size(self, namespace: Namespace, wanted: int) -> int:
        longest = self._limits.of(namespace.name).history_page_max
        return min(wanted, longest) if wanted > 0 else longest


def encode_page(page: HistoryPage) -> bytes:
    """The encoded response: an (even empty) history, and the token if there is one."""
    parts = [_HISTORY, _varint(len(page.history)), page.history]
    if page.token:
        parts += [_TOKEN, _varint(len(page.token)), page.token]
    return b"".join(parts)


def _varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
