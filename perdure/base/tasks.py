"""Background tasks that cannot vanish. The only module that creates asyncio tasks.

A bare task that nobody awaits may be collected while it runs and hides its exception. `Background` owns its tasks: it
keeps them, cancels them on `close`, and hands an unexpected exception to `on_error` at once. `Endings` ends tasks whose
callers are still there.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Background:
    """A set of running tasks with one owner, one loop and one error handler."""

    __slots__ = ("_on_error", "_tasks")

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their making: a set's differs from run to run
        self._on_error = on_error

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run `work` on the running loop; its exception, unless it is a cancellation, goes to the error handler."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_error(error)

    async def close(self) -> None:
        """Cancel what still runs and wait until it has ended."""
        pending = list(self._tasks)
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)


class Endings:
    """Tasks of others that are ended from here, as against cancelled by those who wait for them."""

    __slots__ = ("_ended",)

    def __init__(self) -> None:
        self._ended: set[asyncio.Task[Any]] = set()

    def end(self, task: asyncio.Task[Any]) -> None:
        """Cancel it."""
        self._ended.add(task)
        task.cancel()

    def is_alone(self, task: asyncio.Task[Any]) -> bool:
        """Asked by a task that was cancelled: whether it was ended from here and by nobody else. Then it may go on."""
        return task in self._ended and task.uncancel() == 0

    def forget(self, task: asyncio.Task[Any]) -> None:
        """It is over."""
        self._ended.discard(task)
