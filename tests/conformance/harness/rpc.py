"""A raw gRPC client: any request message of the public services in, its reply or a CallFailed out.

The method is found by the request's type, so that a scenario names only messages. Refuses to retry, to set defaults or
to know what a call means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf import message_factory
from google.protobuf.message import Message
from temporalio.api.common.v1 import grpc_status_pb2
from temporalio.api.errordetails.v1 import message_pb2 as errordetails
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

CALL_SECONDS = 20.0
_DETAILS_KEY = "grpc-status-details-bin"
_SERVICES = (
    workflow_service.DESCRIPTOR.services_by_name["WorkflowService"],
    operator_service.DESCRIPTOR.services_by_name["OperatorService"],
)
_MESSAGE_LIMIT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its wire path, its short name and the type of its reply."""

    path: str
    name: str
    reply: type[Message]


def _methods() -> dict[str, Method]:
    return {
        method.input_type.full_name: Method(
            f"/{service.full_name}/{method.name}", method.name, message_factory.GetMessageClass(method.output_type)
        )
        for service in _SERVICES
        for method in service.methods
    }


_BY_REQUEST = _methods()


def method_of(request: Message) -> Method:
    """The RPC that takes this request."""
    return _BY_REQUEST[request.DESCRIPTOR.full_name]


class CallFailed(Exception):
    """A call that ended with a status other than OK: code name, message and unpacked details."""

    def __init__(self, method: str, code: str, text: str, details: tuple[Message | str, ...] = ()) -> None:
        super().__init__(f"{method}: {code}: {text}")
        self.method = method
        self.code = code
        self.text = text
        self.details = details


def _unpack(packed: Any) -> Message | str:
    name = packed.type_url.rpartition("/")[2]
    short = name.rpartition(".")[2]
    kind = errordetails.DESCRIPTOR.message_types_by_name.get(short)
    if kind is None or kind.full_name != name:
        return str(name)
    detail = message_factory.GetMessageClass(kind)()
    detail.ParseFromString(packed.value)
    return detail


def _failure(method: str, error: grpc.aio.AioRpcError) -> CallFailed:
    details: tuple[Message | str, ...] = ()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            status = grpc_status_pb2.GrpcStatus()
            status.ParseFromString(value if isinstance(value, bytes) else value.encode())
            details = tuple(_unpack(packed) for packed in status.details)
    return CallFailed(method, error.code().name, error.details() or "", details)


class Client:
    """A channel to one server, without retries."""

    def __init__(self, address: str) -> None:
        self.address = address
        options = (("grpc.enable_retries", 0), ("grpc.max_receive_message_length", _MESSAGE_LIMIT))
        self.channel = grpc.aio.insecure_channel(address, options=options)

    async def call(
        self, request: Message, seconds: float = CALL_SECONDS, metadata: dict[str, str] | None = None
    ) -> Any:
        """Send `request`, return its reply; CallFailed for any status but OK. `seconds` is the deadline sent along."""
        method = method_of(request)
        raw = await self.call_bytes(method.path, request.SerializeToString(), seconds, metadata)
        return method.reply.FromString(raw)

    async def call_bytes(
        self, path: str, body: bytes, seconds: float = CALL_SECONDS, metadata: dict[str, str] | None = None
    ) -> bytes:
        """Send bytes as the request of the RPC at `path`, return the bytes of its reply."""
        invoke: Any = self.channel.unary_unary(path)
        try:
            reply: bytes = await invoke(body, timeout=seconds, metadata=tuple((metadata or {}).items()))
        except grpc.aio.AioRpcError as error:
            raise _failure(path.rpartition("/")[2], error) from None
        return reply

    async def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        await self.channel.close()
