"""One call of a server by its address, as a command line makes it: a connection of its own, a deadline, and no retry.

Invariant: whatever happens, it is a reply or one `CallFailed` that says why in a line. Refuses to know what is asked.
"""

from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from perdure.base.clock import SystemClock
from perdure.base.errors import PerdureError
from perdure.rpc.tls import ChannelFiles, ChannelTls


class CallFailed(PerdureError):
    """A call that was not answered, or refused. `code`: the name of its gRPC status."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


async def ask(
    address: str,
    method: str,
    request: Message,
    *,
    tls: ChannelFiles | None,
    headers: Mapping[str, str],
    timeout_s: float,
) -> Struct:
    """The reply of `/package.Service/Method`. Raises CallFailed, and InvalidArgument for files that can't be used."""
    channel = grpc.aio.insecure_channel(address) if tls is None else ChannelTls(tls, SystemClock()).open(address)
    async with channel:
        call: Any = channel.unary_unary(
            method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=Struct.FromString,
        )
        try:
            reply: Struct = await call(request, timeout=timeout_s, metadata=tuple(headers.items()))
        except grpc.aio.AioRpcError as error:
            raise _failed(address, error, timeout_s) from None
    return reply


def _failed(address: str, error: grpc.aio.AioRpcError, timeout_s: float) -> CallFailed:
    code, said = error.code(), error.details() or ""
    if code is grpc.StatusCode.UNIMPLEMENTED and "unknown service" in said:
        return CallFailed(f"{address} is no frontend of Perdure that knows this: {said}", code.name)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return CallFailed(f"{address} has not answered within {timeout_s:g} s", code.name)
    if code is grpc.StatusCode.UNAVAILABLE and ("connect" in said or "resol" in said or not said):
        return CallFailed(f"{address} doesn't answer: {said}", code.name)
    return CallFailed(f"{said or 'no reason given'} ({code.name})", code.name)
