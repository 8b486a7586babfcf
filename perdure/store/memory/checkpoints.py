"""Checkpoint tables in memory. Invariant: for each row the highest stamp wins, whatever the order of arrival.

A deletion is a write: its stamp stays for an hour (`Tombstones`). With one stamp a deletion beats a write, except that
an index row which one checkpoint both removes and adds stands. Index rows lie by slot: of a home its slots count; or,
as in a store that several processes have, by the home's shard.
"""

from collections import Counter
from typing import Any

from sortedcontainers import SortedDict

from perdure.base.clock import Clock
from perdure.base.slots import ChainKey
from perdure.store.contract import Checkpoint, Home, Node, Pointer, QueueCount, Snapshot
from perdure.store.memory.tombstones import Tombstones
from perdure.workflow.tasks import Offer, QueueKey, Timer, partition_of

_Order = tuple[int, int, int, str, int, int, int]


class MemoryCheckpoints:
    """`perdure.store.contract.Checkpoints` in dicts and sorted dicts."""

    def __init__(self, clock: Clock, *, index_by_slot: bool = True) -> None:
        self.index_by_slot = index_by_slot
        self._snapshots: dict[tuple[ChainKey, str], tuple[int, Snapshot]] = {}
        self._pointers: dict[ChainKey, tuple[int, Pointer]] = {}
        # branch -> first event id -> (stamp, node)
        self._nodes: dict[str, Any] = {}
        # where it lies -> partition -> order -> (stamp, slot, offer)
        self._offers: dict[str, dict[QueueKey, Any]] = {}
        # where it lies -> timer -> (stamp, slot), sorted by the timer's fields
        self._timers: dict[str, Any] = {}
        self._dead = Tombstones(clock)

    def adopt(self, home: Home) -> None:
        """Nothing is remembered."""

    async def write(self, checkpoint: Checkpoint) -> None:
        stamp = checkpoint.stamp_us
        for snapshot in checkpoint.snapshots:
            self._write_snapshot(snapshot, stamp)
        for pointer in checkpoint.pointers:
            found = self._pointers.get(pointer.key)
            if found is None or (found[0], found[1].body is None) <= (stamp, pointer.body is None):
                self._pointers[pointer.key] = (stamp, pointer)
                if pointer.body is None:
                    self._dead.add(pointer.key, stamp)
        for node in checkpoint.nodes:
            self._write_node(node, stamp)
        for _, branch in checkpoint.dropped_branches:
            self._drop_branch(branch, stamp)
        self._write_offers(checkpoint, stamp)
        self._write_timers(checkpoint, stamp)
        self._sweep()

    def _write_snapshot(self, snapshot: Snapshot, stamp: int) -> None:
        at = (snapshot.key, snapshot.run_id)
        found = self._snapshots.get(at)
        if found is None or (found[0], found[1].body is None) <= (stamp, snapshot.body is None):
            self._snapshots[at] = (stamp, snapshot)
            if snapshot.body is None:
                self._dead.add(at, stamp)

    def _write_node(self, node: Node, stamp: int) -> None:
        if self._dead.get(node.branch) >= stamp:
            return
        nodes = self._nodes.get(node.branch)
        if nodes is None:
            nodes = self._nodes[node.branch] = SortedDict()
        found = nodes.get(node.first)
        if found is None or found[0] <= stamp:
            nodes[node.first] = (stamp, node)

    def _drop_branch(self, branch: str, stamp: int) -> None:
        self._dead.add(branch, stamp)
        nodes = self._nodes.get(branch)
        if nodes is not None:
            for first in [first for first, (written, _) in nodes.items() if written <= stamp]:
                del nodes[first]
            if not nodes:
                del self._nodes[branch]

    def _place(self, home: Home) -> str:
        """Where a home's index rows lie."""
        return "" if self.index_by_slot else home.shard

    def _counts(self, home: Home, slot: int) -> bool:
        return not self.index_by_slot or slot in home.slots

    def _write_offers(self, checkpoint: Checkpoint, stamp: int) -> None:
        place = self._place(checkpoint.home)
        offers = self._offers.setdefault(place, {})
        added = {(place, partition_of(offer), offer.order): offer for offer in checkpoint.added_offers}
        for offer in checkpoint.removed_offers:
            at = (place, partition_of(offer), offer.order)
            if at in added:
                continue
            self._dead.add(at, stamp)
            rows = offers.get(at[1], {})
            found = rows.get(at[2])
            if found is not None and found[0] <= stamp:
                del rows[at[2]]
                if not rows:
                    del offers[at[1]]
        for at, offer in added.items():
            if self._dead.get(at) >= stamp:
                continue
            rows = offers.get(at[1])
            if rows is None:
                rows = offers[at[1]] = SortedDict()
            found = rows.get(at[2])
            if found is None or found[0] <= stamp:
                rows[at[2]] = (stamp, offer.key.slot, offer)

    def _write_timers(self, checkpoint: Checkpoint, stamp: int) -> None:
        place = self._place(checkpoint.home)
        timers = self._timers.get(place)
        if timers is None:
            timers = self._timers[place] = SortedDict(_timer_order)
        added = dict.fromkeys(checkpoint.added_timers)
        for timer in checkpoint.removed_timers:
            if timer in added:
                continue
            self._dead.add((place, timer), stamp)
            found = timers.get(timer)
            if found is not None and found[0] <= stamp:
                del timers[timer]
        for timer in added:
            found = timers.get(timer)
            if self._dead.get((place, timer)) < stamp and (found is None or found[0] <= stamp):
                timers[timer] = (stamp, timer.key.slot)

    async def drop_index(self, home: Home, stamp_us: int) -> None:
        if self.index_by_slot:
            return
        offers = self._offers.pop(home.shard, {})
        timers = self._timers.pop(home.shard, {})
        written = [stamp for rows in offers.values() for stamp, *_ in rows.values()]
        written += [stamp for stamp, _ in timers.values()]
        assert max(written, default=0) <= stamp_us

    def _sweep(self) -> None:
        """Deleted snapshots and pointers are rows until their tombstone is swept; a row written since stays."""
        for row in self._dead.sweep():
            if isinstance(row, ChainKey):
                if self._pointers[row][1].body is None:
                    del self._pointers[row]
            elif isinstance(row, tuple) and isinstance(row[0], ChainKey) and self._snapshots[row][1].body is None:
                del self._snapshots[row]

    async def read_snapshot(self, key: ChainKey, run_id: str) -> Snapshot | None:
        found = self._snapshots.get((key, run_id))
        return found[1] if found is not None else None

    async def read_pointer(self, key: ChainKey) -> Pointer | None:
        found = self._pointers.get(key)
        return found[1] if found is not None else None

    async def read_nodes(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        nodes = self._nodes.get(branch)
        if nodes is None:
            return []
        start = max(0, nodes.bisect_right(first) - 1)
        overlapping = (nodes.peekitem(at)[1][1] for at in range(start, nodes.bisect_left(end)))
        return _cut((node for node in overlapping if node.end > first), limit_bytes)

    async def read_nodes_back(self, branch: str, first: int, end: int, limit_bytes: int) -> list[Node]:
        nodes = self._nodes.get(branch)
        if nodes is None:
            return []
        start = max(0, nodes.bisect_right(first) - 1)
        overlapping = (nodes.peekitem(at)[1][1] for at in range(nodes.bisect_left(end) - 1, start - 1, -1))
        return _cut((node for node in overlapping if node.end > first), limit_bytes)

    async def read_offers(self, home: Home, queue: QueueKey, after: Offer | None, limit: int) -> list[Offer]:
        rows = self._offers.get(self._place(home), {}).get(queue)
        found: list[Offer] = []
        if rows is None:
            return found
        for order in rows.irange(minimum=after.order if after is not None else None, inclusive=(False, True)):
            if len(found) >= limit:
                break
            _, slot, offer = rows[order]
            if self._counts(home, slot):
                found.append(offer)
        return found

    async def count_offers(self, home: Home) -> list[QueueCount]:
        counts: Counter[QueueKey] = Counter()
        oldest: dict[QueueKey, int] = {}
        for queue, rows in self._offers.get(self._place(home), {}).items():
            for _, slot, offer in rows.values():
                if self._counts(home, slot):
                    counts[queue] += 1
                    oldest[queue] = min(oldest.get(queue, offer.scheduled_time_ns), offer.scheduled_time_ns)
        return [QueueCount(queue, counts[queue], oldest[queue]) for queue in sorted(counts)]

    async def read_timers(self, home: Home, after: Timer | None, limit: int) -> list[Timer]:
        timers = self._timers.get(self._place(home))
        found: list[Timer] = []
        if timers is None:
            return found
        for timer in timers.irange(minimum=after, inclusive=(False, True)):
            if len(found) >= limit:
                break
            if self._counts(home, timers[timer][1]):
                found.append(timer)
        return found


def _timer_order(timer: Timer) -> tuple[int, ChainKey, str, int, int, int, int]:
    return (timer.due_ns, timer.key, timer.run_id, timer.kind, timer.event_id, timer.attempt, timer.stamp)


def _cut(nodes: Any, limit_bytes: int) -> list[Node]:
    """Nodes up to and with the one that passes the limit."""
    found: list[Node] = []
    size = 0
    for node in nodes:
        found.append(node)
        size += len(node.body)
        if size > limit_bytes:
            break
    return found
