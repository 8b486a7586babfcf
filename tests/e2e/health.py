"""What health checks are told."""

from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # it ships no annotations

HEALTH_NAMES = {
    "frontend": "temporal.api.workflowservice.v1.WorkflowService",
    "history": "perdure.History",
    "matching": "perdure.Matching",
}


async def health(port: int, service: str = HEALTH_NAMES["frontend"], host: str = "127.0.0.1") -> str:
    """What health checks of a service are told; `away` if nobody listens."""
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            reply = await check(request.SerializeToString(), timeout=5)
        except grpc.aio.AioRpcError as error:
            return "away" if error.code() is grpc.StatusCode.UNAVAILABLE else error.code().name
    status = health_pb2.HealthCheckResponse.FromString(reply).status
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))
