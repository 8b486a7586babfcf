"""The driver's connections on the loop that asks, without a thread of their own between it and the sockets.

A thread that reads answers waits for Python's lock as long as the loop has work, up to 5 ms for each answer and each
request. Here a turn of the loop takes all answers that have come, and what it asks for leaves in two writes at most:
the first request at once, the others together. Invariants: only the loop's thread touches a socket once it is
connected, and what other threads of the driver send is handed over to it; a full socket is no reason to refuse a
request. Connecting, with what it waits for, happens in the driver's threads. Knows no request.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable
from typing import Any

from cassandra.connection import Connection, ConnectionShutdown

# Not now: the socket is full or empty, or TLS has to hear or say something first.
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Owner:
    """A loop and its thread. Made in that thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @property
    def is_here(self) -> bool:
        """Whether the caller is in the loop's thread."""
        return threading.get_ident() == self._thread

    def call(self, work: Callable[..., None], *arguments: object) -> bool:
        """Do it in the loop's thread: at once if this is it. False if the loop is closed."""
        if self.is_here:
            work(*arguments)
            return True
        try:
            self._loop.call_soon_threadsafe(work, *arguments)
        except RuntimeError:
            return False
        return True

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop


class _Timer:
    """The driver's timer. Made and cancelled in any thread."""

    def __init__(self, owner: Owner, seconds: float, done: Callable[[], None]) -> None:
        self._owner = owner
        self._is_over = False
        self._handle: asyncio.TimerHandle | None = None
        owner.call(self._begin, seconds, done)

    def cancel(self) -> None:
        self._is_over = True
        self._owner.call(self._end)

    def _begin(self, seconds: float, done: Callable[[], None]) -> None:
        if not self._is_over:
            self._handle = self._owner.loop.call_later(max(0.0, seconds), done)

    def _end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()


class LoopConnection(Connection):  # type: ignore[misc]  # the driver has no types
    """A connection of the loop that `on_this_loop` was called on."""

    # Bytes of one look at the socket.
    in_buffer_size = 64 << 10
    is_closed = False
    owner: Owner

    @classmethod
    def initialize_reactor(cls) -> None:
        """Nothing to start: the loop runs."""

    @classmethod
    def handle_fork(cls) -> None:
        """Nothing to clean up."""

    @classmethod
    def create_timer(cls, timeout: float, callback: Callable[[], None]) -> _Timer:
        """Have `callback` called by the loop after so many seconds."""
        return _Timer(cls.owner, timeout, callback)

    def __init__(self, *arguments: Any, **more: Any) -> None:
        Connection.__init__(self, *arguments, **more)
        self._unsent: list[bytes] = []
        self._rest = memoryview(b"")  # of what was begun to be sent
        self._is_due = False  # whether `_send` will be called
        self._is_full = False  # whether the socket will say when
        self._connect_socket()
        self._socket.setblocking(False)
        if not self.owner.call(self._attach):
            self._socket.close()
            raise ConnectionShutdown(f"The loop of the connection to {self.endpoint} is closed")
        self._send_options_message()

    def push(self, data: bytes) -> None:
        """Send it: at once, or with all else that this turn of the loop asks for."""
        self.owner.call(self._enqueue, data)

    def close(self) -> None:
        """Close it; whoever waits for an answer is told."""
        with self.lock:
            if self.is_closed:
                return
            self.is_closed = True
        if not self.owner.call(self._detach):
            self._socket.close()
        if not self.is_defunct:
            error = ConnectionShutdown(f"Connection to {self.endpoint} was closed")
            if not self.connected_event.is_set():
                self.last_error = error
            self.error_all_requests(error)
            self.connected_event.set()

    def _attach(self) -> None:
        if not self.is_closed:
            self.owner.loop.add_reader(self._socket.fileno(), self._receive)

    def _detach(self) -> None:
        number = self._socket.fileno()
        if number >= 0:
            self.owner.loop.remove_reader(number)
            self.owner.loop.remove_writer(number)
            self._socket.close()
        self._unsent.clear()
        self._rest = memoryview(b"")

    def _enqueue(self, data: bytes) -> None:
        if self.is_closed:
            return
        self._unsent.append(data)
        if not self._is_due:
            self._send()  # the first of a turn at once, the others together
            self._is_due = True
            self.owner.loop.call_soon(self._send)

    def _send(self) -> None:
        """Send as much as the socket takes; the rest when it takes more."""
        if self.is_closed:
            return
        try:
            while self._rest or self._unsent:
                if not self._rest:
                    self._rest = memoryview(self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent))
                    self._unsent.clear()
                self._rest = self._rest[self._socket.send(self._rest) :]
        except _NOT_NOW:
            if not self._is_full:
                self._is_full = True
                self.owner.loop.add_writer(self._socket.fileno(), self._send)
        except OSError as error:
            self.defunct(error)
        else:
            self._is_due = False
            if self._is_full:
                self._is_full = False
                self.owner.loop.remove_writer(self._socket.fileno())

    def _receive(self) -> None:
        """Take what has come."""
        if self.is_closed:
            return
        is_over = False
        try:
            while True:
                data = self._socket.recv(self.in_buffer_size)
                self._iobuf.write(data)
                is_over = not data
                # TLS may have decoded more than was asked for, of which the loop would not hear.
                if is_over or (len(data) < self.in_buffer_size and self.ssl_context is None):
                    break
        except _NOT_NOW:
            pass
        except OSError as error:
            self.defunct(error)
            return
        if self._iobuf.tell():
            self.process_io_buffer()
        if is_over:
            self.close()


def on_this_loop() -> type[LoopConnection]:
    """The class of connections that belong to the running loop."""
    return type("Connection", (LoopConnection,), {"owner": Owner()})
