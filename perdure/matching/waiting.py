"""Who waits at a partition: workers for a task, and queries for a worker.

Invariant: what was handed to a waiter (`work`) is its own until it is put back or answered; a waiter that has `ended`
gets nothing more. A waiting poll costs one future and one timer, no task.
"""

import asyncio
from typing import TYPE_CHECKING, Protocol

from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.workflowservice.v1 import RespondQueryTaskCompletedRequest

from perdure.cluster.roles import Call, Poll, QueryTask
from perdure.matching.matcher import Held
from perdure.workflow.tasks import Offer

if TYPE_CHECKING:
    from perdure.matching.partition import Partition

# Waits are cut by up to this share, so that polls that began together don't all come again together.
JITTER = 1 / 6


class Taker(Protocol):
    """What the matcher serves: a poll, or a branch that has polls."""

    def give(self, work: "Held[Offer] | Question", *, from_backlog: bool) -> bool:
        """This is for it; True if it takes more."""
        ...

    def end(self) -> None:
        """The wait is over."""
        ...


class Waiter:
    """A worker's poll. `work` is what the matcher gave it last, `from_backlog` whether that had waited before."""

    __slots__ = (
        "call",
        "capabilities",
        "ended",
        "from_backlog",
        "future",
        "has_left",
        "partition",
        "poll",
        "since_ns",
        "work",
    )

    def __init__(self, poll: Poll, call: Call, since_ns: int) -> None:
        self.poll = poll
        self.call = call
        self.since_ns = since_ns
        self.ended = False
        self.has_left = False
        self.from_backlog = False
        self.work: Held[Offer] | Question | None = None
        self.future: asyncio.Future[None] | None = None
        self.partition: Partition | None = None
        self.capabilities: WorkerVersionCapabilities | None = None
        if poll.capabilities:
            self.capabilities = WorkerVersionCapabilities.FromString(poll.capabilities)

    def give(self, work: "Held[Offer] | Question", *, from_backlog: bool) -> bool:
        """This is its work."""
        self.work = work
        self.from_backlog = from_backlog
        self.wake()
        return False

    def wake(self) -> None:
        """There is work, or the wait is over."""
        if self.future is not None and not self.future.done():
            self.future.set_result(None)

    def end(self) -> None:
        """The wait is over: an empty answer."""
        self.ended = True
        if self.partition is not None:
            self.partition.leave(self)
        self.wake()

    def shut_down(self) -> None:
        """The worker is gone: an empty answer, and it is not shown as a poller any more."""
        self.has_left = True
        self.end()
        if self.partition is not None:
            self.partition.forget_poller(self.poll.identity)


class Question:
    """A query that waits, first for a worker, then for its answer."""

    __slots__ = ("answer", "call", "task")

    def __init__(self, task: QueryTask, call: Call, answer: asyncio.Future[RespondQueryTaskCompletedRequest]) -> None:
        self.task = task
        self.call = call
        self.answer = answer

    def fail(self, error: BaseException) -> None:
        """It can't be answered; nothing if it was already, or if nobody waits."""
        if not self.answer.done():
            self.answer.set_exception(error)


def wait_ns(timeout_ns: int, longest_ns: int, fraction: float) -> int:
    """How long a poll may wait that has `timeout_ns` left (0 = no limit): less by a share by `fraction`. What the way
    home takes is not in it: whoever knows the caller has kept that back.
    """
    if timeout_ns > 0:
        longest_ns = min(longest_ns, timeout_ns)
    return int(longest_ns * (1 - JITTER * fraction))
