"""One process of a simulated cluster, whatever it is made of, and what runs in it.

Invariant: each task knows its process; after a process has died nothing goes on that it had begun, and nothing that it
begins begins. What would run in a stopped one waits. Refuses to know what a process serves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

from perdure.base.errors import Unavailable
from perdure.base.tasks import Background
from perdure.frontend.frontend import Frontend
from perdure.server.cluster import HistoryPart
from perdure.testing.entropy import SeededEntropy
from perdure.testing.faulty_store import FaultyStore
from perdure.testing.loop import VirtualClock

T = TypeVar("T")
HERE: ContextVar["Running | None"] = ContextVar("process", default=None)


class Running:
    """One process, whatever it is made of. `is_dead`: it was killed. `is_abandoned`: it goes on, but has a successor.
    `held`: what it would do if it were not stopped, None while it isn't. `frontend`, `history`: None where it has none.
    """

    frontend: Frontend | None
    history: HistoryPart | None

    def __init__(self, name: str, place: int, clock: VirtualClock, entropy: SeededEntropy, store: FaultyStore) -> None:
        self.name = name
        self.place = place
        self.is_dead = False
        self.is_abandoned = False
        self.held: list[asyncio.Handle] | None = None
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in the order of their making, which a set has not
        self.context: Context = copy_context()
        self.context.run(HERE.set, self)
        self._background = Background(lambda error: None)
        self.clock = clock
        self.entropy = entropy
        self.store = store

    async def begin(self) -> None:
        """Return when it answers. Raises Unavailable."""
        raise NotImplementedError

    async def end(self) -> None:
        """Stop in good order."""
        raise NotImplementedError

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run `work` as this host's."""
        return self.context.run(self._background.spawn, work, name)

    async def serve(self, name: str, do: Callable[[], Awaitable[T]], workflow_id: str = "") -> T:
        """Do what a peer asks, as this host. Raises Unavailable if it dies meanwhile."""
        if self.is_dead:
            raise Unavailable("Connection refused.")

        async def work() -> T:
            return await do()

        task = self.spawn(work(), name)
        try:
            return await (asyncio.shield(task) if self.held is not None else task)  # who stands still ends no call
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if task.cancelled() and current is not None and not current.cancelling():
                raise Unavailable("Connection lost.") from error
            raise


def is_outlived() -> bool:
    """Whether the code that asks runs in a host that is dead, or whose successor has taken over.

    Such a host may see what it can't explain, and says so; only what it does counts.
    """
    host = HERE.get()
    return host is not None and (host.is_dead or host.is_abandoned)


def held_of(context: Context) -> list[asyncio.Handle] | None:
    """Where what is to run in a stopped host has to wait; None for all others."""
    host = context.get(HERE)
    return host.held if host is not None else None


def owned_task(
    loop: asyncio.AbstractEventLoop, coro: Any, *, context: Context | None = None, **rest: Any
) -> asyncio.Task[Any]:
    """A task that its host knows of; one that a dead host makes ends before it begins."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context, **rest)
    host = context.get(HERE) if context is not None else HERE.get()
    if host is not None:
        if host.is_dead:
            task.cancel()
        else:
            host.tasks[task] = None
            task.add_done_callback(lambda done: host.tasks.pop(done, None))
    return task
