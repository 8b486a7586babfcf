"""A thread that does jobs for one event loop, as many at a time as have queued up, and answers them in one wake-up of
the loop.

Invariants: what is queued and not answered is bounded in bytes, and callers wait for room in the order they came; every
job is answered. Knows no SQL.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from perdure.base.errors import StoreUnavailable

T = TypeVar("T")

# What one transaction takes at most: its own time and memory, and what one failed fsync leaves in doubt.
BATCH_JOBS_MAX = 1024
BATCH_BYTES_MAX = 16 << 20
QUEUE_BYTES_MAX = 64 << 20
_JOB_BYTES = 1024


class Job:
    """A piece of work for the thread; `size` in bytes. The thread sets `value` or `error`."""

    __slots__ = ("error", "future", "run", "size", "value")

    def __init__(self, run: Callable[..., Any], size: int, future: asyncio.Future[Any]) -> None:
        self.run = run
        self.size = size
        self.future = future
        self.value: Any = None
        self.error: BaseException | None = None


class Room:
    """A bounded number of bytes, given out in order of asking. What is larger than the whole gets in when nobody else
    is.
    """

    __slots__ = ("_used", "_waiting", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def _fits(self, size: int) -> bool:
        return self._used == 0 or self._used + size <= self.limit

    async def enter(self, size: int) -> None:
        """Take `size` bytes, waiting until there are so many."""
        if not self._waiting and self._fits(size):
            self._used += size
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, future))
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.leave(size)
            else:
                self._admit()
            raise

    def leave(self, size: int) -> None:
        """Give `size` bytes back."""
        self._used -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            size, future = self._waiting[0]
            if future.cancelled():
                self._waiting.popleft()
            elif self._fits(size):
                self._waiting.popleft()
                self._used += size
                future.set_result(None)
            else:
                return


class WorkThread:
    """Runs `work` on batches of jobs in a thread of its own, until `close`; then `finish`."""

    def __init__(self, name: str, work: Callable[[list[Job]], None], finish: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._room = Room(QUEUE_BYTES_MAX)
        self._work = work
        self._finish = finish
        self._ended = self._loop.create_future()
        self._closing = False
        # A daemon: what was acknowledged is durable, so a process that ends without closing loses nothing.
        threading.Thread(target=self._main, name=name, daemon=True).start()

    async def submit(self, run: Callable[..., T], size: int = 0) -> T:
        """The result of `run` in the thread; `size`: bytes that it keeps in memory until then."""
        size += _JOB_BYTES
        await self._room.enter(size)
        if self._closing:
            self._room.leave(size)
            raise StoreUnavailable("The store is closed.")
        job = Job(run, size, self._loop.create_future())
        self._queue.put(job)
        value: T = await job.future
        return value

    async def close(self) -> None:
        """Do what is queued, refuse what comes, end the thread."""
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await asyncio.shield(self._ended)

    def _main(self) -> None:
        more = True
        while more:
            jobs, more = self._next_batch()
            if jobs:
                try:
                    self._work(jobs)
                except BaseException as error:  # noqa: BLE001 - the callers get it; the thread goes on for others
                    for job in jobs:
                        job.error = job.error or error
                self._answer(self._settle, jobs)
        self._finish()
        self._answer(self._ended.set_result, None)

    def _next_batch(self) -> tuple[list[Job], bool]:
        """What is queued, at least one job; and whether more may come."""
        jobs: list[Job] = []
        size = 0
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            size += job.size
            if len(jobs) >= BATCH_JOBS_MAX or size >= BATCH_BYTES_MAX:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _answer(self, call: Callable[[Any], None], argument: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, argument)
        except RuntimeError:
            # The loop is closed: nobody is left to be answered.
            self._closing = True

    def _settle(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._room.leave(job.size)
            if job.future.done():
                continue
            if job.error is None:
                job.future.set_result(job.value)
            else:
                job.future.set_exception(job.error)
