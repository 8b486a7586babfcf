"""The sections about security as a whole: a listener with TLS and tokens, keys from an address, calls by gRPC."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web
from pydantic import ValidationError
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.errordetails.v1 import PermissionDeniedFailure
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    GetSystemInfoRequest,
    SignalWorkflowExecutionRequest,
)

from perdure.base.errors import InvalidArgument
from perdure.base.tasks import Background
from perdure.frontend.methods import full_name
from perdure.rpc.server import RpcServer, ServerOptions
from perdure.rpc.tls import CHECK_NS, ChannelTls
from perdure.server.config_security import (
    AuditSection,
    AuthSection,
    FrontendTlsSection,
    InternodeTlsSection,
    TlsSection,
)
from perdure.server.security import Security
from tests.unit.frontend.fakes import Desk, open_desk
from tests.unit.frontend.issuers import (
    AUDIENCE,
    BAD,
    GOOD_SET,
    ISSUER,
    OTHER_RSA,
    RSA,
    Clock,
    claims,
    jwk,
    key_set,
    token,
)
from tests.unit.rpc.certificates import Folder, replace
from tests.unit.rpc.test_server import detail

PLAIN, AUDITED = TlsSection(), AuditSection(calls="all")


class KeyServer:
    """A key set at an address. `body`, `status`: what it says from now on."""

    def __init__(self) -> None:
        self.body, self.status, self.asked = GOOD_SET, 200, 0
        self.address = ""

    async def _answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(status=self.status, body=self.body, headers={"Location": "/elsewhere"})

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator["KeyServer"]:
        application = web.Application()
        application.router.add_get("/keys", self._answer)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
        try:
            yield self
        finally:
            await runner.cleanup()


class Place:
    """A frontend with guards behind a listener, its clock, and a channel to it."""

    def __init__(self, desk: Desk, clock: Clock, address: str, folder: Folder) -> None:
        self.desk, self.clock, self.address, self.folder = desk, clock, address, folder

    def channel(self) -> grpc.aio.Channel:
        return ChannelTls(self.folder.channel(), self.clock).open(self.address)

    async def call(self, channel: grpc.aio.Channel, request: Any, header: str | None = None) -> bytes:
        name = full_name(type(request).__name__.removesuffix("Request"))
        metadata = () if header is None else (("authorization", header),)
        method: Any = channel.unary_unary(name)
        reply: bytes = await method(request.SerializeToString(), metadata=metadata, timeout=20)
        return reply

    async def refusal(self, channel: grpc.aio.Channel, request: Any, header: str | None = None) -> Any:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await self.call(channel, request, header)
        return failed.value


@contextlib.asynccontextmanager
async def guarded(folder: Folder, keys: str) -> AsyncIterator[Place]:
    clock = Clock()
    certificate, key = folder.issue("server")
    tls = TlsSection(frontend=FrontendTlsSection(certificate=certificate, key=key))
    auth = AuthSection(issuer=ISSUER, audience=AUDIENCE, keys=keys)
    security = Security(tls, auth, AUDITED, clock)
    desk = await open_desk(guards=security.guards)
    desk.history.reply = b""
    server = RpcServer(
        desk.frontend.methods,
        absent=desk.frontend.absent,
        options=ServerOptions(reflection=security.is_open),
        tls=security.frontend,
    )
    await server.set_serving(True)
    port = await server.start("127.0.0.1:0")
    try:
        yield Place(desk, clock, f"127.0.0.1:{port}", folder)
    finally:
        await server.stop(0)
        await security.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "ours")


def signal(namespace: str = "default") -> SignalWorkflowExecutionRequest:
    execution = WorkflowExecution(workflow_id="wf")
    return SignalWorkflowExecutionRequest(namespace=namespace, workflow_execution=execution, signal_name="go")


async def test_every_bad_token_gets_the_same_answer_about_what_is_there_and_what_is_not(folder: Folder) -> None:
    async with KeyServer().serving() as keys, guarded(folder, keys.address) as place, place.channel() as channel:
        for header in (None, "", *BAD.values(), token(claims("elsewhere:admin")), token(claims("default:worker"))):
            for request in (
                signal(),
                signal("nope"),
                signal(""),
                DescribeNamespaceRequest(id="0a0a0a0a-0000-4000-8000-000000000002"),
                DescribeNamespaceRequest(namespace="nope"),
            ):
                error = await place.refusal(channel, request, header)
                assert (error.code(), error.details()) == (
                    grpc.StatusCode.PERMISSION_DENIED,
                    "Request unauthorized.",
                )
                failure = PermissionDeniedFailure()
                detail(error, failure)
                assert failure == PermissionDeniedFailure()
                assert list(error.initial_metadata() or ()) == []
        assert place.desk.history.asked == []
        # The set was asked for once; the one token whose key isn't in it had it read again within no interval.
        assert keys.asked == 1


async def test_a_good_token_does_what_it_may_and_no_more(folder: Folder) -> None:
    async with KeyServer().serving() as keys, guarded(folder, keys.address) as place, place.channel() as channel:
        header = token(claims("default:write"))
        await place.call(channel, signal(), header)
        assert len(place.desk.history.asked) == 1
        for request in (signal("away"), signal("nope"), DescribeNamespaceRequest(namespace="away")):
            error = await place.refusal(channel, request, header)
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        operator = token(claims("temporal-system:admin"))
        error = await place.refusal(channel, signal("nope"), operator)
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "Namespace nope is not found.")
        assert len(place.desk.history.asked) == 1


async def test_health_and_what_the_server_is_may_be_asked_by_anybody_methods_by_nobody(folder: Folder) -> None:
    async with KeyServer().serving() as keys, guarded(folder, keys.address) as place, place.channel() as channel:
        await place.call(channel, GetSystemInfoRequest())
        health: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await health(b"") == b"\x08\x01"
        listing: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            _ = [answer async for answer in listing(iter([b""]))]
        assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED
        error = await place.refusal(channel, GetSystemInfoRequest(), BAD["expired"])
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_plain_text_reaches_nothing(folder: Folder) -> None:
    async with KeyServer().serving() as keys, guarded(folder, keys.address) as place:
        async with grpc.aio.insecure_channel(place.address) as channel:
            error = await place.refusal(channel, signal(), token(claims()))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert place.desk.history.asked == []


async def test_certificates_and_keys_change_under_traffic_without_a_failed_call(folder: Folder) -> None:
    async with KeyServer().serving() as keys, guarded(folder, keys.address) as place, place.channel() as old:
        await place.call(old, signal(), token(claims()))
        done, background = asyncio.Event(), Background(_raise)
        traffic = [background.spawn(_traffic(place, done)) for _ in range(4)]
        renewed, key = folder.issue("renewed", "localhost")
        replace(str(folder.path / "server.pem"), renewed)
        place.clock.time_ns += CHECK_NS
        await place.call(place.channel(), signal(), token(claims()))
        replace(str(folder.path / "server.key"), key)
        place.clock.time_ns += CHECK_NS
        async with place.channel() as channel:
            await place.call(channel, signal(), token(claims()))
        keys.body = key_set(jwk(OTHER_RSA, "newer"), jwk(RSA, "rsa"))
        place.clock.time_ns += 30 * CHECK_NS
        newer = token(claims(), kid="newer", key=OTHER_RSA)
        await place.call(old, signal(), newer)
        done.set()
        counts = await asyncio.gather(*traffic)
        assert min(counts) > 0
        assert len(place.desk.history.asked) == sum(counts) + 4


async def _traffic(place: Place, done: asyncio.Event) -> int:
    """Calls over connections of their own, until it is over; how many."""
    count, header = 0, token(claims())
    while not done.is_set() or not count:
        async with place.channel() as channel:
            await place.call(channel, signal(), header)
        count += 1
    return count


@pytest.mark.parametrize(("status", "body"), [(302, GOOD_SET), (500, b""), (200, b"x" * (2 << 20)), (200, b"{}")])
async def test_keys_that_cant_be_had_let_nobody_in(folder: Folder, status: int, body: bytes) -> None:
    async with KeyServer().serving() as keys, guarded(folder, keys.address) as place, place.channel() as channel:
        keys.status, keys.body = status, body
        error = await place.refusal(channel, signal(), token(claims()))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        keys.status, keys.body = 200, GOOD_SET
        place.clock.time_ns += 30 * CHECK_NS
        await place.call(channel, signal(), token(claims()))


async def test_keys_may_lie_in_a_file(folder: Folder) -> None:
    file = folder.path / "keys.json"
    file.write_bytes(GOOD_SET)
    for place_of_keys in (str(file), f"file://{file}"):
        async with guarded(folder, place_of_keys) as place, place.channel() as channel:
            await place.call(channel, signal(), token(claims()))
            look = DescribeWorkflowExecutionRequest(namespace="away")
            error = await place.refusal(channel, look, token(claims()))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_roles_know_one_another_by_name_and_nobody_else(folder: Folder) -> None:
    certificate, key = folder.issue("role", "history.internal")
    section = InternodeTlsSection(certificate=certificate, key=key, authority=folder.ca, server_name="history.internal")
    clock = Clock()
    security = Security(TlsSection(internode=section), None, AuditSection(), clock)
    assert security.frontend is None
    assert security.channels is not None
    desk = await open_desk()
    server = RpcServer(desk.frontend.methods, tls=security.internode)
    address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    method = full_name("GetSystemInfo")
    try:
        async with security.channels.open(address) as channel:
            ask: Any = channel.unary_unary(method)
            assert await ask(b"")
        worker = ChannelTls(folder.channel("worker", "worker.example", server_name="history.internal"), clock)
        async with worker.open(address) as channel:
            ask = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await ask(b"")
        assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED
    finally:
        await server.stop(0)


def test_files_that_cant_be_used_are_named_before_anything_listens(folder: Folder) -> None:
    certificate, _ = folder.issue("server")
    _, key = folder.issue("other")
    section = TlsSection(frontend=FrontendTlsSection(certificate=certificate, key=key))
    with pytest.raises(InvalidArgument, match=r"server\.pem, .*other\.key"):
        Security(section, None, AuditSection(), Clock())


@pytest.mark.parametrize(
    ("section", "values", "expected"),
    [
        (AuthSection, {}, "expected issuer, audience and keys for tokens"),
        (AuthSection, {"issuer": "a", "keys": "https://b"}, "all three of them"),
        (AuthSection, {"issuer": "a", "audience": "b", "keys": "/none.json"}, "/none.json: No such file"),
        (
            AuthSection,
            {"issuer": "a", "audience": "b", "keys": "htps://a/keys"},
            r"expected an https \(or http\) address",
        ),
        (AuthSection, {"issuer": "a", "audience": "b", "keys": "https:///keys"}, "expected an address with a host"),
        (AuthSection, {"certificates": [{"name": "a", "permissions": ["a:read"]}]}, "expected dns:, cn: or uri:"),
        (AuthSection, {"certificates": [{"name": "cn:a", "permissions": ["a:read", "a:reader"]}]}, "not 'a:reader'"),
        (AuditSection, {"calls": "some"}, "calls"),
        (FrontendTlsSection, {"certificate": "/none"}, "No such file"),
    ],
)
def test_half_a_section_is_refused(section: Any, values: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        section(**values)


def test_without_sections_everything_is_as_it_was() -> None:
    security = Security(PLAIN, None, AuditSection(), Clock())
    assert (security.frontend, security.internode, security.channels) == (None, None, None)
    assert (security.guards.authorization, security.guards.audit, security.is_open) == (None, None, True)


def _raise(error: BaseException) -> None:
    raise error
