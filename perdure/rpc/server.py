"""A gRPC server over a table of methods, with health checking and reflection.

Invariants: a request that can't be parsed, an unknown method and an unexpected exception each become a status, never a
broken stream; a caller that goes away or runs out of time cancels its handler. Requests are parsed and replies
serialised here and nowhere else; a reply that is bytes already is sent as it is.

Refuses to know what any method means.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import grpc.aio
import msgspec
import structlog
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # it ships no annotations
from grpc_health.v1.health import aio as health  # type: ignore[import-untyped]  # it ships no annotations
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]  # it ships no annotations

from perdure.base.depth import parser
from perdure.base.errors import UNAUTHORIZED, PerdureError
from perdure.base.limits import MIB
from perdure.base.spans import HEADER
from perdure.base.tasks import Endings
from perdure.rpc.call import CallMeta, Method, RawMethod
from perdure.rpc.hanging_up import hang_up
from perdure.rpc.lines import PATH, Switchboard
from perdure.rpc.status import INTERNAL_MESSAGE, NOT_DONE, Metadata, headers_of, shortened, status_of
from perdure.rpc.tls import ServerTls, names_of

log = structlog.get_logger(__name__)

# They have handlers of their own.
_OTHER_SERVICES = frozenset({health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME})
_FAREWELL_S = 0.2
_FLUSH_S = 0.1  # the last answer leaves gRPC a little after its handler
_STOPPING = "the server is stopping"
_NO_META = CallMeta()
# What gRPC itself logs, with a traceback, of a status or reply that found its call over: out of time in that moment.
_OVER = "ExecuteBatchError raised in core by"
_HEADERS = {
    "client-name": "client_name",
    "client-version": "client_version",
    "authorization": "authorization",
    HEADER: HEADER,
}


def _is_news(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_OVER)


logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")

if TYPE_CHECKING:
    # Generic in the stubs only.
    _Context = grpc.aio.ServicerContext[Any, Any]
    _Handler = grpc.RpcMethodHandler[Any, Any]


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener permits; sizes in bytes. Defaults are the reference's.

    `receive_bytes_max` is enforced above the transport, because workers know an oversized completion by the message
    that this server gives; the transport itself refuses what is larger than `transport_bytes_max`. `connection_age_ms`
    is jittered by gRPC by 10 %. Clients may ping every `ping_interval_ms_min` without a call: SDKs do so every 10 s
    and would otherwise be cut off. `pending_calls_max`: calls that have arrived and wait to be taken up; gRPC cancels
    some of those above it, and all above twice as many, without a word. `reflection`: callers may ask which methods
    there are.
    """

    receive_bytes_max: int = 4 * MIB
    transport_bytes_max: int = 32 * MIB
    metadata_bytes_max: int = 64 * 1024
    concurrent_streams_max: int = 10_000
    pending_calls_max: int = 50_000
    ping_interval_ms_min: int = 5_000
    keepalive_ms: int = 60_000
    keepalive_timeout_ms: int = 10_000
    connection_idle_ms: int = 120_000
    connection_age_ms: int = 300_000
    connection_grace_ms: int = 70_000
    handshake_ms: int = 20_000
    reflection: bool = True


def channel_arguments(options: ServerOptions) -> list[tuple[str, int]]:
    """`options` in gRPC's own names."""
    return [
        ("grpc.max_receive_message_length", options.transport_bytes_max),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", options.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", 2 * options.metadata_bytes_max),
        ("grpc.max_concurrent_streams", options.concurrent_streams_max),
        ("grpc.server.max_pending_requests", options.pending_calls_max),
        ("grpc.server.max_pending_requests_hard_limit", 2 * options.pending_calls_max),
        ("grpc.http2.min_ping_interval_without_data_ms", options.ping_interval_ms_min),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", options.keepalive_ms),
        ("grpc.keepalive_timeout_ms", options.keepalive_timeout_ms),
        ("grpc.http2.ping_timeout_ms", options.keepalive_timeout_ms),  # else a ping may take a minute
        ("grpc.http2.max_pings_without_data", 0),  # else the third in a long poll waits
        ("grpc.max_connection_idle_ms", options.connection_idle_ms),
        ("grpc.max_connection_age_ms", options.connection_age_ms),
        ("grpc.max_connection_age_grace_ms", options.connection_grace_ms),
        # Who connects and says nothing doesn't hold a connection for the two minutes that are gRPC's own.
        ("grpc.server_handshake_timeout_ms", options.handshake_ms),
        # A second server on the port is a mistake that must show.
        ("grpc.so_reuseport", 0),
    ]


class RpcServer:
    """One listener. `methods` are served; `absent` (full method names) are known and answer that they aren't there yet.

    `health_names`: the services that health checks may ask for, besides "" for the whole process. `tls`: without it
    everything is sent in the clear.
    """

    def __init__(
        self,
        methods: Mapping[str, Method | RawMethod],
        *,
        absent: Iterable[str] = (),
        health_names: Sequence[str] = (),
        options: ServerOptions = ServerOptions(),  # noqa: B008 - it is frozen
        tls: ServerTls | None = None,
    ) -> None:
        self._options = options
        self._tls = tls
        self._health_names = ("", *health_names)
        self._server = grpc.aio.server(options=channel_arguments(options))
        self._health = health.HealthServicer()
        self._routes = _Routes(methods, absent, options, tls)
        self._port = 0
        self._server.add_generic_rpc_handlers((self._routes,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if options.reflection:
            # What has no descriptor is none of what a caller could ask about further.
            services = {name.split("/")[1] for name in methods if not name.startswith("/perdure.")}
            reflection.enable_server_reflection([*sorted(services), *sorted(_OTHER_SERVICES)], self._server)

    async def start(self, address: str) -> int:
        """Listen on `host:port` (port 0 = any free one) or `unix:path`, serve, and return the port. Raises OSError, and
        InvalidArgument for certificates that can't be read.
        """
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, self._tls.credentials())
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}{await _obstacle(address)}") from error
        await self._server.start()
        self._port = port
        return port

    async def set_serving(self, serving: bool) -> None:
        """What health checks answer from now on; NOT_SERVING until the first call."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in self._health_names:
            await self._health.set(name, state)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls at once, and after `grace_s` those that still run; end all connections when none runs any
        more, and return when all is over.
        """
        await self._health.enter_graceful_shutdown()
        self._routes.closed = True
        self._routes.lines.close()
        # Clients are told for a moment that this is no place for calls, and answers go out.
        await asyncio.sleep(min(grace_s, _FAREWELL_S))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, grace_s - _FAREWELL_S)):
                await self._routes.running.over()
        self._routes.running.end()
        await asyncio.sleep(min(grace_s, _FLUSH_S))
        hang_up(self._port)
        await self._server.stop(0)


async def _obstacle(address: str) -> str:
    """Why nobody can listen on `host:port`, as far as a plain socket is told; "" if it isn't."""
    host, _, port = address.rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        for family, kind, protocol, _, place in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(place)
    except OSError as error:
        return f": {error.strerror or error}"
    return ""


class _Running:
    """The calls that run, and streams of them."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their coming, which a set has not
        self._endings = Endings()
        self._over: asyncio.Event | None = None

    def counted(
        self, serve: Callable[[_Request, _Context], Awaitable[_Reply]]
    ) -> Callable[[_Request, _Context], Awaitable[_Reply]]:
        """`serve`, whose calls are known here."""

        async def count(request: _Request, context: _Context) -> _Reply:
            task = asyncio.current_task()
            assert task is not None
            self._tasks[task] = None
            try:
                return await serve(request, context)
            except asyncio.CancelledError:
                if not self._endings.is_alone(task):
                    raise
                # The caller is still there.
                await context.abort(grpc.StatusCode.UNAVAILABLE, _STOPPING)
                raise AssertionError("abort raises") from None
            finally:
                del self._tasks[task]
                self._endings.forget(task)
                if self._over is not None and not self._tasks:
                    self._over.set()

        return count

    async def over(self) -> None:
        """Return when none runs."""
        if self._tasks:
            self._over = asyncio.Event()
            await self._over.wait()

    def end(self) -> None:
        """Those that still run are cancelled; their callers hear why."""
        for task in self._tasks:
            self._endings.end(task)


class _Routes(grpc.GenericRpcHandler):
    """Finds the handler of a method; every method has one, if only to say that it is unknown. `closed`: all refuse."""

    def __init__(
        self,
        methods: Mapping[str, Method | RawMethod],
        absent: Iterable[str],
        options: ServerOptions,
        tls: ServerTls | None,
    ) -> None:
        clients = tls if tls is not None and tls.knows_clients else None
        self.running = _Running()
        self._handlers: dict[str, _Handler] = {
            name: grpc.unary_unary_rpc_method_handler(
                self.running.counted(_serve(name, method, options.receive_bytes_max, clients))
            )
            for name, method in methods.items()
        }
        raw = {name: method.handler for name, method in methods.items() if isinstance(method, RawMethod)}
        self.lines = Switchboard(raw)
        if raw:
            self._handlers[PATH] = grpc.stream_stream_rpc_method_handler(
                self.running.counted(_talk(self.lines, clients))
            )
        self._reflection = options.reflection
        for name in absent:
            method = name.rpartition("/")[2]
            self._handlers[name] = _refuse(f"{method} is not implemented by this server")
        self._services = {name.split("/")[1] for name in self._handlers}
        self.closed = False

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> _Handler | None:
        if self.closed:
            return _refuse(_STOPPING, grpc.StatusCode.UNAVAILABLE, NOT_DONE)
        name = handler_call_details.method
        handler = self._handlers.get(name)
        if handler is not None:
            return handler
        service, _, method = name.removeprefix("/").rpartition("/")
        if service == reflection.SERVICE_NAME and not self._reflection:
            return _refuse(UNAUTHORIZED, grpc.StatusCode.PERMISSION_DENIED)
        if service in _OTHER_SERVICES:
            return None
        if service in self._services:
            return _refuse(f"unknown method {method} for service {service}")
        return _refuse(f"unknown service {service}")


def _refuse(message: str, code: grpc.StatusCode = grpc.StatusCode.UNIMPLEMENTED, trailing: Metadata = ()) -> _Handler:
    async def refuse(_request: bytes, context: _Context) -> bytes:
        await context.abort(code, shortened(message), trailing)
        raise AssertionError("abort raises")

    return grpc.unary_unary_rpc_method_handler(refuse)


def _serve(
    name: str, method: Method | RawMethod, receive_bytes_max: int, clients: ServerTls | None
) -> Callable[[bytes, _Context], Awaitable[bytes]]:
    """`clients`: whoever calls has shown a certificate to it."""
    parse: Callable[[bytes], Any] = parser(method.request) if isinstance(method, Method) else bytes
    handler: Callable[[Any, CallMeta], Awaitable[Message | bytes]] = method.handler

    async def serve(body: bytes, context: _Context) -> bytes:
        if len(body) > receive_bytes_max:
            # Workers recognise this text and fail their workflow task with a cause of its own.
            text = f"grpc: received message larger than max ({len(body)} vs. {receive_bytes_max})"
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        names = () if clients is None else names_of(context)
        await _check(clients, names, name, context)
        try:
            request = parse(body)
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INTERNAL, f"grpc: error unmarshalling request: {_fault(error)}")
        try:
            reply = await handler(request, _meta(context, names))
        except PerdureError as error:
            await _abort(name, error, context)
        except Exception:
            # One failed call must not take anything else down.
            log.exception("call failed unexpectedly", operation=name)
            await context.abort(grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE)
        else:
            return reply.SerializeToString() if isinstance(reply, Message) else reply
        raise AssertionError("abort raises")

    return serve


def _talk(lines: Switchboard, clients: ServerTls | None) -> Callable[[Any, _Context], Awaitable[None]]:
    async def talk(_asks: Any, context: _Context) -> None:
        names = () if clients is None else names_of(context)
        await _check(clients, names, PATH, context)
        await lines.talk(context, names)

    return talk


async def _check(clients: ServerTls | None, names: tuple[str, ...], name: str, context: _Context) -> None:
    """End the call if its caller's certificate is not one of those that are let in."""
    if clients is not None and (why := clients.refuses(names)):
        log.warning("a caller was refused", operation=name, reason=why, names=names)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, UNAUTHORIZED)


async def _abort(name: str, error: PerdureError, context: _Context) -> None:
    code, message, trailing = status_of(error)
    if code is grpc.StatusCode.INTERNAL:
        log.error("call failed", operation=name, exc_info=error)
    headers = headers_of(error)
    if headers:
        await context.send_initial_metadata(headers)
    await context.abort(code, message, trailing)


def _fault(error: DecodeError) -> str:
    """What is wrong with the bytes, in the reference's words."""
    if "UTF-8" in str(error):
        return "string field contains invalid UTF-8"
    return "proto: cannot parse invalid wire-format data"


def _meta(context: _Context, names: tuple[str, ...]) -> CallMeta:
    # The stubs leave out that it is None where the caller has no deadline.
    remaining = cast("float | None", context.time_remaining())
    found: dict[str, Any] = {"certificate_names": names} if names else {}
    for key, value in context.invocation_metadata() or ():
        field = _HEADERS.get(key)
        if field is not None:
            found[field] = value
    if remaining is None:
        return CallMeta(**found) if found else _NO_META
    # A deadline that has just passed is not the same as none.
    return CallMeta(timeout_ns=max(1, int(remaining * 1e9)), **found)
