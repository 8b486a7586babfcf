"""Both ends of a stream of calls, over a stream without a network."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest

from perdure.base.errors import HostUnreachable, PerdureError, Unavailable, Unimplemented
from perdure.base.tasks import Background
from perdure.rpc import lines
from perdure.rpc.call import CallMeta, RawHandler
from perdure.rpc.lines import (
    ASKS_BYTES_MAX,
    CALLS_MAX,
    FULL_AT,
    MESSAGE_BYTES,
    READ_BYTES_MAX,
    TOGETHER,
    Full,
    Late,
    Line,
    Switchboard,
)

OVER: Any = grpc.aio.EOF
ADDRESS = "host:7234"
Handle = Callable[[bytes, CallMeta], Awaitable[bytes]]


class Broken(Exception):
    """An abort."""


class Stream:
    """Both ends of a stream in one process; each message is noted. `pause`: nothing is taken until `go_on`."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answered: list[bytes] = []
        self.there: asyncio.Queue[Any] = asyncio.Queue()
        self.back: asyncio.Queue[Any] = asyncio.Queue()
        self.takes = asyncio.Event()
        self.takes.set()
        self.aborted: list[grpc.StatusCode] = []
        self.writes: asyncio.Queue[bytes] = asyncio.Queue()
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.cancelled = asyncio.Event()
        self.talk: Stream.There = Stream.There(self)

    async def write(self, message: bytes) -> None:
        self.writes.put_nowait(message)
        await self.takes.wait()
        self.asked.append(message)
        self.there.put_nowait(message)

    async def read(self) -> Any:
        found = await self.back.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def cancel(self) -> None:
        self.cancelled.set()
        self.there.put_nowait(OVER)
        self.back.put_nowait(asyncio.CancelledError())

    class There:
        """The other end."""

        def __init__(self, stream: "Stream") -> None:
            self._stream = stream

        async def read(self) -> Any:
            return await self._stream.there.get()

        async def write(self, message: bytes) -> None:
            await self._stream.takes.wait()
            self._stream.answered.append(message)
            self._stream.answers.put_nowait(message)
            self._stream.back.put_nowait(message)

        async def abort(self, code: grpc.StatusCode, _text: str) -> None:
            self._stream.aborted.append(code)
            raise Broken


def failure(text: str) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, text)


class Ends:
    """A line, and the switchboard that serves it."""

    def __init__(self, stream: Stream, board: Switchboard, line: Line) -> None:
        self.stream = stream
        self.board = board
        self.line = line
        self.broken: list[str] = []
        self.over = asyncio.Event()

    async def ask(self, body: bytes, path: str = "/echo", limit_s: float = 60.0) -> bytes:
        return await self.line.ask(path, body, limit_s)


@contextlib.asynccontextmanager
async def ends(idle_s: float = 60.0, **handlers: RawHandler) -> AsyncIterator[Ends]:
    async def echo(body: bytes, _meta: CallMeta) -> bytes:
        return body

    def meaning(error: grpc.aio.AioRpcError) -> PerdureError:
        found.broken.append(str(error.details()))
        return Unavailable(str(error.details()))

    async def serve() -> None:
        with contextlib.suppress(Broken):
            await board.talk(stream.talk, ("dns:frontend",))
            stream.back.put_nowait(OVER)
            found.over.set()

    stream = Stream()
    board = Switchboard({"/echo": echo, **{f"/{name}": handler for name, handler in handlers.items()}})
    errors: list[BaseException] = []
    background = Background(errors.append)
    background.spawn(serve())
    found = Ends(stream, board, Line(stream, ADDRESS, background, meaning, idle_s))
    try:
        yield found
    finally:
        await background.close()
    assert errors == []


class Waiting:
    """A method that waits until it is let."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[bytes] = asyncio.Queue()
        self.cancelled: asyncio.Queue[bytes] = asyncio.Queue()
        self.let = asyncio.Event()

    async def __call__(self, body: bytes, _meta: CallMeta) -> bytes:
        self.begun.put_nowait(body)
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled.put_nowait(body)
            raise
        return body


async def outcome(call: Awaitable[bytes]) -> Any:
    try:
        return await call
    except (PerdureError, Late, Full) as error:
        return error


async def test_calls_at_once_share_a_message_and_each_gets_its_answer() -> None:
    async with ends() as both:
        bodies = [str(number).encode() for number in range(500)]
        assert await asyncio.gather(*map(both.ask, bodies)) == bodies
        assert (len(both.stream.asked), len(both.stream.answered)) == (1, 1)


async def test_a_message_is_about_as_large_as_it_may_be_or_one_call() -> None:
    async with ends() as both:
        bodies = [bytes(MESSAGE_BYTES // 3)] * 7 + [bytes(3 * MESSAGE_BYTES)] * 2
        assert await asyncio.gather(*map(both.ask, bodies)) == bodies
        assert [len(message) // MESSAGE_BYTES for message in both.stream.asked] == [1, 1, 0, 3, 3]


async def test_what_is_known_of_a_call_arrives() -> None:
    seen: list[CallMeta] = []

    async def look(_body: bytes, meta: CallMeta) -> bytes:
        seen.append(meta)
        return b""

    async with ends(look=look) as both:
        await both.line.ask("/look", b"", 2.5, "00-trace-span-01")
    assert seen == [
        CallMeta(timeout_ns=2_500_000_000, certificate_names=("dns:frontend",), traceparent="00-trace-span-01")
    ]


async def test_a_call_that_is_cancelled_is_cancelled_there_and_no_other() -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as calls:
        kept = calls.create_task(both.ask(b"kept", "/wait"))
        given_up = calls.create_task(both.ask(b"given up", "/wait"))
        for _ in range(2):
            await method.begun.get()
        given_up.cancel()
        assert await method.cancelled.get() == b"given up"
        method.let.set()
        assert await kept == b"kept"
        assert await both.ask(b"another") == b"another"


async def test_a_call_that_is_late_is_cancelled_there() -> None:
    method = Waiting()
    async with ends(wait=method) as both:
        with pytest.raises(Late):
            await both.ask(b"late", "/wait", 0.01)
        assert await method.cancelled.get() == b"late"


async def test_a_call_that_is_cancelled_before_its_first_step_is_over() -> None:
    method = Waiting()
    async with ends(wait=method) as both:
        both.stream.there.put_nowait(msgspec.msgpack.encode([(1, "/wait"), (1, "")]))
        async with asyncio.timeout(5.0):
            [(number, kind, _)] = msgspec.msgpack.decode(await both.stream.answers.get())
            assert (number, kind) == (1, 2)
            both.board.close()
            await both.over.wait()  # nothing that was begun is left
        assert method.begun.empty()


async def test_a_call_that_is_over_before_it_was_sent_is_not_kept_nor_sent() -> None:
    async with ends() as both:
        both.stream.takes.clear()
        async with asyncio.TaskGroup() as calls:
            stuck = calls.create_task(both.ask(b"stuck"))
            await both.stream.writes.get()
            given_up = calls.create_task(both.ask(b"given up"))
            late = calls.create_task(outcome(both.ask(b"late", limit_s=0.01)))
            await asyncio.wait([late])
            given_up.cancel()
            await asyncio.wait([given_up])
            kept = calls.create_task(both.ask(b"kept"))
            both.stream.takes.set()
        assert (stuck.result(), kept.result()) == (b"stuck", b"kept")
        bodies = [body for message in both.stream.asked for _, _, _, body, _ in msgspec.msgpack.decode(message)]
        assert bodies == [b"stuck", b"kept"]


async def test_a_method_that_is_unknown_is_told() -> None:
    async with ends() as both:
        with pytest.raises(Unimplemented, match="unknown method /none"):
            await both.ask(b"", "/none")


async def test_a_method_that_cancels_itself_leaves_its_caller_in_doubt() -> None:
    async def give_up(_body: bytes, _meta: CallMeta) -> bytes:
        raise asyncio.CancelledError

    async with ends(give_up=give_up) as both:
        assert type(await outcome(both.ask(b"", "/give_up"))) is Unavailable


async def test_closing_answers_what_was_begun_and_begins_nothing() -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as calls:
        begun = calls.create_task(both.ask(b"begun", "/wait"))
        await method.begun.get()
        both.board.close()
        assert isinstance(await outcome(both.ask(b"after")), HostUnreachable)
        method.let.set()
        assert await begun == b"begun"
    assert both.stream.aborted == []
    assert both.broken == []


async def test_a_stream_that_ended_in_order_had_begun_nothing_more() -> None:
    async with ends() as both:
        assert await both.ask(b"first") == b"first"
        both.stream.takes.clear()  # what is written from now on is never read
        async with asyncio.TaskGroup() as calls:
            call = calls.create_task(outcome(both.ask(b"second")))
            both.stream.back.put_nowait(OVER)
        assert isinstance(call.result(), HostUnreachable)
        assert both.line.ended


async def test_a_stream_that_breaks_leaves_in_doubt_only_what_was_sent() -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as calls:
        sent = calls.create_task(outcome(both.ask(b"sent", "/wait")))
        await method.begun.get()
        both.stream.takes.clear()
        await both.stream.writes.get()
        writing = calls.create_task(outcome(both.ask(b"being written")))
        await both.stream.writes.get()
        unsent = calls.create_task(outcome(both.ask(b"unsent")))  # it runs before what is told next
        both.stream.back.put_nowait(failure("reset"))
    assert [type(call.result()) for call in (sent, writing, unsent)] == [Unavailable, Unavailable, HostUnreachable]
    assert both.broken == ["reset", "reset"]


async def test_a_stream_that_breaks_without_calls_is_told_all_the_same() -> None:
    async with ends() as both:
        await both.ask(b"")
        both.stream.back.put_nowait(failure("reset"))
        assert isinstance(await outcome(both.ask(b"")), Unavailable)
    assert set(both.broken) == {"reset"}


@pytest.mark.parametrize("message", [b"", b"\xc0", b"\x91\x91\x01", b"\xdd\xff\xff\xff\xff", b"\x91" * 100_000])
async def test_messages_that_are_not_readable_end_the_stream_in_doubt(message: bytes) -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as calls:
        calls.create_task(outcome(both.ask(b"begun", "/wait", 0.5)))
        await method.begun.get()
        both.stream.there.put_nowait(message)
        assert await method.cancelled.get() == b"begun"
    assert both.stream.aborted == [grpc.StatusCode.INTERNAL]


async def test_answers_that_are_not_readable_leave_calls_in_doubt() -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as calls:
        call = calls.create_task(outcome(both.ask(b"begun", "/wait")))
        await method.begun.get()
        both.stream.back.put_nowait(b"\xdd\xff\xff\xff\xff")
        assert type(await call) is Unavailable


async def test_a_number_in_use_and_too_many_calls_are_not_begun() -> None:
    method = Waiting()
    async with ends(wait=method) as both:
        asks = [(number, "/wait") for number in [*range(1, CALLS_MAX + 2), 1]]
        both.stream.there.put_nowait(msgspec.msgpack.encode(asks))
        refused = msgspec.msgpack.decode(await both.stream.answers.get())
        assert [(number, kind) for number, kind, _ in refused] == [(CALLS_MAX + 1, 4), (1, 1)]


async def test_a_full_line_says_so_of_itself_and_not_of_its_host() -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as calls:
        calls.create_task(both.ask(b"1", "/wait"))
        await method.begun.get()
        asks = [(number, "/wait") for number in range(CALLS_MAX, 2 * CALLS_MAX - 1)]  # of nobody that the line knows
        both.stream.there.put_nowait(msgspec.msgpack.encode(asks))
        await method.begun.get()
        assert isinstance(await outcome(both.ask(b"too many", "/wait")), Full)
        assert not both.line.ended
        assert both.broken == []
        method.let.set()


async def test_small_calls_are_so_many_to_a_message_and_a_line_says_when_it_has_enough() -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as group:
        calls = [group.create_task(both.ask(b"", "/wait")) for _ in range(FULL_AT)]
        for _ in range(FULL_AT):
            await method.begun.get()
        assert both.line.is_full
        assert [len(msgspec.msgpack.decode(message)) for message in both.stream.asked] == [TOGETHER, TOGETHER]
        method.let.set()
        await asyncio.wait(calls)
        assert not both.line.is_full


async def test_a_line_has_enough_when_the_other_end_does_not_take_what_is_large() -> None:
    async with ends() as both, asyncio.TaskGroup() as group:
        both.stream.takes.clear()
        body = bytes(MESSAGE_BYTES)
        calls = [group.create_task(both.ask(body)) for _ in range(ASKS_BYTES_MAX // MESSAGE_BYTES + 1)]
        await both.stream.writes.get()  # the first is on its way, the others wait
        was_full = [both.line.is_full]
        calls[-1].cancel()
        await asyncio.wait(calls[-1:])
        was_full.append(both.line.is_full)
        both.stream.takes.set()
    assert was_full == [True, False], "what is over waits no more"


def many(count: int) -> bytes:
    """A message of so many items, which would be of a few hundred bytes each once they are decoded."""
    return b"\xdd" + count.to_bytes(4) + b"\x92\x01\xa0" * count


@pytest.mark.parametrize("message", [many(100_000), msgspec.msgpack.encode([(1, "/wait", 0, bytes(READ_BYTES_MAX))])])
async def test_what_is_asked_in_too_large_a_message_is_not_decoded(message: bytes) -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as calls:
        calls.create_task(outcome(both.ask(b"begun", "/wait", 0.5)))
        await method.begun.get()
        both.stream.there.put_nowait(message)
        assert await method.cancelled.get() == b"begun"
        assert method.begun.empty()
    assert both.stream.aborted == [grpc.StatusCode.INTERNAL]


@pytest.mark.parametrize("message", [many(100_000), msgspec.msgpack.encode([(8, 0, bytes(READ_BYTES_MAX)), (9, 0)])])
async def test_answers_of_too_large_a_message_are_not_decoded(message: bytes) -> None:
    method = Waiting()
    async with ends(wait=method) as both, asyncio.TaskGroup() as calls:
        call = calls.create_task(outcome(both.ask(b"begun", "/wait")))
        await method.begun.get()
        both.stream.back.put_nowait(message)
        assert type(await call) is Unavailable


async def test_an_answer_by_itself_may_be_large() -> None:
    async def send(_body: bytes, _meta: CallMeta) -> bytes:
        return bytes(READ_BYTES_MAX)

    async with ends(send=send) as both:
        assert len(await both.ask(b"", "/send")) == READ_BYTES_MAX


async def test_refusals_that_are_not_taken_hold_up_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "_UNSENT_BYTES_MAX", 10_000)
    async with ends() as both, asyncio.TaskGroup() as calls:
        both.stream.takes.clear()
        for _ in range(5):
            both.stream.there.put_nowait(msgspec.msgpack.encode([(number, "/none") for number in range(50)]))
        answer = calls.create_task(both.stream.answers.get())
        await asyncio.wait([answer], timeout=0.1)
        assert both.stream.there.qsize() == 3
        both.stream.takes.set()
        while not both.stream.there.empty():
            await both.stream.answers.get()


async def test_a_line_without_calls_ends() -> None:
    async with ends(idle_s=0.01) as both:
        assert await both.ask(b"first") == b"first"
        await both.stream.cancelled.wait()
        assert both.line.ended


async def test_answers_that_are_not_taken_hold_up_what_is_asked() -> None:
    large = bytes(MESSAGE_BYTES)
    begun: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(body: bytes, _meta: CallMeta) -> bytes:
        begun.put_nowait(body)
        return large

    async with ends(send=send) as both, asyncio.TaskGroup() as calls:
        both.stream.takes.clear()
        asks = [msgspec.msgpack.encode([(number, "/send")]) for number in range(80)]
        for ask in asks[:60]:
            both.stream.there.put_nowait(ask)
            await begun.get()
        for ask in asks[60:]:
            both.stream.there.put_nowait(ask)
            await asyncio.wait([calls.create_task(begun.get())], timeout=0.02)
        assert not both.stream.there.empty()
        both.stream.takes.set()
        for _ in range(80):
            await both.stream.answers.get()
