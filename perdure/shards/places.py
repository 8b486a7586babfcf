"""Where the shards are that this process has to do with: here, on their way, or with another host.

Invariant: `owned` are in the order of their slots, which don't overlap: a shard that the map retired was given up
before those that have its slots can be taken. What is known of others is a hint.
"""

import asyncio
from bisect import bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from perdure.base.errors import ShardElsewhere, Unavailable
from perdure.cluster.shard_host import ShardState, ShardView
from perdure.shards.neighbours import OwnerOf, nobody
from perdure.shards.shard import OwnedShard
from perdure.store.contract import ShardMap, ShardRow


class Place:
    """A shard that is here, or that should be. `taking`: the one that is going to be here. `former`: the host that has
    it until then, as far as is known. `epoch`: the newest that was drawn here, 0 if none was. `asked`: the newest epoch
    for which others were told that nothing of the shard is here. `is_busy`: somebody takes it, or waits until it is
    time to. `is_stuck`: nobody can take it until somebody looks at it. `made`: its row, if it was made here and nobody
    has tried to take it since.
    """

    __slots__ = ("asked", "attempt", "epoch", "former", "is_busy", "is_stuck", "leaving", "made", "nudge", "reason",
                 "shard", "shard_id", "taken_s", "taking")  # fmt: skip

    def __init__(self, shard_id: str) -> None:
        self.shard_id = shard_id
        self.shard: OwnedShard | None = None
        self.taking: OwnedShard | None = None
        self.made: ShardRow | None = None
        self.is_busy = False
        self.leaving: asyncio.Task[None] | None = None
        self.nudge = asyncio.Event()
        self.reason = "The shard is being taken."
        self.is_stuck = False
        self.former = ""
        self.attempt = 0
        self.epoch = 0
        self.asked = 0
        self.taken_s = 0.0

    def here(self) -> Iterator[OwnedShard]:
        """What there is of it in this process."""
        for shard in (self.shard, self.taking):
            if shard is not None:
                yield shard

    def view(self, *, is_wanted: bool) -> ShardView:
        """As others see it."""
        shard = self.shard
        if shard is None:
            state = ShardState.STUCK if self.is_stuck else ShardState.TAKING
            return ShardView(self.shard_id, state, epoch=self.epoch, is_wanted=is_wanted, reason=self.reason)
        return ShardView(
            self.shard_id,
            ShardState.LEAVING if shard.is_leaving else ShardState.SERVING,
            shard.slots,
            shard.epoch,
            is_wanted,
            shard.log.tail_bytes,
            shard.checkpointer.dirty_bytes,
        )


def _first(shard: OwnedShard) -> int:
    return shard.slots.first


class Places:
    """All places of a process, and what it knows of the others. `version`: of the view."""

    def __init__(self) -> None:
        self._by_id: dict[str, Place] = {}
        self._owned: list[OwnedShard] = []
        self._map = ShardMap(0, ())
        self._named: frozenset[str] = frozenset()
        self._owner_of: OwnerOf = nobody
        self.wanted: AbstractSet[str] | None = None  # None: nobody has told, all of them are
        self.version = 0

    def assign(self, wanted: AbstractSet[str], version: int, shards: ShardMap | None, owner_of: OwnerOf) -> bool:
        """See `Shards.assign`; False if it is older than what is known."""
        if version < self.version or (shards is not None and shards.version < self._map.version):
            return False
        self.wanted, self.version, self._owner_of = wanted, version, owner_of
        if shards is not None and shards.version != self._map.version:
            self._know(shards)
        return True

    def _know(self, shards: ShardMap) -> None:
        self._map, self._named = shards, frozenset(shard for _, shard in shards.shards)

    def know(self, rows: Iterable[ShardRow]) -> None:
        """The shards of a store that nobody maps for this process."""
        if not self._map.shards:
            self._map = ShardMap(0, tuple((row.slots.first, row.shard) for row in rows))

    def reshaped(self, retired: Collection[str], rows: Sequence[ShardRow], shards: ShardMap) -> None:
        """Shards were split or merged here: those that were made of them are wanted, until somebody tells otherwise.
        `shards`: a map that has them. Only one that was read can say that others' shards are no more.
        """
        for row in rows:
            self.make(row.shard).made = row
        self.wanted = (self.wanted or frozenset()) - set(retired) | {row.shard for row in rows}
        if shards.version > self._map.version:
            self._know(shards)

    @property
    def count(self) -> int:
        """How many shards there are, as far as is known."""
        return len(self._map.shards)

    def names(self, shard: str) -> bool:
        """Whether there is such a shard, as far as is known."""
        return not self._named or shard in self._named

    def wants(self, shard: str) -> bool:
        """Whether it should be here."""
        return self.wanted is None or shard in self.wanted

    def owner_of(self, shard: str) -> str:
        """The host that should have it; "" if that isn't known."""
        return self._owner_of(shard)

    def __iter__(self) -> Iterator[Place]:
        return iter(list(self._by_id.values()))

    def get(self, shard: str) -> Place | None:
        """The place of a shard, if it has one."""
        return self._by_id.get(shard)

    def make(self, shard: str) -> Place:
        """The place of a shard, made if it has none."""
        return self._by_id.setdefault(shard, Place(shard))

    def drop(self, place: Place) -> None:
        """Nothing of it is here or should be."""
        if self._by_id.get(place.shard_id) is place:
            del self._by_id[place.shard_id]

    def enter(self, place: Place, shard: OwnedShard) -> None:
        """The shard serves from now on."""
        place.shard = shard
        insort(self._owned, shard, key=_first)

    def leave(self, place: Place) -> None:
        """The shard doesn't serve any more."""
        if place.shard is not None:
            self._owned.remove(place.shard)
            place.shard = None

    @property
    def owned(self) -> list[OwnedShard]:
        """The shards that are here now, by their slots."""
        return self._owned

    def by_slot(self, slot: int, own: str) -> OwnedShard:
        """The shard of a slot. Raises as `Shards.by_slot`. `own`: this host's id."""
        index = bisect_right(self._owned, slot, key=_first) - 1
        if index >= 0:
            shard = self._owned[index]
            if slot in shard.slots:
                shard.check_here()
                return shard
        at = bisect_right(self._map.shards, slot, key=lambda named: named[0]) - 1
        raise self._elsewhere(self._map.shards[at][1] if at >= 0 else "", own)

    def by_id(self, shard: str, own: str) -> OwnedShard:
        """A shard by its id. Raises as `Shards.by_id`."""
        place = self._by_id.get(shard)
        if place is not None and place.shard is not None:
            place.shard.check_here()
            return place.shard
        raise self._elsewhere(shard, own)

    def _elsewhere(self, shard: str, own: str) -> Unavailable:
        place = self._by_id.get(shard)
        if place is None or not self.wants(shard):
            return ShardElsewhere("The shard is not here.", self._owner_of(shard), self.version)
        if place.is_stuck:
            return Unavailable(place.reason)
        return ShardElsewhere(place.reason, place.former or own, self.version)
