"""Connections to other hosts: one per address, opened at the first call, checked while they stand.

Invariants: a failed call says whether it was certainly not begun (`HostUnreachable`) or may have been done
(`Unavailable`); where gRPC leaves that open, it may have been. Every call ends: by its caller's deadline, or by a limit
of its own. A host that is silently gone is noticed within `ping_ms` + `ping_timeout_ms`, one that doesn't answer a
connection within `connect_ms`. At most `channels_max` connections are open, but for those that are in use. A call that
is too large, or one too many, fails alone, and says nothing of the host.

Refuses to know what is called, and who is at an address.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import msgspec
import structlog
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.base.errors import (
    DeadlineExceeded,
    HostUnreachable,
    PerdureError,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from perdure.base.limits import MIB
from perdure.base.spans import HEADER
from perdure.base.tasks import Background
from perdure.rpc.lines import MESSAGE_BYTES, PATH, Full, Late, Line
from perdure.rpc.role_methods import MESSAGE_BYTES_MAX, RoleMethod
from perdure.rpc.status import NOT_DONE
from perdure.rpc.tls import ChannelTls

log = structlog.get_logger(__name__)
_State = grpc.ChannelConnectivity
_Code = grpc.StatusCode
# gRPC's own words where it has no connection to send a call on.
_NEVER_SENT = "failed to connect to all addresses"
_FAREWELL_S = 75.0
# Of one connection. With them all full, more than a hundred thousand calls wait for the host, or 128 MiB.
LINES_MAX = 16
# What goes with a call besides its body.
Headers = tuple[tuple[str, str], ...] | None


class ChannelOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`ping_ms`: how often a connection is checked, also one without calls; `idle_ms`: after that time without calls it
    is closed, a line first and then the connection. `backoff_ms_max`: between two attempts to connect.
    """

    connect_ms: int = 2_000
    ping_ms: int = 2_000
    ping_timeout_ms: int = 2_000
    backoff_ms_max: int = 1_000
    idle_ms: int = 300_000
    channels_max: int = 256


def channel_arguments(options: ChannelOptions) -> list[tuple[str, str | int]]:
    """`options` in gRPC's own names."""
    return [
        ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX + MIB),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", options.ping_ms),
        ("grpc.keepalive_timeout_ms", options.ping_timeout_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.ping_timeout_ms", options.ping_timeout_ms),  # else a ping may take a minute
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.min_reconnect_backoff_ms", options.connect_ms),  # how long an attempt may take, in fact
        ("grpc.initial_reconnect_backoff_ms", min(100, options.backoff_ms_max)),
        ("grpc.max_reconnect_backoff_ms", options.backoff_ms_max),
        ("grpc.client_idle_timeout_ms", options.idle_ms),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.use_local_subchannel_pool", 1),
    ]


class Channel:
    """The connection to one address. `tls`: how it is spoken to now, None = in plain text. `failed`: told of the
    address when it doesn't answer, or no longer. `background`: what it begins and doesn't wait for.
    """

    def __init__(
        self,
        address: str,
        options: ChannelOptions,
        tls: Callable[[], ChannelTls | None],
        failed: Callable[[str], None],
        background: Background,
    ) -> None:
        self.address = address
        self.in_use = 0
        self._options = options
        self._tls = tls
        self._failed = failed
        self._background = background
        self._open: _Open | None = None

    async def call(
        self, method: RoleMethod, body: bytes, limit_s: float, *, own_limit: bool, headers: Headers = None
    ) -> bytes:
        """The reply's bytes within `limit_s`; `own_limit`: the caller has no deadline. Raises HostUnreachable: it was
        not begun. Raises ResourceExhausted: so it is too large, or one too many. Raises Unavailable, DeadlineExceeded:
        nobody knows.
        """
        if len(body) > MESSAGE_BYTES_MAX:
            raise _exhausted(f"a request of {len(body)} bytes is larger than hosts take from each other")
        until = asyncio.get_running_loop().time() + limit_s
        with self._used() as opened:
            await self._connect(opened, limit_s)
            left_s = until - asyncio.get_running_loop().time()
            try:
                if len(body) <= MESSAGE_BYTES:
                    trace = dict(headers or ()).get(HEADER, "")
                    return await opened.line(self._line).ask(method.path, body, left_s, trace)
                reply: bytes = await opened.method(method.path)(body, timeout=left_s, metadata=headers)
            except Late:
                raise self._late(limit_s, own_limit=own_limit) from None
            except Full:
                raise _exhausted(f"too many calls to {self.address} are on their way") from None
            except grpc.aio.AioRpcError as error:
                if error.code() is _Code.DEADLINE_EXCEEDED:
                    raise self._late(limit_s, own_limit=own_limit) from error
                raise self._broken(error) from error
            except asyncio.CancelledError:
                if opened.closed and not _cancelled():
                    raise Unavailable(f"the connection to {self.address} was closed") from None
                raise
            return reply

    async def close(self, grace_s: float = 0.0) -> None:
        """Close the connection; calls that still run after `grace_s` fail. The next call opens another one."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.close(grace_s)

    def forget(self) -> None:
        """Close the connection in the background, once its calls are over."""
        opened, self._open = self._open, None
        if opened is not None:
            self._background.spawn(opened.close(_FAREWELL_S))

    @contextmanager
    def _used(self) -> Iterator["_Open"]:
        self.in_use += 1
        try:
            yield self._opened()
        finally:
            self.in_use -= 1

    def _opened(self) -> "_Open":
        tls = self._tls()
        generation = tls.generation if tls is not None else 0
        if self._open is not None and self._open.generation != generation:
            self.forget()  # its certificates were replaced, or there is another host
        if self._open is None:
            arguments = channel_arguments(self._options)
            channel = (
                tls.open(self.address, arguments)
                if tls is not None
                else grpc.aio.insecure_channel(self.address, options=arguments)
            )
            self._open = _Open(channel, generation)
        return self._open

    async def _connect(self, opened: "_Open", limit_s: float) -> None:
        """Return when there is a connection. Raises HostUnreachable: nothing is sent before."""
        state = opened.channel.get_state(try_to_connect=True)
        if state is _State.READY:
            return
        longest_s = self._options.connect_ms / 1_000
        if state in (_State.IDLE, _State.CONNECTING):
            if opened.connecting is None or opened.connecting.done():
                opened.connecting = self._background.spawn(opened.connect())
            await asyncio.wait([opened.connecting], timeout=min(limit_s, longest_s))
            if opened.closed:
                raise HostUnreachable(f"the connection to {self.address} was closed", self.address)
            state = opened.channel.get_state()
            if state is _State.READY:
                return
        if state is _State.TRANSIENT_FAILURE or limit_s > longest_s:
            self._failed(self.address)  # it had its time
        raise HostUnreachable(f"no connection to {self.address}", self.address)

    def _line(self, stream: Any) -> Line:
        return Line(stream, self.address, self._background, self._line_broken, self._options.idle_ms / 1_000)

    def _late(self, limit_s: float, *, own_limit: bool) -> PerdureError:
        if not own_limit:
            return DeadlineExceeded(f"no answer from {self.address} before the deadline")
        return Unavailable(f"no answer from {self.address} within {limit_s:g} s")

    def _broken(self, error: grpc.aio.AioRpcError) -> PerdureError:
        """What a call that ended so means."""
        code, text = error.code(), error.details() or ""
        if code is _Code.UNAVAILABLE:
            if set(NOT_DONE) <= set(error.trailing_metadata() or ()):
                return HostUnreachable(f"{self.address} is stopping", self.address)
            self._failed(self.address)
            if text.startswith(_NEVER_SENT):
                return HostUnreachable(f"no connection to {self.address}: {text}", self.address)
            return Unavailable(f"the connection to {self.address} broke: {text}")
        if code in (_Code.PERMISSION_DENIED, _Code.UNAUTHENTICATED):
            log.warning("another host refuses this one", address=self.address, reason=text)
            return HostUnreachable(f"{self.address} refuses this host", self.address)
        if code is _Code.UNIMPLEMENTED:
            return Unimplemented(f"{self.address}: {text}")
        if code is _Code.RESOURCE_EXHAUSTED:
            return _exhausted(f"{self.address}: {text}")
        return Unavailable(f"{self.address}: {code.name}: {text}")

    def _line_broken(self, error: grpc.aio.AioRpcError) -> PerdureError:
        """What the end of a line means for each of its calls."""
        if error.code() is _Code.RESOURCE_EXHAUSTED:
            # That was one of them, or none; of the others nobody knows.
            return Unavailable(f"{self.address}: {error.details() or ''}")
        return self._broken(error)


class _Open:
    """A channel of gRPC's while it is open. `generation`: of the certificates that it was opened with."""

    def __init__(self, channel: grpc.aio.Channel, generation: int) -> None:
        self.channel = channel
        self.generation = generation
        self.connecting: asyncio.Task[None] | None = None
        self.closed = False
        self._lines: list[Line] = []
        self._methods: dict[str, Any] = {}

    def line(self, made: Callable[[Any], Line]) -> Line:
        """What carries a small request, now that there is a connection: the first that has room, so that calls share
        messages. Raises Full.
        """
        for line in self._lines:
            if not line.ended and not line.is_full:
                return line
        self._lines = [line for line in self._lines if not line.ended]
        if len(self._lines) >= LINES_MAX:
            raise Full
        stream: Any = self.channel.stream_stream(PATH)
        self._lines.append(made(stream()))
        return self._lines[-1]

    def method(self, path: str) -> Any:
        found = self._methods.get(path)
        if found is None:
            found = self._methods[path] = self.channel.unary_unary(path)
        return found

    async def connect(self) -> None:
        """Return when an attempt to connect has ended, well or badly."""
        while not self.closed:
            state = self.channel.get_state(try_to_connect=True)
            if state not in (_State.IDLE, _State.CONNECTING):
                return
            await self.channel.wait_for_state_change(state)

    async def close(self, grace_s: float) -> None:
        self.closed = True
        await asyncio.gather(*(line.finish(grace_s) for line in self._lines))
        await self.channel.close(grace_s)


def _cancelled() -> bool:
    """Whether this task was cancelled, and not only what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _exhausted(message: str) -> ResourceExhausted:
    return ResourceExhausted(
        message,
        ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED,
        ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
    )
