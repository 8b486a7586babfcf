"""Reading a run's history: batches from memory and store, pages, long polls.

A page ends on batch boundaries; its limit counts batches. A page token pins the run and the bound that the first page
saw, so that pages fit together while the run goes on.
"""

import asyncio
from collections.abc import Sequence

import msgspec
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Bug, InvalidArgument, PerdureError, ShardLost, Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, HistoryPage, HistoryRead
from perdure.history.chains import ShardChains
from perdure.history.tails import Tail, cut, events_of, history_of
from perdure.history.transacting import Transacting
from perdure.store.contract import Checkpoints, Node
from perdure.workflow.requests import Look, Seen

PAGE_BYTES_MAX = 2 << 20
_LARGE_BATCH = 16  # events

Segments = tuple[tuple[str, int, int], ...]


class PageToken(msgspec.Struct, frozen=True, array_like=True):
    """Where the next page begins. `first` == `bound`: everything seen was read; a long poll waits for more."""

    run_id: str
    first: int
    bound: int
    running: bool


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(PageToken)


def encode_page_token(token: PageToken) -> bytes:
    """The bytes a client gets."""
    return _encoder.encode(token)


def decode_page_token(data: bytes) -> PageToken:
    """The token in `data`. Raises InvalidArgument."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument("Invalid NextPageToken.") from error


class Reading:
    """Reads history for workers and clients."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._newest: tuple[str, int, Sequence[HistoryEvent]] = "", 0, ()

    async def look(self, service: Transacting, chains: ShardChains, key: ChainKey, run_id: str, call: Call) -> Seen:
        """Where the run stands, durable."""
        seen = await service.transact_on(chains.shard, key, Look(run_id), call)
        assert isinstance(seen, Seen)
        return seen

    async def nodes(
        self, chains: ShardChains, key: ChainKey, segments: Segments, first: int, end: int, batches: int
    ) -> list[Node]:
        """Up to `batches` nodes (and about 2 MiB) with the events `first` <= id < `end`, ascending, without a gap.
        Raises as `event` does.
        """
        found: list[Node] = []
        size = 0
        while first < end and len(found) < batches and size < PAGE_BYTES_MAX:
            branch, segment_end = _branch(segments, first)
            stop = min(end, segment_end or end)
            tail = self._tail(chains, key, branch)
            if tail is not None and tail.first and tail.first <= first:
                more = tail.overlapping(first, stop)
            else:
                if tail is not None and tail.first:
                    stop = min(stop, tail.first)  # what is in memory may be in the store in part only
                more = await self._checkpoints.read_nodes(branch, first, stop, PAGE_BYTES_MAX - size)
            if not more:
                raise _gap(chains, key, branch, first)
            for node in more:
                if node.first > first:
                    raise _gap(chains, key, branch, first)
                found.append(cut(node, first, end))
                size += len(node.body)
                first = node.end
                if len(found) >= batches or size >= PAGE_BYTES_MAX:
                    break
        return found

    def _tail(self, chains: ShardChains, key: ChainKey, branch: str) -> Tail | None:
        entry = chains.entries.get(key)
        return entry.tails.get(branch) if entry is not None else None

    async def event(self, chains: ShardChains, key: ChainKey, segments: Segments, event_id: int) -> HistoryEvent:
        """One event, committed, to be read only. Raises Bug if history has no such event, Unavailable if the run or the
        shard went meanwhile.

        A completion may begin thousands of activities and children in one batch, and each asks for its event soon: so
        the newest large batch is kept as it was parsed.
        """
        branch, first, events = self._newest
        if not (branch == _branch(segments, event_id)[0] and first <= event_id < first + len(events)):
            node = await self._node(chains, key, segments, event_id)
            branch, first, events = node.branch, node.first, events_of(node)
            if len(events) >= _LARGE_BATCH:
                self._newest = branch, first, events
        return events[event_id - first]

    async def _node(self, chains: ShardChains, key: ChainKey, segments: Segments, event_id: int) -> Node:
        """The whole batch that holds an event."""
        branch = _branch(segments, event_id)[0]
        tail = self._tail(chains, key, branch)
        if tail is not None and tail.first and tail.first <= event_id:
            return tail.overlapping(event_id, event_id + 1)[0]
        nodes = await self._checkpoints.read_nodes(branch, event_id, event_id + 1, 1)
        if not nodes:
            raise _gap(chains, key, branch, event_id)
        return nodes[0]

    async def page(
        self,
        service: Transacting,
        chains: ShardChains,
        key: ChainKey,
        read: HistoryRead,
        call: Call,
        long_poll_ns: int,
    ) -> HistoryPage:
        """One page; with `wait_new_event` waits for the first event that was not read yet, up to `long_poll_ns`."""
        token = decode_page_token(read.token) if read.token else None
        if token is not None and read.run_id and token.run_id != read.run_id:
            raise InvalidArgument("RunId from NextPageToken does not match RunId in request.")
        run_id = token.run_id if token is not None else read.run_id
        seen = await self.look(service, chains, key, run_id, call)
        if token is not None:
            _check(token, seen, reverse=read.reverse)
        if read.reverse:
            return await self._reverse(chains, key, read, token, seen)
        if read.close_event_only and not read.wait_new_event and seen.is_paused:
            # The reference takes it for closed, and its command line wants the event that says so.
            return await self._last_event(chains, key, seen)
        waits = read.close_event_only or read.wait_new_event
        if token is not None:
            waits = waits and token.first >= token.bound and token.running
        if waits:
            known = token.first if token is not None else 1  # the event that the caller waits for
            seen = await self._wait(service, chains, key, seen, read, known, call, long_poll_ns)
        if read.close_event_only:
            return await self._close_event(chains, key, read, seen)
        first = token.first if token is not None else 1
        bound = token.bound if token is not None and not waits else seen.next_event_id
        return await self._forward(chains, key, read, call, seen, PageToken(seen.run_id, first, bound, seen.is_open))

    async def _wait(
        self,
        service: Transacting,
        chains: ShardChains,
        key: ChainKey,
        seen: Seen,
        read: HistoryRead,
        known: int,
        call: Call,
        long_poll_ns: int,
    ) -> Seen:
        """Wait for commits until there is an event from `known` on (or the run is closed), or the time is over."""
        if call.timeout_ns:
            long_poll_ns = max(0, min(long_poll_ns, call.timeout_ns - SECOND_NS))
        try:
            async with asyncio.timeout(long_poll_ns / SECOND_NS):
                while await self._nothing_new(chains, key, seen.run_id, None if read.close_event_only else known):
                    pass
        except TimeoutError:
            pass
        return await self.look(service, chains, key, seen.run_id, call)

    async def _nothing_new(self, chains: ShardChains, key: ChainKey, run_id: str, known: int | None) -> bool:
        """False if the run has an event from `known` on (None = its close); else True, after the next commit."""
        entry = await chains.entry(key, (run_id,))
        run = entry.chain.runs.get(run_id)
        if run is None or not run.is_open or (known is not None and run.facts.next_event_id > known):
            return False
        with entry.watched() as waiter:
            await waiter
        return True

    async def _forward(
        self, chains: ShardChains, key: ChainKey, read: HistoryRead, call: Call, seen: Seen, token: PageToken
    ) -> HistoryPage:
        nodes = await self.nodes(chains, key, seen.segments, token.first, token.bound, read.limit)
        first = nodes[-1].end if nodes else token.first
        at_end = first >= token.bound
        bound = token.bound
        if at_end and seen.next_event_id > bound and nodes:
            # events were committed between the pages: the last page carries them too, so that the unwritten tail fits
            nodes += await self.nodes(chains, key, seen.segments, bound, seen.next_event_id, read.limit)
            first = nodes[-1].end
            bound = seen.next_event_id
            at_end = first >= bound
        history = b"".join(node.body for node in nodes)
        if at_end and nodes and call.caller.is_sdk:
            history += history_of(seen.tail)
        if at_end and not (read.wait_new_event and seen.is_open):
            return HistoryPage(history, b"")
        return HistoryPage(history, encode_page_token(PageToken(seen.run_id, first, bound, seen.is_open)))

    async def _close_event(self, chains: ShardChains, key: ChainKey, read: HistoryRead, seen: Seen) -> HistoryPage:
        if seen.is_open:  # the wait is over without a close
            if not read.wait_new_event:
                return HistoryPage(b"", b"")
            waiting = PageToken(seen.run_id, seen.next_event_id, seen.next_event_id, running=True)
            return HistoryPage(b"", encode_page_token(waiting))
        return await self._last_event(chains, key, seen)

    async def _last_event(self, chains: ShardChains, key: ChainKey, seen: Seen) -> HistoryPage:
        last = seen.next_event_id - 1
        nodes = await self.nodes(chains, key, seen.segments, last, last + 1, 1)
        return HistoryPage(history_of([events_of(nodes[-1])[-1].SerializeToString()]), b"")

    async def _reverse(
        self, chains: ShardChains, key: ChainKey, read: HistoryRead, token: PageToken | None, seen: Seen
    ) -> HistoryPage:
        end = token.first if token is not None else seen.next_event_id
        events: list[bytes] = []
        for _ in range(read.limit):
            if end <= 1 or sum(map(len, events)) >= PAGE_BYTES_MAX:
                break
            node = await self._node(chains, key, seen.segments, end - 1)
            events += [event.SerializeToString() for event in reversed(events_of(node)) if event.event_id < end]
            end = node.first
        if end <= 1:
            return HistoryPage(history_of(events), b"")
        return HistoryPage(history_of(events), encode_page_token(PageToken(seen.run_id, end, 1, seen.is_open)))


def _check(token: PageToken, seen: Seen, *, reverse: bool) -> None:
    """Raises InvalidArgument for a token that no read of this run can have given."""
    end = seen.next_event_id
    if not 1 <= token.first <= end or not (reverse or token.first <= token.bound <= end):
        raise InvalidArgument("Invalid NextPageToken.")


def _gap(chains: ShardChains, key: ChainKey, branch: str, event_id: int) -> PerdureError:
    """Why an event is in neither memory nor store."""
    if chains.lost:
        return ShardLost("The shard of this workflow id has moved.")
    entry = chains.entries.get(key)
    runs = entry.chain.runs.values() if entry is not None else ()
    is_there = any(branch == segment.branch for run in runs for segment in run.durable.segments)
    if not is_there or not chains.shard.can_answer:
        return Unavailable("The run went while its history was read.")  # whoever looks again learns whether for ever
    return Bug(f"history of {branch} has no event {event_id}")


def _branch(segments: Segments, event_id: int) -> tuple[str, int]:
    """The branch that holds an event, and where the run leaves it (0 = nowhere)."""
    branch, _, end = next(segment for segment in reversed(segments) if segment[1] <= event_id)
    return branch, end
