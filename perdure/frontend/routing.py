"""Reaching the owner of a chain or of a task-queue partition, and trying again where that is safe.

Invariant: a call that may have taken effect is repeated only if it is a read or its request id makes it idempotent, and
a few times. A call that certainly did nothing, for there was no owner, no connection, or another owner, is repeated
until the caller's time is over. Refuses to wait beyond that, and beyond `FOLLOW_S` for a caller without a deadline.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import structlog

from perdure.base.clock import SECOND_NS
from perdure.base.entropy import Entropy
from perdure.base.errors import HostUnreachable, PartitionElsewhere, ShardElsewhere, Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, Directory, HistoryRole, MatchingRole
from perdure.cluster.routed import Timed
from perdure.workflow.tasks import QueueKey

ATTEMPTS_MAX = 8
# A host that was killed is found dead, and its shards are taken, in less.
FOLLOW_S = 20.0
_FIRST_PAUSE_S = 0.02
# A shard that moves is away for a tenth of a second: who waits for it looks often at first, and never seldom. What may
# have been done is tried a few times only, which have to outlast more than a move.
_CERTAIN_TIMES, _CERTAIN_S_MAX = 1.5, 0.5
_DOUBTFUL_TIMES, _DOUBTFUL_S_MAX = 2.0, 1.0
# The record of a repetition after which even a refusal may be of something that was done.
MAYBE_DONE = "a call that may have been done is repeated"
log = structlog.get_logger(__name__)
_Answer = TypeVar("_Answer")
_Role = TypeVar("_Role")


class Routing:
    """Calls to other roles, with bounded repetition while shards and partitions move."""

    def __init__(self, directory: Directory, entropy: Entropy) -> None:
        self._directory = directory
        self._entropy = entropy

    async def transact(self, key: ChainKey, request: Any, call: Call, *, repeatable: bool) -> Any:
        """Decide `request` on the chain and return its reply. `repeatable`: doing it twice is doing it once."""
        return await self.on_history(
            key, lambda role, rest: role.transact(key, request, rest), call, repeatable=repeatable
        )

    async def on_history(
        self, key: ChainKey, act: Callable[[HistoryRole, Call], Awaitable[_Answer]], call: Call, *, repeatable: bool
    ) -> _Answer:
        """`act` on the owner of the chain's slot, with the time that is left. Raises Unavailable once attempts
        or the caller's time are used up.
        """
        slot, timed = key.slot, Timed(call)
        certain = (ShardElsewhere, HostUnreachable)
        find = partial(self._directory.history, slot)
        return await self._repeat(
            find,
            lambda role: act(role, timed.call()),
            call.timeout_ns,
            certain,
            repeatable=repeatable,
            about={"wf_id": key.workflow_id},
        )

    async def on_matching(
        self,
        partition: QueueKey,
        act: Callable[[MatchingRole], Awaitable[_Answer]],
        timeout_ns: int,
        *,
        repeatable: bool = True,
    ) -> _Answer:
        """`act` on the owner of the partition, as `on_history`; within `timeout_ns`, 0 = the caller has no deadline."""
        certain = (PartitionElsewhere, HostUnreachable)
        find = partial(self._directory.matching, partition)
        about = {"task_queue": partition.name}
        return await self._repeat(find, act, timeout_ns, certain, repeatable=repeatable, about=about)

    async def _repeat(
        self,
        find: Callable[[], _Role],
        act: Callable[[_Role], Awaitable[_Answer]],
        timeout_ns: int,
        certain: tuple[type[Unavailable], ...],
        *,
        repeatable: bool,
        about: Mapping[str, str],
    ) -> _Answer:
        """`certain`: errors that say that nothing was done. `about`: what log records name."""
        begun = asyncio.get_running_loop().time()
        longest_s = timeout_ns / SECOND_NS if timeout_ns else FOLLOW_S
        unfound = doubtful = 1
        while True:
            reached = False
            try:
                role = find()
                reached = True
                return await act(role)
            except Unavailable as error:
                if reached and not isinstance(error, certain):
                    if not repeatable or doubtful >= ATTEMPTS_MAX:
                        raise
                    full = min(_FIRST_PAUSE_S * _DOUBTFUL_TIMES ** (doubtful - 1), _DOUBTFUL_S_MAX)
                    doubtful += 1
                    log.debug(MAYBE_DONE, **about, error=error.message)
                else:
                    full = min(_FIRST_PAUSE_S * _CERTAIN_TIMES ** min(unfound - 1, 20), _CERTAIN_S_MAX)
                    unfound += 1
                pause = full * (0.5 + self._entropy.fraction())
                if asyncio.get_running_loop().time() - begun + pause >= longest_s:
                    raise
            await asyncio.sleep(pause)
