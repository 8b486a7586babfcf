"""Calls between two hosts over one stream, several in a message: what the caller's end and the other end do.

A call of its own costs gRPC in Python more than all that a role does for it; on a stream the cost is of the message,
and under load a message carries many. Invariants: answers come in any order and each to its call; a caller that is
cancelled, late or gone cancels its call, and no other; when a stream ends in order, everything that was begun is
answered, so whatever has no answer was not begun. A message is about `MESSAGE_BYTES`, or one call; what is larger, or
of more calls, than this release would ever send ends the stream before it is decoded. A line that is full says so of
itself: its host is as well as ever. Refuses to know what is called.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import grpc
import grpc.aio
import msgspec
import structlog

from perdure.base.errors import HostUnreachable, PerdureError, Unavailable, Unimplemented
from perdure.base.limits import MIB
from perdure.base.tasks import Background
from perdure.rpc.call import CallMeta, RawHandler

log = structlog.get_logger(__name__)
PATH = "/perdure.internal.Host/Talk"
MESSAGE_BYTES = MIB
# What is read of a message with several calls; a call by itself may bring an answer of any size.
READ_BYTES_MAX = 16 * MIB
# At once on a stream. Who calls opens another one somewhat earlier, for the other end hears late of what is over.
CALLS_MAX = 10_000
FULL_AT = 8_000
# In a message, as it is written and as it is read.
TOGETHER = 4_000
_TOGETHER_MAX = 2 * CALLS_MAX
_UNSENT_BYTES_MAX = 64 * MIB
# Of a caller's line, of what the other end hasn't taken: with that much more calls go another way, as with `FULL_AT`.
ASKS_BYTES_MAX = 8 * MIB
# What an item costs while it waits, besides its body.
_ITEM_BYTES = 300
# What reading and writing raise when a stream is over.
_BROKEN = (grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
_ANSWERED, _NOT_BEGUN, _UNKNOWN, _NO_METHOD, _FULL = range(5)


class Late(Exception):
    """There was no answer in the time that a call had."""


class Full(Exception):
    """There are too many calls on the stream for this one, which was not begun."""


class _Ask(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`path` "" = the call of this number is cancelled. `left_us`: of its time when it was sent. `traceparent`: which
    trace it is a part of.
    """

    number: int
    path: str
    left_us: int = 0
    body: bytes = b""
    traceparent: str = ""


class _Answer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    number: int
    outcome: int
    body: bytes = b""


_encode = msgspec.msgpack.Encoder().encode
_read_asks = msgspec.msgpack.Decoder(list[_Ask]).decode
_read_answers = msgspec.msgpack.Decoder(list[_Answer]).decode


def _asks(message: bytes) -> list[_Ask]:
    """Raises MsgspecError, before it is decoded where it is too large."""
    if len(message) > READ_BYTES_MAX:
        raise msgspec.DecodeError(f"calls of {len(message)} bytes")
    _count(message)
    return _read_asks(message)


def _answers(message: bytes) -> list[_Answer]:
    """As `_asks`."""
    if _count(message) > 1 and len(message) > READ_BYTES_MAX:
        raise msgspec.DecodeError(f"answers of {len(message)} bytes")
    return _read_answers(message)


def _count(message: bytes) -> int:
    """How many items a message says that it has. Raises DecodeError for too many."""
    width = {0xDC: 2, 0xDD: 4}.get(message[0], 0) if message else 0
    count = int.from_bytes(message[1 : 1 + width]) if width else 0
    if count > _TOGETHER_MAX:
        raise msgspec.DecodeError(f"{count} items in a message")
    # Shorter ones have their length in the first byte; of what is no array the decoder complains.
    return count if width or not message else message[0] & 0x0F


class _Outbox:
    """What waits to be written to a stream, by its place in it. `emptied`: called when nothing does any more."""

    def __init__(self, write: Callable[[bytes], Awaitable[Any]], emptied: Callable[[], None]) -> None:
        self._write = write
        self._emptied = emptied
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._bytes = 0
        self._writing = False
        self._put = 0
        self.waiting: OrderedDict[int, _Ask | _Answer] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """Whether all has been written."""
        return not self.waiting and not self._writing

    @property
    def size(self) -> int:
        """Bytes that wait, about."""
        return self._bytes

    def put(self, item: _Ask | _Answer) -> int:
        """Have it written; its place."""
        self._put += 1
        self.waiting[self._put] = item
        self._bytes += len(item.body) + _ITEM_BYTES
        if self._bytes > _UNSENT_BYTES_MAX:
            self._room.clear()
        self._news.set()
        return self._put

    def take_back(self, place: int) -> bool:
        """Don't write what has this place; False if that is begun."""
        item = self.waiting.pop(place, None)
        if item is not None:
            self._gone(len(item.body) + _ITEM_BYTES)
        return item is not None

    async def wait_room(self) -> None:
        """Return when the other side has taken enough of it."""
        await self._room.wait()

    async def run(self) -> None:
        """Write, until cancelled or the stream has ended: whoever reads it learns how."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                self._writing = True
                while self.waiting:
                    await self._write(_encode(self._next()))
                self._writing = False
                self._emptied()
        except _BROKEN:
            pass

    def _next(self) -> list[_Ask | _Answer]:
        """As much as goes into one message, at least one."""
        taken: list[_Ask | _Answer] = []
        size = 0
        while self.waiting:
            place, item = self.waiting.popitem(last=False)
            if taken and (size + len(item.body) > MESSAGE_BYTES or len(taken) >= TOGETHER):
                self.waiting[place] = item
                self.waiting.move_to_end(place, last=False)
                break
            size += len(item.body)
            taken.append(item)
        self._gone(size + len(taken) * _ITEM_BYTES)
        return taken

    def _gone(self, size: int) -> None:
        self._bytes -= size
        if self._bytes <= _UNSENT_BYTES_MAX:
            self._room.set()


class Line:
    """The caller's end. `meaning`: what a call raises that was sent when the stream ended so. `idle_s`: after that time
    without calls it ends.
    """

    def __init__(
        self,
        stream: Any,
        address: str,
        background: Background,
        meaning: Callable[[grpc.aio.AioRpcError], PerdureError],
        idle_s: float,
    ) -> None:
        self._stream = stream
        self._address = address
        self._meaning = meaning
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._idle = asyncio.Event()
        self._idle_s = idle_s
        self._idle_timer: asyncio.TimerHandle | None = None
        self._outbox = _Outbox(stream.write, lambda: None)
        self._writer = background.spawn(self._outbox.run())
        self._writer.add_done_callback(lambda _: stream.cancel())
        background.spawn(self._listen())
        self.ended = False

    @property
    def is_full(self) -> bool:
        """Whether more calls should go another way."""
        return len(self._calls) >= FULL_AT or self._outbox.size > ASKS_BYTES_MAX

    async def ask(self, path: str, body: bytes, limit_s: float, traceparent: str = "") -> bytes:
        """The bytes of the answer. Raises Late; HostUnreachable, Full: it was not begun; Unavailable: nobody knows."""
        loop = asyncio.get_running_loop()
        self._number += 1
        number, answer = self._number, loop.create_future()
        self._calls[number] = answer
        self._idle.clear()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        place = self._outbox.put(_Ask(number, path, int(limit_s * 1_000_000), body, traceparent))
        timer = loop.call_later(limit_s, self._expire, number, place)
        try:
            found: bytes = await answer
            return found
        finally:
            timer.cancel()
            if self._take(number) is not None:
                self._give_up(number, place)

    async def finish(self, grace_s: float) -> None:
        """End the stream when nobody waits for an answer any more, or after `grace_s`."""
        if self._calls and grace_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace_s)
        self._stream.cancel()

    def _take(self, number: int) -> asyncio.Future[bytes] | None:
        answer = self._calls.pop(number, None)
        if not self._calls and answer is not None:
            self._idle.set()
            if not self.ended:
                self._idle_timer = asyncio.get_running_loop().call_later(self._idle_s, self._retire)
        return answer

    def _retire(self) -> None:
        self.ended = True
        self._stream.cancel()

    def _give_up(self, number: int, place: int) -> None:
        """Nobody wants the answer. What the other end doesn't take must not be kept for calls that are over."""
        if not self._outbox.take_back(place):
            self._outbox.put(_Ask(number, ""))

    def _expire(self, number: int, place: int) -> None:
        answer = self._take(number)
        if answer is not None:
            self._give_up(number, place)
            if not answer.done():
                answer.set_exception(Late())

    async def _listen(self) -> None:
        why: grpc.aio.AioRpcError | None = None
        in_order = False
        try:
            while (message := await self._stream.read()) is not grpc.aio.EOF:
                for each in _answers(message):
                    self._settle(each)
            in_order = True
        except grpc.aio.AioRpcError as error:
            why = error
        except msgspec.MsgspecError as error:
            log.warning("answers of another host are not readable", address=self._address, reason=str(error))
            self._stream.cancel()
        finally:
            self._end(why, in_order=in_order)

    def _settle(self, found: _Answer) -> None:
        answer = self._take(found.number)
        if answer is None or answer.done():
            return  # its caller is gone
        if found.outcome == _ANSWERED:
            answer.set_result(found.body)
        elif found.outcome == _NOT_BEGUN:
            answer.set_exception(HostUnreachable(f"{self._address} is stopping", self._address))
        elif found.outcome == _FULL:
            answer.set_exception(Full())
        elif found.outcome == _NO_METHOD:
            answer.set_exception(Unimplemented(f"{self._address}: {found.body.decode(errors='replace')}"))
        else:
            answer.set_exception(Unavailable(f"{self._address} has cancelled the call"))

    def _end(self, why: grpc.aio.AioRpcError | None, *, in_order: bool) -> None:
        self.ended = True
        self._writer.cancel()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        unsent = {item.number for item in self._outbox.waiting.values()}
        # Who watches hosts learns of it by `meaning`, whether calls were on their way or not.
        meanings = [self._meaning(why)] if why is not None else []
        for number in list(self._calls):
            answer = self._take(number)
            if answer is None or answer.done():
                continue
            if in_order or number in unsent:
                answer.set_exception(HostUnreachable(f"{self._address} has ended the connection", self._address))
            elif why is not None:
                answer.set_exception(meanings.pop() if meanings else self._meaning(why))
            else:
                answer.set_exception(Unavailable(f"the connection to {self._address} was closed"))


class Switchboard:
    """The other end of all lines of a listener. `handlers`: by path."""

    def __init__(self, handlers: Mapping[str, RawHandler]) -> None:
        self.handlers = handlers
        self._talks: set[_Talk] = set()

    async def talk(self, context: Any, names: tuple[str, ...]) -> None:
        """Serve a stream to its end. `names`: in the caller's certificate."""
        talk = _Talk(self.handlers, context, names)
        self._talks.add(talk)
        try:
            await talk.run()
        finally:
            self._talks.discard(talk)

    def close(self) -> None:
        """Begin nothing any more, and end each stream when what was begun is answered."""
        for talk in self._talks:
            talk.close()


class _Talk:
    """One stream."""

    def __init__(self, handlers: Mapping[str, RawHandler], context: Any, names: tuple[str, ...]) -> None:
        self._handlers = handlers
        self._context = context
        self._names = names
        self._calls: dict[int, asyncio.Task[bytes]] = {}
        self._outbox = _Outbox(context.write, self._check)
        self._background = Background(lambda error: log.error("a stream of calls failed", exc_info=error))
        self._over = asyncio.Event()
        self._closed = False
        self._in_order = False

    async def run(self) -> None:
        try:
            for work in (self._outbox.run(), self._read()):
                self._background.spawn(work).add_done_callback(lambda _: self._over.set())
            await self._over.wait()
            if not self._in_order:
                # What was begun is cancelled: the caller must not take it for not begun.
                await self._context.abort(grpc.StatusCode.INTERNAL, "the stream can't go on")
        finally:
            await self._background.close()

    def close(self) -> None:
        self._closed = True
        self._check()

    def _check(self) -> None:
        if self._closed and not self._calls and self._outbox.is_empty:
            self._in_order = True
            self._over.set()

    async def _read(self) -> None:
        try:
            while (message := await self._context.read()) is not grpc.aio.EOF:
                self._take(_asks(message))
                await self._outbox.wait_room()
        except (msgspec.MsgspecError, RecursionError) as error:
            log.warning("calls of another host are not readable", reason=str(error))
        except _BROKEN:
            pass

    def _take(self, asks: Iterable[_Ask]) -> None:
        for ask in asks:
            handler = self._handlers.get(ask.path)
            if not ask.path:
                call = self._calls.get(ask.number)
                if call is not None:
                    call.cancel()
            elif handler is None:
                self._outbox.put(_Answer(ask.number, _NO_METHOD, f"unknown method {ask.path[:100]}".encode()))
            elif self._closed or ask.number in self._calls:
                self._outbox.put(_Answer(ask.number, _NOT_BEGUN))
            elif len(self._calls) >= CALLS_MAX:
                self._outbox.put(_Answer(ask.number, _FULL))
            else:
                call = self._calls[ask.number] = self._background.spawn(self._serve(handler, ask))
                # Not at its end: a call that is cancelled before its first step has none.
                call.add_done_callback(partial(self._served, ask.number))

    async def _serve(self, handler: RawHandler, ask: _Ask) -> bytes:
        meta = CallMeta(
            timeout_ns=max(1, ask.left_us * 1_000), certificate_names=self._names, traceparent=ask.traceparent
        )
        return await handler(ask.body, meta)

    def _served(self, number: int, call: asyncio.Task[bytes]) -> None:
        del self._calls[number]
        is_answered = not call.cancelled() and call.exception() is None
        self._outbox.put(_Answer(number, _ANSWERED, call.result()) if is_answered else _Answer(number, _UNKNOWN))
