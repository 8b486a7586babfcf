"""The shard log under one owner: group commit, segments, and the ceiling for checkpoint stamps.

Invariants, by the rules of the shard log: a group has its number and, once sent, its bytes for ever (L2); one
conditional write is in flight; a segment is opened, linked and only then appended to (L1); a group is either
committed or the log is failed for good, and nothing of it is acted on before. Waiters are woken in log order. Knows
nothing of what a transition means.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

import msgspec
import structlog

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Bug, ShardLost, StoreUnavailable, Unavailable
from perdure.base.tasks import Background
from perdure.shards.contract import Transition
from perdure.shards.groups import (
    GROUP_MAX,
    INDEX_BITS,
    GroupBody,
    encode_group,
    first_position,
    last_position,
)
from perdure.shards.options import World
from perdure.shards.retrying import delay_s, once, settled
from perdure.store.contract import Group, OutcomeUnknown, SegmentHeader, SegmentId, Written

log = structlog.get_logger(__name__)

Entry = tuple[int, Transition]
_IN_DOUBT = "The store gives no definite answer; ask again."


class Listener(Protocol):
    """Whom the log tells, and whom it asks what a group has to carry."""

    def committed(self, entries: Sequence[Entry]) -> None:
        """These are durable; called in log order, before waiters go on."""
        ...

    def released(self, entries: Sequence[Entry]) -> None:
        """The waiters of these have been woken."""
        ...

    def failed(self, reason: str) -> None:
        """Nothing more will be committed; everything uncommitted is void."""
        ...

    def floor(self) -> int:
        """The oldest position that no checkpoint holds."""
        ...

    def now_ns(self) -> int:
        """The shard's time."""
        ...


class Stretch(msgspec.Struct):
    """A segment of the chain that is still there: its newest group and how many bytes of groups it has."""

    segment: SegmentId
    last: int
    bytes: int = 0
    records: int = 0


class LogStart(msgspec.Struct, frozen=True):
    """Where an owner begins: its own empty segment, linked behind `behind`. Stamps start above `stamped_us`."""

    segment: SegmentId
    last: int
    stamped_us: int = 0
    behind: Sequence[Stretch] = ()


class _Group:
    """Transitions that will be committed together. Open until it is sent or full."""

    __slots__ = ("bytes", "callers", "entries", "number", "waiters")

    def __init__(self, number: int) -> None:
        self.number = number
        self.entries: list[Entry] = []
        self.bytes = 0
        self.waiters: list[asyncio.Future[None]] = []
        self.callers: list[asyncio.Future[None]] = []  # who doesn't wait for as long as it takes


class ShardLog:
    """See the module. `background` runs its writer; nothing happens before `start`. `committed`, `sent`: the greatest
    position that is durable, and that may be. `appended`: transitions so far.
    """

    def __init__(self, world: World, start: LogStart, listener: Listener, background: Background) -> None:
        self._world = world
        self._store = world.store.log
        self._listener = listener
        self._background = background
        self._segment = start.segment
        self._number = start.segment.number
        self._last = start.last
        self._next_number = start.last + 1
        self._ceiling_us = 0
        self._stamped_us = start.stamped_us
        self._stretches = deque([*start.behind, Stretch(start.segment, start.last)])
        self._roll_bytes = world.options.segment_bytes
        self._queue: deque[_Group] = deque()
        self._open: _Group | None = None
        self._idle: asyncio.Future[None] | None = None
        self._begun_ns = 0
        self._is_in_doubt = False
        self.committed = self.sent = last_position(start.last)
        self.tail_bytes = sum(stretch.bytes for stretch in self._stretches)
        self.failure: str | None = None
        self.appended = 0

    @property
    def epoch(self) -> int:
        """The epoch of this owner."""
        return self._segment.epoch

    @property
    def next_position(self) -> int:
        """The position of the next transition."""
        group = self._open
        if group is None:
            return first_position(self._next_number)
        return group.number << INDEX_BITS | len(group.entries)

    def start(self) -> None:
        """Begin to write."""
        self._background.spawn(self._run(), f"log of {self._segment.shard}")

    def append(self, transition: Transition) -> int:
        """Put a transition into the open group; returns its position. Raises ShardLost."""
        if self.failure is not None:
            raise ShardLost(self.failure)
        group = self._open or self._new_group()
        position = group.number << INDEX_BITS | len(group.entries)
        self.appended += 1
        group.entries.append((position, transition))
        group.bytes += len(transition.body)
        options = self._world.options
        # The group that passes the limit is sent as it is: so a position never depends on the size of what gets it.
        if group.bytes >= options.group_bytes or len(group.entries) >= min(options.group_transitions, GROUP_MAX):
            self._open = None
        return position

    def _new_group(self) -> _Group:
        group = self._open = _Group(self._next_number)
        self._next_number += 1
        self._queue.append(group)
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        return group

    async def durable(self, position: int) -> None:
        """Wait for the group that holds `position`; no task switch if it is committed. Raises ShardLost."""
        group = self._group_of(position)
        if group is not None:
            await self._committed(group.waiters)

    async def answerable(self, position: int) -> None:
        """The same for somebody who would rather ask again: raises Unavailable, too, if the outcome of the oldest
        group isn't known after `answer_s`.
        """
        group = self._group_of(position)
        if group is None:
            return
        if self._is_in_doubt:
            raise Unavailable(_IN_DOUBT)
        await self._committed(group.callers)

    def _group_of(self, position: int) -> _Group | None:
        """The group that holds `position`, None if it is committed. Raises ShardLost."""
        if self.failure is not None:
            raise ShardLost(self.failure)
        if position <= self.committed:
            return None
        if position >= self.next_position:
            raise Bug(f"position {position} was never appended")
        queue = self._queue
        return queue[(position >> INDEX_BITS) - queue[0].number]

    async def _committed(self, waiters: list[asyncio.Future[None]]) -> None:
        # A future per waiter, not per group: the cancellation of one waiter must not reach the others.
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        await waiter

    async def stamp_us(self) -> int:
        """A fresh stamp for a checkpoint: rising, and below the ceiling that is committed. Raises ShardLost."""
        while (stamp := self._next_stamp()) > self._ceiling_us:  # the clock may go on before it is asked again
            await self.commit_empty()
        self._stamped_us = stamp
        return stamp

    def _next_stamp(self) -> int:
        return max(self._world.clock.now_ns() // 1000, self._stamped_us + 1)

    async def commit_empty(self, *, roll: bool = False) -> None:
        """Commit the open group, an empty one if there is none; with `roll` into a new segment. Raises ShardLost."""
        if self.failure is not None:
            raise ShardLost(self.failure)
        if roll:
            self._roll_bytes = 0
        await self._committed((self._open or self._new_group()).waiters)

    async def _run(self) -> None:
        try:
            while True:
                if not self._queue:
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
                    self._idle = None
                self._begun_ns = self._world.clock.monotonic_ns()
                if self._stretches[-1].bytes >= self._roll_bytes and self._stretches[-1].bytes:
                    await self._roll()
                if self.failure is not None:
                    return  # meanwhile: there is no queue any more
                await self._write(self._queue[0])
                self._is_in_doubt = False
        except (ShardLost, StoreUnavailable) as error:
            self.fail(error.message)

    async def _write(self, group: _Group) -> None:
        """Commit one group. Raises ShardLost, StoreUnavailable (definitely not done: the shard is given up)."""
        if self._open is group:
            self._open = None
        self.sent = last_position(group.number)
        records = [(position, transition.body) for position, transition in group.entries]
        body = encode_group(GroupBody(self._listener.now_ns(), self._listener.floor(), records))
        ceiling = max(self._ceiling_us, self._next_stamp() + self._world.options.ceiling_ahead_us)
        sent = Group(group.number, body, ceiling)
        segment = self._segment
        written = await settled(self._world, partial(self._store.append, segment, segment.epoch, sent), self._doubt)
        if self.failure is not None:
            raise ShardLost(self.failure)
        if not written.applied and not self._is_mine(written.header, group.number):
            raise ShardLost(f"Another owner has the shard {segment.shard}.")
        self._last = group.number
        self._ceiling_us = ceiling
        stretch = self._stretches[-1]
        stretch.last = group.number
        stretch.bytes += len(body)
        stretch.records += len(records)
        self.tail_bytes += len(body)
        self._release(group)

    def _doubt(self) -> None:
        """An outcome is not known. If that takes too long callers are told; what they asked for may be done all the
        same.
        """
        if self._world.clock.monotonic_ns() - self._begun_ns < self._world.options.answer_s * SECOND_NS:
            return
        self._is_in_doubt = True
        for group in self._queue:
            _end(group.callers, Unavailable, _IN_DOUBT)
            group.callers.clear()

    def _is_mine(self, header: SegmentHeader | None, number: int) -> bool:
        """Whether a refused append was refused because an earlier attempt of it had been applied."""
        return header is not None and header.epoch == self.epoch and header.last == number and header.next is None

    def _release(self, group: _Group) -> None:
        self._queue.popleft()
        self.committed = last_position(group.number)
        try:
            self._listener.committed(group.entries)
        finally:
            for waiter in (*group.callers, *group.waiters):
                if not waiter.done():
                    waiter.set_result(None)
        self._listener.released(group.entries)

    async def _roll(self) -> None:
        """Open the next segment, link it, and use it from then on. Where the store refuses, the old one goes on."""
        options = self._world.options
        self._roll_bytes = options.segment_bytes
        try:
            following = await self._open_next()
            segment, last = self._segment, self._last
            written = await settled(
                self._world,
                partial(self._store.link, segment, segment.epoch, last, following, segment.epoch),
                self._doubt,
            )
        except StoreUnavailable as error:
            log.warning("no new log segment", shard=self._segment.shard, error=error.message)
            self._roll_bytes = self._stretches[-1].bytes + options.segment_bytes
            return
        if not written.applied and not _links_to(written, following):
            raise ShardLost(f"Another owner has the shard {segment.shard}.")
        self._segment = following
        self._stretches.append(Stretch(following, last))

    async def _open_next(self) -> SegmentId:
        """A fresh segment with a header. One whose opening is in doubt is abandoned: its id is never linked."""
        attempt = 0
        while True:
            self._number += 1
            segment = SegmentId(self._segment.shard, self.epoch, self._number)
            header = SegmentHeader(self.epoch, self._last, self._ceiling_us)
            try:
                if (await once(self._world, partial(self._store.open_segment, segment, header))).applied:
                    return segment
            except OutcomeUnknown:
                attempt += 1
                self._doubt()
                await asyncio.sleep(delay_s(self._world, attempt))

    @property
    def ceiling_us(self) -> int:
        """No stamp beyond it was used, while no group is on its way."""
        return max(self._ceiling_us, self._stamped_us)

    def releasable(self, floor: int) -> list[SegmentId]:
        """The oldest segments that hold nothing at or after `floor`, such that the one that follows has a group."""
        found = 0
        for index in range(1, len(self._stretches)):
            if last_position(self._stretches[index - 1].last) >= floor:
                break
            if self._stretches[index].bytes:
                found = index
        return [self._stretches[index].segment for index in range(found)]

    def forget(self, segments: Sequence[SegmentId]) -> None:
        """These oldest segments are no part of the chain any more."""
        for segment in segments:
            stretch = self._stretches.popleft()
            assert stretch.segment == segment
            self.tail_bytes -= stretch.bytes

    def is_orphan(self, segment: SegmentId) -> bool:
        """Whether no log of this shard has, and none will ever have, this segment of it, whoever its owner is."""
        return segment < self._segment and all(stretch.segment != segment for stretch in self._stretches)

    @property
    def segments(self) -> Sequence[Stretch]:
        """The chain as it is, oldest first; the last one is appended to."""
        return self._stretches

    def fail(self, reason: str) -> None:
        """Give up: every waiter gets ShardLost, nothing more is written or acted on. Idempotent."""
        if self.failure is not None:
            return
        self.failure = reason
        queue, self._queue = self._queue, deque()
        self._open = None
        for group in queue:
            _end((*group.callers, *group.waiters), ShardLost, reason)
        self._listener.failed(reason)


def _end(waiters: Iterable[asyncio.Future[None]], error: type[Unavailable], reason: str) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error(reason))


def _links_to(written: Written, following: SegmentId) -> bool:
    return written.header is not None and written.header.next == following
