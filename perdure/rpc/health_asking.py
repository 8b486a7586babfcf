"""Asking a listener for its health, as anybody may: gRPC's own protocol, one call on a connection of its own.

Invariant: the call ends within its deadline, and needs no token. Refuses to know who asks, and why.
"""

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # it ships no annotations

from perdure.base.clock import SystemClock
from perdure.base.errors import Unavailable
from perdure.rpc.tls import ChannelFiles, ChannelTls


async def health_of(address: str, service: str, tls: ChannelFiles | None, timeout_s: float) -> str:
    """`SERVING`, `NOT_SERVING`, or `SERVICE_UNKNOWN` for a service that isn't there. Raises Unavailable if nobody
    answers, and InvalidArgument for files that can't be used.
    """
    channel = grpc.aio.insecure_channel(address) if tls is None else ChannelTls(tls, SystemClock()).open(address)
    async with channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return "SERVICE_UNKNOWN"
            raise Unavailable(f"{address} doesn't answer: {error.details()}") from None
    status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return status
