"""Connections to other hosts, and what a caller learns when they fail."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # it ships no annotations
from temporalio.api.enums.v1 import ResourceExhaustedScope

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Bug, DeadlineExceeded, HostUnreachable, ResourceExhausted, Unavailable, Unimplemented
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, HistoryPage, HistoryRead
from perdure.rpc import lines
from perdure.rpc.call import CallMeta, RawMethod
from perdure.rpc.channels import LINES_MAX, ChannelOptions
from perdure.rpc.peers import Peers
from perdure.rpc.role_handlers import INTERNAL_OPTIONS, history_methods
from perdure.rpc.role_methods import HISTORY, MESSAGE_BYTES_MAX
from perdure.rpc.status import INTERNAL_MESSAGE
from perdure.rpc.tls import CHECK_NS, ChannelTls, ServerTls
from perdure.workflow.requests import Look
from tests.unit.rpc.certificates import FakeClock, Folder
from tests.unit.rpc.relay import FakeRole, hosting, relayed

KEY = ChainKey("namespace", "workflow")
READ = HistoryRead("run", 10)
PAGE = HistoryPage(b"events", b"")
# Nothing here waits for the times that a cluster has.
SOON = ChannelOptions(connect_ms=300, ping_ms=200, ping_timeout_ms=200, backoff_ms_max=50)


@contextlib.asynccontextmanager
async def peering(
    options: ChannelOptions = SOON, tls: ChannelTls | None = None
) -> AsyncIterator[tuple[Peers, list[str]]]:
    suspected: list[str] = []
    peers = Peers(suspected.append, tls, options)
    try:
        yield peers, suspected
    finally:
        await peers.close()


class Waiting(FakeRole):
    """Its history can be read when it is let."""

    def __init__(self) -> None:
        super().__init__(read_history=self.read)
        self.begun, self.cancelled, self.let = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def read(self, *_arguments: Any) -> HistoryPage:
        self.begun.set()
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return PAGE


def serving(role: Any) -> dict[str, RawMethod]:
    return history_methods(role, role)


async def test_a_host_that_is_not_there_was_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    async with peering() as (peers, suspected):
        for _ in range(3):
            with pytest.raises(HostUnreachable) as raised:
                await peers.history(address).read_history(KEY, READ, Call())
            assert raised.value.host == address
    assert suspected == [address] * 3


async def test_a_host_that_says_nothing_to_a_connection_was_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        async with peering() as (peers, suspected):
            with pytest.raises(HostUnreachable):
                await peers.history(address).read_history(KEY, READ, Call())
        assert suspected == [address]


async def test_a_connection_that_breaks_leaves_open_what_was_done() -> None:
    role = Waiting()
    async with hosting(serving(role)) as (_, port), relayed(port) as relay, peering() as (peers, suspected):
        history = peers.history(relay.address)
        async with asyncio.TaskGroup() as calls:
            call = calls.create_task(outcome(history.read_history(KEY, READ, Call())))
            await role.begun.wait()
            relay.cut()
        assert type(call.result()) is Unavailable
        assert suspected == [relay.address]
        await role.cancelled.wait()


async def test_a_host_that_falls_silent_is_noticed_by_its_pings() -> None:
    role = Waiting()
    async with hosting(serving(role)) as (_, port), relayed(port) as relay, peering() as (peers, suspected):
        history = peers.history(relay.address)
        async with asyncio.TaskGroup() as calls:
            call = calls.create_task(outcome(history.read_history(KEY, READ, Call())))
            await role.begun.wait()
            relay.hold()
        assert type(call.result()) is Unavailable
        assert suspected == [relay.address]


async def test_a_caller_that_falls_silent_has_its_call_cancelled() -> None:
    role = Waiting()
    soon = msgspec.structs.replace(INTERNAL_OPTIONS, keepalive_ms=200, keepalive_timeout_ms=200)
    async with (
        hosting(serving(role), options=soon) as (_, port),
        relayed(port) as relay,
        peering(ChannelOptions()) as (peers, _),
        asyncio.TaskGroup() as calls,
    ):
        calls.create_task(outcome(peers.history(relay.address).read_history(KEY, READ, Call())))
        await role.begun.wait()
        relay.hold()
        await role.cancelled.wait()
        relay.cut()


async def test_a_host_that_came_back_is_reached_again() -> None:
    role = FakeRole(read_history=PAGE)
    async with peering() as (peers, _):
        async with hosting(serving(role)) as (_, port):
            history = peers.history(f"127.0.0.1:{port}")
            await history.read_history(KEY, READ, Call())
        with pytest.raises(Unavailable):
            await history.read_history(KEY, READ, Call())
        async with relayed(port) as relay, hosting(serving(role)) as (_, other):
            relay._port = other
            assert await peers.history(relay.address).read_history(KEY, READ, Call()) == PAGE


async def outcome(call: Any) -> Any:
    try:
        return await call
    except Unavailable as error:
        return error


async def test_a_host_that_is_stopping_did_nothing_and_finishes_what_it_began() -> None:
    role = Waiting()
    async with hosting(serving(role)) as (server, port), peering() as (peers, suspected):
        history = peers.history(f"127.0.0.1:{port}")
        async with asyncio.TaskGroup() as calls:
            begun = calls.create_task(history.read_history(KEY, READ, Call()))
            await role.begun.wait()
            stopped = calls.create_task(server.stop(20))
            while not isinstance(await outcome(history.transact(KEY, Look(), Call())), HostUnreachable):
                pass
            assert suspected == []
            role.let.set()
            assert await begun == PAGE
            await stopped


async def test_the_deadline_of_the_caller_ends_the_call_and_its_method() -> None:
    role = Waiting()
    async with hosting(serving(role)) as (_, port), peering() as (peers, suspected):
        with pytest.raises(DeadlineExceeded):
            await peers.history(f"127.0.0.1:{port}").read_history(KEY, READ, Call(timeout_ns=SECOND_NS // 10))
        await role.cancelled.wait()
    assert suspected == []


async def test_a_call_without_a_deadline_ends_by_a_limit_of_its_own() -> None:
    role = Waiting()
    async with hosting(serving(role)) as (_, port), peering() as (peers, _):
        body = HISTORY["read_history"].write(KEY, READ, Call())
        channel = peers._channel(f"127.0.0.1:{port}")
        with pytest.raises(Unavailable, match=r"no answer .* within 0.1 s"):
            await channel.call(HISTORY["read_history"], body, 0.1, own_limit=True)
        await role.cancelled.wait()


async def test_closing_fails_what_still_runs() -> None:
    role = Waiting()
    async with hosting(serving(role)) as (_, port), peering() as (peers, _):
        history = peers.history(f"127.0.0.1:{port}")
        async with asyncio.TaskGroup() as calls:
            call = calls.create_task(outcome(history.read_history(KEY, READ, Call())))
            await role.begun.wait()
            await peers.close()
        assert type(call.result()) is Unavailable
        with pytest.raises(HostUnreachable):
            await history.read_history(KEY, READ, Call())


async def test_an_exception_stays_where_it_was_raised() -> None:
    async with hosting(serving(FakeRole(read_history=KeyError("secret")))) as (_, port), peering() as (peers, _):
        with pytest.raises(Bug) as raised:
            await peers.history(f"127.0.0.1:{port}").read_history(KEY, READ, Call())
    assert raised.value.message == INTERNAL_MESSAGE


async def test_a_method_of_a_newer_release_is_told() -> None:
    async with hosting(serving(FakeRole())) as (_, port), peering() as (peers, _):
        with pytest.raises(Unimplemented, match=r"unknown method .*Matching/EndPolls"):
            await peers.matching(f"127.0.0.1:{port}").end_polls("namespace", "worker", "queue")


@pytest.mark.parametrize("body", [b"", b"\x93", b"\xdd\xff\xff\xff\xff", b"\x91" * 1_000_000, b"\xc6\xff\xff\xff\xff"])
async def test_bytes_that_are_no_request_are_refused(body: bytes) -> None:
    role = FakeRole()
    async with hosting(serving(role)) as (_, port), peering() as (peers, _):
        channel = peers._channel(f"127.0.0.1:{port}")
        reply = await channel.call(HISTORY["transact"], body, 20.0, own_limit=True)
    with pytest.raises(Bug, match="not readable as TransactArguments"):
        HISTORY["transact"].read_reply(reply)
    assert role.calls == []


async def test_a_page_of_many_megabytes_travels() -> None:
    page = HistoryPage(bytes(40_000_000), b"more")
    async with hosting(serving(FakeRole(read_history=page))) as (_, port), peering(ChannelOptions()) as (peers, _):
        assert await peers.history(f"127.0.0.1:{port}").read_history(KEY, READ, Call()) == page


async def test_what_is_too_large_is_not_sent() -> None:
    async with peering() as (peers, _):
        with pytest.raises(ResourceExhausted, match="larger than hosts take"):
            await peers._channel("127.0.0.1:1").call(
                HISTORY["transact"], bytes(MESSAGE_BYTES_MAX + 1), 20.0, own_limit=True
            )


async def test_many_calls_take_several_lines_and_a_host_with_them_all_full_is_not_suspected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "FULL_AT", 2)
    role = Waiting()
    async with hosting(serving(role)) as (_, port), peering(ChannelOptions()) as (peers, suspected):
        history = peers.history(f"127.0.0.1:{port}")
        async with asyncio.TaskGroup() as calls:
            begun = [calls.create_task(history.read_history(KEY, READ, Call())) for _ in range(2 * LINES_MAX)]
            while len(role.calls) < len(begun):
                await role.begun.wait()
                role.begun.clear()
            with pytest.raises(ResourceExhausted, match="too many calls") as raised:
                await history.read_history(KEY, READ, Call())
            assert raised.value.scope == ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM
            role.let.set()
        assert {call.result() for call in begun} == {PAGE}
        assert await history.read_history(KEY, READ, Call()) == PAGE
    assert suspected == []


async def test_a_line_that_met_a_limit_leaves_its_calls_in_doubt_and_its_host_unsuspected() -> None:
    role = Waiting()
    small = msgspec.structs.replace(INTERNAL_OPTIONS, transport_bytes_max=100_000)
    async with hosting(serving(role), options=small) as (_, port), peering(ChannelOptions()) as (peers, suspected):
        channel = peers._channel(f"127.0.0.1:{port}")
        async with asyncio.TaskGroup() as calls:
            body = HISTORY["read_history"].write(KEY, READ, Call())
            begun = calls.create_task(outcome(channel.call(HISTORY["read_history"], body, 20.0, own_limit=True)))
            await role.begun.wait()
            large = calls.create_task(
                outcome(channel.call(HISTORY["read_history"], bytes(200_000), 20, own_limit=True))
            )
        assert (type(begun.result()), type(large.result())) == (Unavailable, Unavailable)
        # One with a message of its own fails alone, and clearly.
        with pytest.raises(ResourceExhausted, match="larger than max"):
            await channel.call(HISTORY["read_history"], bytes(2 * lines.MESSAGE_BYTES), 20.0, own_limit=True)
    assert suspected == []


async def test_an_answer_that_is_too_large_is_told() -> None:
    page = HistoryPage(bytes(MESSAGE_BYTES_MAX), b"")
    async with hosting(serving(FakeRole(read_history=page))) as (_, port), peering(ChannelOptions()) as (peers, _):
        with pytest.raises(Bug, match="larger than hosts take"):
            await peers.history(f"127.0.0.1:{port}").read_history(KEY, READ, Call())


async def test_connections_are_shared_bounded_and_closed_when_nobody_needs_them() -> None:
    role = FakeRole(read_history=PAGE)
    async with (
        hosting(serving(role)) as (_, port),
        relayed(port) as first,
        relayed(port) as second,
        peering(ChannelOptions(channels_max=1)) as (peers, _),
    ):
        await asyncio.gather(*(peers.history(first.address).read_history(KEY, READ, Call()) for _ in range(20)))
        assert (first.opened, first.open) == (1, 1)
        await peers.history(second.address).read_history(KEY, READ, Call())
        await first.wait_open(0)
        peers.keep([second.address])
        await peers.history(second.address).read_history(KEY, READ, Call())
        assert (second.opened, second.open) == (1, 1)
        peers.keep([])
        await second.wait_open(0)
        assert await peers.history(first.address).read_history(KEY, READ, Call()) == PAGE


async def test_a_connection_in_use_is_not_closed_for_another() -> None:
    role = Waiting()
    async with (
        hosting(serving(role)) as (_, port),
        hosting(serving(FakeRole(read_history=PAGE))) as (_, other),
        peering(ChannelOptions(channels_max=1)) as (peers, _),
        asyncio.TaskGroup() as calls,
    ):
        call = calls.create_task(peers.history(f"127.0.0.1:{port}").read_history(KEY, READ, Call()))
        await role.begun.wait()
        await peers.history(f"127.0.0.1:{other}").read_history(KEY, READ, Call())
        role.let.set()
        assert await call == PAGE


async def test_certificates_that_change_are_shown_without_a_failed_call(tmp_path: Path) -> None:
    folder, clock = Folder(tmp_path / "ours"), FakeClock()
    server = ServerTls(folder.server("server", "localhost", clients=folder.ca), clock)
    seen: list[tuple[str, ...]] = []

    async def handler(_body: bytes, meta: CallMeta) -> bytes:
        seen.append(meta.certificate_names)
        return HISTORY["read_history"].write_reply(PAGE)

    files = folder.channel("old", "old.internal")
    async with hosting({HISTORY["read_history"].path: RawMethod(handler)}, server) as (_, port):
        async with peering(ChannelOptions(), ChannelTls(files, clock)) as (peers, suspected):
            history = peers.history(f"127.0.0.1:{port}")
            await history.read_history(KEY, READ, Call())
            folder.issue("old", "new.internal")
            clock.time_ns += CHECK_NS
            await history.read_history(KEY, READ, Call())
        assert seen == [("dns:old.internal",), ("dns:new.internal",)]
        async with peering() as (peers, _):
            with pytest.raises(HostUnreachable):
                await peers.history(f"127.0.0.1:{port}").read_history(KEY, READ, Call())
    assert suspected == []


async def test_health_is_asked_on_the_same_port() -> None:
    async with hosting(serving(FakeRole())) as (server, port):
        await server.set_serving(True)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
