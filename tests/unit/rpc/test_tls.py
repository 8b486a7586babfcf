"""TLS between real listeners and channels: who is let in, who isn't, and files that change meanwhile."""

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from perdure.base.errors import InvalidArgument
from perdure.rpc.call import CallMeta, RawMethod
from perdure.rpc.lines import PATH
from perdure.rpc.server import RpcServer, ServerOptions
from perdure.rpc.tls import CHECK_NS, ChannelFiles, ChannelTls, ServerFiles, ServerTls
from tests.unit.rpc.certificates import METHOD, FakeClock, Folder, call, listening, replace


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "ours")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def refused(channel: grpc.aio.Channel) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call(channel)
    return failed.value.code()


async def test_a_server_with_a_certificate_is_reached_by_its_name(folder: Folder, clock: FakeClock) -> None:
    async with listening(ServerTls(folder.server("server", "localhost"), clock)) as (address, seen):
        assert await call(ChannelTls(folder.channel(), clock).open(address)) == b""
        assert [meta.certificate_names for meta in seen] == [()]
        other = ChannelTls(folder.channel(server_name="history.internal"), clock)
        assert await refused(other.open(address)) is grpc.StatusCode.UNAVAILABLE
        assert len(seen) == 1


async def test_a_client_that_is_asked_for_a_certificate_needs_one_of_the_authority(
    folder: Folder, clock: FakeClock, tmp_path: Path
) -> None:
    foreign = Folder(tmp_path / "foreign")
    stranger = ChannelFiles(
        authority=folder.ca,
        server_name="localhost",
        **dict(zip(("certificate", "key"), foreign.issue("worker"), strict=True)),
    )
    async with listening(ServerTls(folder.server("server", clients=folder.ca), clock)) as (address, seen):
        assert await refused(ChannelTls(folder.channel(), clock).open(address)) is grpc.StatusCode.UNAVAILABLE
        assert await refused(ChannelTls(stranger, clock).open(address)) is grpc.StatusCode.UNAVAILABLE
        assert seen == []
        await call(ChannelTls(folder.channel("worker", "worker.example"), clock).open(address))
        assert [meta.certificate_names for meta in seen] == [("dns:worker.example",)]


async def test_a_client_learns_by_which_authority_a_server_is_known(
    folder: Folder, clock: FakeClock, tmp_path: Path
) -> None:
    foreign = Folder(tmp_path / "foreign")
    async with listening(ServerTls(foreign.server("server"), clock)) as (address, seen):
        assert await refused(ChannelTls(folder.channel(), clock).open(address)) is grpc.StatusCode.UNAVAILABLE
        assert seen == []


async def test_names_of_a_certificate_are_its_common_name_and_its_alternative_ones(
    folder: Folder, clock: FakeClock
) -> None:
    certificate, key = folder.issue("worker", "a.example", "b.example", common_name="payments")
    files = ChannelFiles(authority=folder.ca, server_name="localhost", certificate=certificate, key=key)
    async with listening(ServerTls(folder.server("server", clients=folder.ca), clock)) as (address, seen):
        await call(ChannelTls(files, clock).open(address))
    assert seen[0].certificate_names == ("cn:payments", "dns:a.example", "dns:b.example")


async def test_a_listener_for_some_names_refuses_others_of_the_same_authority(folder: Folder, clock: FakeClock) -> None:
    files = folder.server("server", clients=folder.ca, client_names=("dns:frontend.internal", "cn:admin"))
    async with listening(ServerTls(files, clock)) as (address, seen):
        await call(ChannelTls(folder.channel("frontend", "frontend.internal"), clock).open(address))
        worker = ChannelTls(folder.channel("worker", "worker.example"), clock)
        assert await refused(worker.open(address)) is grpc.StatusCode.PERMISSION_DENIED
        assert len(seen) == 1


async def test_plain_text_on_a_port_with_tls_and_tls_on_a_plain_port_are_refused(
    folder: Folder, clock: FakeClock
) -> None:
    async with listening(ServerTls(folder.server("server"), clock)) as (address, seen):
        assert await refused(grpc.aio.insecure_channel(address)) is grpc.StatusCode.UNAVAILABLE
        assert seen == []
    async with listening(None) as (address, seen):
        assert await refused(ChannelTls(folder.channel(), clock).open(address)) is grpc.StatusCode.UNAVAILABLE
        assert seen == []


@pytest.mark.parametrize(("version", "is_spoken"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
async def test_nothing_older_than_tls_1_2_is_spoken(
    folder: Folder, clock: FakeClock, version: str, is_spoken: bool
) -> None:
    context = ssl.create_default_context(cafile=folder.ca)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    with pytest.warns() if version == "TLSv1_1" else no_warning():
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    async with listening(ServerTls(folder.server("server"), clock)) as (address, _):
        port = int(address.rpartition(":")[2])
        if not is_spoken:
            with pytest.raises((OSError, ssl.SSLError)):
                await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
            return
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        assert writer.get_extra_info("ssl_object").version() == version.replace("_", ".")
        writer.close()


def no_warning() -> "contextlib.nullcontext[None]":
    return contextlib.nullcontext()


async def test_changed_files_count_for_new_connections_while_old_ones_go_on(
    folder: Folder, clock: FakeClock, tmp_path: Path
) -> None:
    files = folder.server("server", "localhost")
    next_one = Folder(tmp_path / "next")
    async with listening(ServerTls(files, clock)) as (address, seen):
        async with ChannelTls(folder.channel(), clock).open(address) as channel:
            method: Any = channel.unary_unary(METHOD)
            await method(b"")
            renewed, key = next_one.issue("server", "localhost")
            replace(files.certificate, renewed)
            clock.time_ns += CHECK_NS
            # The key is still the old one: what was there stays in force.
            await call(ChannelTls(folder.channel(), clock).open(address))
            replace(files.key, key)
            clock.time_ns += CHECK_NS
            await call(ChannelTls(next_one.channel(), clock).open(address))
            assert await refused(ChannelTls(folder.channel(), clock).open(address)) is grpc.StatusCode.UNAVAILABLE
            await method(b"")
        assert len(seen) == 4


async def test_files_are_looked_at_once_a_second_at_most(folder: Folder, clock: FakeClock, tmp_path: Path) -> None:
    files = folder.channel("role", "role.internal")
    channels = ChannelTls(files, clock)
    Folder(tmp_path / "ours").issue("role", "role.internal")
    assert channels.generation == 1
    clock.time_ns += CHECK_NS
    assert [channels.generation, channels.generation] == [2, 2]
    clock.time_ns += CHECK_NS
    assert channels.generation == 2


async def test_a_channel_that_is_opened_after_a_change_shows_the_new_certificate(
    folder: Folder, clock: FakeClock
) -> None:
    channels = ChannelTls(folder.channel("role", "old.internal"), clock)
    async with listening(ServerTls(folder.server("server", clients=folder.ca), clock)) as (address, seen):
        await call(channels.open(address))
        folder.issue("role", "new.internal")
        clock.time_ns += CHECK_NS
        assert channels.generation == 2
        await call(channels.open(address))
    assert [meta.certificate_names for meta in seen] == [("dns:old.internal",), ("dns:new.internal",)]


def test_what_cant_be_used_is_named_by_its_file(folder: Folder, clock: FakeClock) -> None:
    certificate, key = folder.issue("server")
    other_key = folder.issue("other")[1]
    nonsense = folder.path / "nonsense.pem"
    nonsense.write_text("nonsense")
    missing = str(folder.path / "missing.pem")
    for files, named in (
        (ServerFiles(certificate=missing, key=key), "missing.pem: No such file"),
        (
            ServerFiles(certificate=certificate, key=other_key),
            "server.pem, .*other.key: expected a certificate and its",
        ),
        (ServerFiles(certificate=str(nonsense), key=key), "nonsense.pem"),
        (ServerFiles(certificate=certificate, key=key, client_authority=str(nonsense)), "nonsense.pem: expected cert"),
        (ServerFiles(certificate=certificate, key=key, client_authority=str(folder.path)), "Is a directory"),
    ):
        with pytest.raises(InvalidArgument, match=named):
            ServerTls(files, clock)
    with pytest.raises(InvalidArgument, match=r"missing\.pem"):
        ChannelTls(ChannelFiles(authority=missing), clock)


async def test_reflection_may_be_off(folder: Folder, clock: FakeClock) -> None:
    options = ServerOptions(reflection=False)
    async with listening(None, options) as (address, _), grpc.aio.insecure_channel(address) as channel:
        ask: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            _answers = [answer async for answer in ask(iter([b""]))]
    assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert failed.value.details() == "Request unauthorized."


async def test_who_connects_and_says_nothing_is_cut_off(folder: Folder, clock: FakeClock) -> None:
    options = ServerOptions(handshake_ms=50)
    async with listening(ServerTls(folder.server("server"), clock), options) as (address, seen):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        assert await reader.read() == b""
        writer.close()
        await call(ChannelTls(folder.channel(), clock).open(address))
        assert len(seen) == 1


async def test_a_stream_of_calls_is_for_the_same_names(folder: Folder, clock: FakeClock) -> None:
    done: list[bytes] = []

    async def handler(body: bytes, _meta: CallMeta) -> bytes:
        done.append(body)
        return body

    files = folder.server("server", clients=folder.ca, client_names=("dns:role.internal",))
    server = RpcServer({"/perdure.internal.Test/Do": RawMethod(handler)}, tls=ServerTls(files, clock))
    address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    try:
        for name, code in (("worker.example", grpc.StatusCode.PERMISSION_DENIED), ("role.internal", None)):
            async with ChannelTls(folder.channel("caller", name), clock).open(address) as channel:
                stream: Any = channel.stream_stream(PATH)()
                ask = msgspec.msgpack.encode([[1, "/perdure.internal.Test/Do", 0, b"x", ""]])
                try:
                    await stream.write(ask)
                    await stream.read()
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    pass
                if code is not None:
                    assert await stream.code() is code
                    assert done == []
                stream.cancel()
        assert done == [b"x"]
    finally:
        await server.stop(0)
