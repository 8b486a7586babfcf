"""The server over a socket in a file: statuses, deadlines, cancellation, health, reflection."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]  # it ships no annotations
from grpc_reflection.v1alpha import reflection_pb2  # type: ignore[import-untyped]  # it ships no annotations
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, ResourceExhaustedFailure
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeNamespaceResponse

from perdure.base.errors import Bug, NamespaceNotFound, ResourceExhausted
from perdure.rpc.call import CallMeta, Handler, Method
from perdure.rpc.server import RpcServer, ServerOptions, channel_arguments

SERVICE = "temporal.api.workflowservice.v1.WorkflowService"
METHOD = f"/{SERVICE}/DescribeNamespace"
REPLY = DescribeNamespaceResponse(failover_version=7)


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, folder: Path, options: ServerOptions | None = None
) -> AsyncIterator[tuple[RpcServer, grpc.aio.Channel]]:
    server = RpcServer(
        {METHOD: Method(DescribeNamespaceRequest, handler)},
        absent=[f"/{SERVICE}/StartBatchOperation"],
        health_names=[SERVICE],
        options=options or ServerOptions(),
    )
    address = f"unix:{folder / 'server.sock'}"
    await server.start(address)
    await server.set_serving(True)
    async with grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield server, channel
    await server.stop(0)


async def invoke(channel: grpc.aio.Channel, body: bytes = b"", method: str = METHOD, **options: Any) -> bytes:
    call: Any = channel.unary_unary(method)
    reply: bytes = await call(body, **options)
    return reply


async def refusal(channel: grpc.aio.Channel, body: bytes = b"", method: str = METHOD) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await invoke(channel, body, method)
    return failed.value


def detail(error: grpc.aio.AioRpcError, message: Message) -> GrpcStatus:
    """The status in the trailers; its detail is read into `message`."""
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    status = GrpcStatus.FromString(trailers["grpc-status-details-bin"])
    assert status.details[0].Unpack(message)
    return status


async def test_a_message_and_bytes_are_both_replies(tmp_path: Path) -> None:
    async def handler(request: DescribeNamespaceRequest, _meta: CallMeta) -> Message | bytes:
        return REPLY if request.namespace == "message" else REPLY.SerializeToString()

    async with serving(handler, tmp_path) as (_, channel):
        for form in ("message", "bytes"):
            request = DescribeNamespaceRequest(namespace=form).SerializeToString()
            for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
                reply = await invoke(channel, request, compression=compression)
                assert DescribeNamespaceResponse.FromString(reply) == REPLY


async def test_headers_and_the_deadline_reach_the_handler(tmp_path: Path) -> None:
    seen: list[CallMeta] = []

    async def handler(_request: Any, meta: CallMeta) -> bytes:
        seen.append(meta)
        return b""

    async with serving(handler, tmp_path) as (_, channel):
        headers = (("client-name", "temporal-go"), ("client-version", "1.2"), ("authorization", "Bearer x"))
        await invoke(channel, metadata=headers, timeout=50)
        await invoke(channel)
    assert (seen[0].client_name, seen[0].client_version, seen[0].authorization) == ("temporal-go", "1.2", "Bearer x")
    assert 40_000_000_000 < seen[0].timeout_ns < 60_000_000_000  # gRPC rounds it up
    assert seen[1] == CallMeta()


async def test_an_error_carries_its_code_message_and_detail(tmp_path: Path) -> None:
    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        raise NamespaceNotFound("nöpe")

    async with serving(handler, tmp_path) as (_, channel):
        error = await refusal(channel)
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "Namespace nöpe is not found.")
    failure = NamespaceNotFoundFailure()
    status = detail(error, failure)
    assert (status.code, status.message, failure.namespace) == (5, "Namespace nöpe is not found.", "nöpe")


async def test_an_exhausted_limit_is_in_the_headers_too(tmp_path: Path) -> None:
    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        raise ResourceExhausted("too fast", ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT)

    async with serving(handler, tmp_path) as (_, channel):
        error = await refusal(channel)
    failure = ResourceExhaustedFailure()
    detail(error, failure)
    assert failure.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
    headers: dict[str, Any] = dict(error.initial_metadata() or ())
    assert headers["x-resource-exhausted-cause"] == "RpsLimit"
    assert headers["x-resource-exhausted-scope"] == "Namespace"


@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("secret"), Bug("invariant")])
async def test_a_fault_of_ours_fails_its_call_alone(tmp_path: Path, error: Exception) -> None:
    async def handler(request: DescribeNamespaceRequest, _meta: CallMeta) -> bytes:
        if request.namespace:
            return b""
        raise error

    async with serving(handler, tmp_path) as (_, channel):
        refused = await refusal(channel)
        assert refused.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in (refused.details() or "")
        await invoke(channel, DescribeNamespaceRequest(namespace="fine").SerializeToString())


@pytest.mark.parametrize(
    ("body", "method", "code", "message"),
    [
        (
            b"\xff\xff",
            METHOD,
            grpc.StatusCode.INTERNAL,
            "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
        ),
        (
            b"\x0a\x02\xff\xff",
            METHOD,
            grpc.StatusCode.INTERNAL,
            "grpc: error unmarshalling request: string field contains invalid UTF-8",
        ),
        (
            b"",
            f"/{SERVICE}/Nope",
            grpc.StatusCode.UNIMPLEMENTED,
            f"unknown method Nope for service {SERVICE}",
        ),
        (
            b"",
            f"/{SERVICE}/StartBatchOperation",
            grpc.StatusCode.UNIMPLEMENTED,
            "StartBatchOperation is not implemented by this server",
        ),
        (b"", "/other.Service/Nope", grpc.StatusCode.UNIMPLEMENTED, "unknown service other.Service"),
    ],
)
async def test_what_cant_be_served(
    tmp_path: Path, body: bytes, method: str, code: grpc.StatusCode, message: str
) -> None:
    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        return b""

    async with serving(handler, tmp_path) as (_, channel):
        error = await refusal(channel, body, method)
    assert (error.code(), error.details()) == (code, message)


async def test_a_message_that_is_too_large_is_refused_in_words_that_workers_know(tmp_path: Path) -> None:
    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        return b"x" * 5_000

    options = ServerOptions(receive_bytes_max=1_000, transport_bytes_max=3_000)
    async with serving(handler, tmp_path, options) as (_, channel):
        error = await refusal(channel, b"\x0a" + b"x" * 1_000)
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.details() == "grpc: received message larger than max (1001 vs. 1000)"
        assert (await refusal(channel, b"x" * 3_001)).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(await invoke(channel)) == 5_000


async def test_a_caller_that_goes_away_cancels_its_handler(tmp_path: Path) -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        entered.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        return b""

    async with serving(handler, tmp_path) as (_, channel):
        call: Any = channel.unary_unary(METHOD)
        pending = call(b"")
        await entered.wait()
        pending.cancel()
        async with asyncio.timeout(10):
            await cancelled.wait()


async def health_of(channel: grpc.aio.Channel, name: str) -> int:
    request = health_pb2.HealthCheckRequest(service=name).SerializeToString()
    status: int = health_pb2.HealthCheckResponse.FromString(
        await invoke(channel, request, "/grpc.health.v1.Health/Check")
    ).status
    return status


async def test_health_follows_the_server(tmp_path: Path) -> None:
    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        return b""

    serving_status = health_pb2.HealthCheckResponse.SERVING
    async with serving(handler, tmp_path) as (server, channel):
        for name in ("", SERVICE):
            assert await health_of(channel, name) == serving_status
        await server.set_serving(False)
        for name in ("", SERVICE):
            assert await health_of(channel, name) == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection_names_the_services(tmp_path: Path) -> None:
    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        return b""

    async with serving(handler, tmp_path) as (_, channel):
        call: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        request = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
        async for body in call(iter([request])):
            reply = reflection_pb2.ServerReflectionResponse.FromString(body)
            names = {service.name for service in reply.list_services_response.service}
            assert names >= {SERVICE, "grpc.health.v1.Health"}


async def test_stopping_waits_for_calls_that_end_within_the_grace(tmp_path: Path) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        entered.set()
        await release.wait()
        return REPLY.SerializeToString()

    async with serving(handler, tmp_path) as (server, channel), asyncio.TaskGroup() as group:
        pending = group.create_task(invoke(channel))
        await entered.wait()
        stopping = group.create_task(server.stop(30))
        release.set()
        await stopping
    assert DescribeNamespaceResponse.FromString(pending.result()) == REPLY


async def test_a_call_that_outlasts_the_grace_hears_that_the_server_stops(tmp_path: Path) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        entered.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return b"late"

    async with serving(handler, tmp_path) as (server, channel), asyncio.TaskGroup() as group:
        pending = group.create_task(refusal(channel))
        await entered.wait()
        await server.stop(0.3)
        await ended.wait()
    error = pending.result()
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, "the server is stopping")
    assert not error.trailing_metadata()  # it may have been done


async def test_an_address_that_is_taken_is_an_os_error(tmp_path: Path) -> None:
    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        return b""

    server = RpcServer({METHOD: Method(DescribeNamespaceRequest, handler)})
    with pytest.raises(OSError, match="cannot listen on"):
        await server.start(f"unix:{tmp_path / 'missing' / 'server.sock'}")


def test_clients_may_ping_as_often_as_sdks_do() -> None:
    arguments = dict(channel_arguments(ServerOptions()))
    assert arguments["grpc.http2.min_ping_interval_without_data_ms"] == 5_000
    assert arguments["grpc.http2.max_ping_strikes"] == 0
    assert arguments["grpc.keepalive_permit_without_calls"] == 1


def test_connections_end_by_age_and_when_idle_so_that_clients_spread() -> None:
    arguments = dict(channel_arguments(ServerOptions()))
    assert arguments["grpc.max_connection_age_ms"] == 300_000  # gRPC makes it up to a tenth more or less
    assert arguments["grpc.max_connection_age_grace_ms"] == 70_000  # longer than a long poll
    assert arguments["grpc.max_connection_idle_ms"] == 120_000


async def test_a_client_that_makes_new_connections_spreads_over_servers_without_a_failed_call(tmp_path: Path) -> None:
    """A connection that has reached its age is closed when its calls are over, and the client makes another one."""
    calls = 0

    async def handler(_request: Any, _meta: CallMeta) -> bytes:
        nonlocal calls
        calls += 1
        return b""

    options = ServerOptions(connection_age_ms=20, connection_grace_ms=10_000)
    seen: list[grpc.ChannelConnectivity] = []
    async with serving(handler, tmp_path, options) as (_, channel):
        while seen.count(grpc.ChannelConnectivity.IDLE) < 3:
            await invoke(channel, timeout=10)
            state = channel.get_state(try_to_connect=False)
            if not seen or seen[-1] is not state:
                seen.append(state)
    assert calls >= 3


def test_what_grpc_says_of_calls_that_were_over_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    # Whether a reply meets the very moment in which the caller's time ends can't be arranged; these are gRPC's words.
    for text in ("ExecuteBatchError raised in core by servicer method [%s]", "something else of [%s]"):
        logging.getLogger("grpc._cython.cygrpc").error(text, METHOD)
    assert [record.msg for record in caplog.records] == ["something else of [%s]"]
