"""The offers and timers that a shard has outstanding: what the store has, with what was committed since on top.

Each index is an overlay. `fresh` are tasks that no row is known to hold; `gone` are rows that stand for nothing any
more. A checkpoint moves tasks from `fresh` to the store and rows of `gone` out of it (`written`); between `begin` and
`written` a row may or may not be there, so a task that ends meanwhile goes to `gone`. Invariant: fresh + stored -
gone is what is outstanding after the newest committed transition. Rows are hints: whoever acts on one validates it
against the state.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

from perdure.shards.homes import Homes
from perdure.store.contract import QueueCount
from perdure.workflow.tasks import EVERY_LANE, Backlog, Offer, QueueKey, partition_of, unlaned

Order = tuple[int, int, int, str, int, int, int]

_PRIORITIES = range(1, 6)
_SETTLED_TRIES = 4
# So many lanes of a partition are read for who only looks.
_LANES_SHOWN = 100


class _Partition:
    """One partition's part of the overlay, keyed by `Offer.order`. `stored` and `oldest_ns` are of rows."""

    __slots__ = ("doubtful", "fresh", "gone", "leaving", "oldest_ns", "orders", "stored", "unsure", "writing")

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.fresh: dict[Order, Offer] = {}
        self.doubtful: set[Order] = set()  # fresh ones that may have a row all the same
        self.gone: set[Order] = set()
        self.unsure: set[Order] = set()  # removed while doubtful: of gone ones, those that may have had no row
        self.writing: set[Order] = set()
        self.leaving: set[Order] = set()
        self.stored = 0
        self.oldest_ns = 0

    def add(self, offer: Offer, doubtful: bool) -> None:
        order = offer.order
        if order in self.fresh:
            return
        is_moving = order in self.writing or order in self.leaving
        if order in self.gone:
            self.gone.discard(order)
            if not is_moving and order not in self.unsure:
                return  # Its row stands for it again.
        if is_moving or doubtful or order in self.unsure:
            self.doubtful.add(order)
        self.fresh[order] = offer
        insort(self.orders, order)

    def remove(self, order: Order) -> None:
        is_moving = order in self.writing or order in self.leaving
        if self.take(order) is None or order in self.doubtful or order in self.writing:
            self.gone.add(order)
        if order in self.doubtful and not is_moving:
            self.unsure.add(order)
        self.doubtful.discard(order)

    def take(self, order: Order) -> Offer | None:
        offer = self.fresh.pop(order, None)
        if offer is not None:
            del self.orders[bisect_left(self.orders, order)]
        return offer

    def after(self, order: Order | None, limit: int) -> list[Order]:
        start = bisect_right(self.orders, order) if order is not None else 0
        return self.orders[start : start + limit]

    @property
    def count(self) -> int:
        # Rather one too many: what counts as empty is not offered.
        return max(len(self.fresh), self.stored + len(self.fresh) - len(self.gone) + len(self.unsure))

    @property
    def oldest(self) -> int:
        """The oldest scheduled time: orders are by time within a priority."""
        found = [self.oldest_ns] if self.oldest_ns and self.stored + len(self.unsure) > len(self.gone) else []
        for priority in _PRIORITIES:
            at = bisect_left(self.orders, (priority,))
            if at < len(self.orders) and self.orders[at][0] == priority:
                found.append(self.orders[at][2])
        return min(found, default=0)

    @property
    def is_empty(self) -> bool:
        return not (self.fresh or self.gone or self.writing or self.leaving or self.stored)


class OfferIndex:
    """Outstanding offers by partition."""

    def __init__(self, homes: Homes, epoch: int) -> None:
        self._homes = homes
        self._epoch = epoch
        self._partitions: dict[QueueKey, _Partition] = {}
        self._written = 0
        # Counts of rows are a guess since recovery, or since a row turned up that was not known: count again.
        self.is_uncertain = False

    async def count(self) -> None:
        """Take the numbers of rows from the store. No checkpoint may be under way."""
        counts = await self._homes.count_offers()
        self._counted(counts)

    def _counted(self, counts: Sequence[QueueCount]) -> None:
        for partition in self._partitions.values():
            partition.stored = 0
            partition.oldest_ns = 0
        for counted in counts:
            partition = self._partitions.setdefault(counted.queue, _Partition())
            partition.stored = counted.count
            partition.oldest_ns = counted.oldest_ns
        self._purge()
        self.is_uncertain = False

    def _purge(self) -> None:
        for key in [key for key, partition in self._partitions.items() if partition.is_empty]:
            del self._partitions[key]

    def recover(self, offers: Iterable[Offer]) -> None:
        """Outstanding offers of chains that the log touched; any of them may have a row."""
        for offer in offers:
            self._partitions.setdefault(partition_of(offer), _Partition()).add(offer, doubtful=True)
            self.is_uncertain = True

    def add(self, offer: Offer) -> None:
        """A committed offer."""
        key = partition_of(offer)
        partition = self._partitions.get(key)
        if partition is None:
            partition = self._partitions[key] = _Partition()
        partition.add(offer, doubtful=False)

    def remove(self, offer: Offer) -> None:
        """An offer that is not outstanding any more."""
        partition = self._partitions.setdefault(partition_of(offer), _Partition())
        partition.remove(offer.order)

    def begin(self, added: Sequence[Offer], removed: Sequence[Offer]) -> None:
        """A checkpoint is going to write these rows and remove those; call it when they are made."""
        for offer in added:
            self._partitions.setdefault(partition_of(offer), _Partition()).writing.add(offer.order)
        for offer in removed:
            self._partitions.setdefault(partition_of(offer), _Partition()).leaving.add(offer.order)

    def written(self, added: Sequence[Offer], removed: Sequence[Offer]) -> None:
        """These rows are in the store, and those are not any more."""
        self._written += 1
        for offer in added:
            partition = self._partitions[partition_of(offer)]
            order = offer.order
            partition.writing.discard(order)
            partition.unsure.discard(order)
            is_known = partition.take(order) is not None or order in partition.gone
            partition.stored += 1
            if order in partition.doubtful or not is_known:
                partition.doubtful.discard(order)
                self.is_uncertain = True
            if not partition.oldest_ns or offer.scheduled_time_ns < partition.oldest_ns:
                partition.oldest_ns = offer.scheduled_time_ns
        for offer in removed:
            partition = self._partitions[partition_of(offer)]
            order = offer.order
            partition.leaving.discard(order)
            partition.doubtful.discard(order)
            if order in partition.unsure or not (order in partition.gone or order in partition.fresh):
                self.is_uncertain = True  # a row that was never there must take none of the others away
            else:
                partition.stored -= 1
            partition.gone.discard(order)
            partition.unsure.discard(order)
        self._purge()

    def is_fresh(self, offer: Offer) -> bool:
        """Whether it is outstanding and in memory."""
        partition = self._partitions.get(partition_of(offer))
        return partition is not None and offer.order in partition.fresh

    async def holds(self, offer: Offer) -> bool:
        """Whether it is outstanding, by memory or by its row."""
        if self.is_fresh(offer):
            return True
        before = _just_before(offer)
        page, _ = await self.page(partition_of(offer), before, 1)
        return bool(page) and page[0].order == offer.order

    def partitions(self) -> list[QueueKey]:
        """The partitions that have outstanding offers."""
        return [key for key, partition in self._partitions.items() if partition.count]

    def backlog(self, partition: QueueKey) -> Backlog:
        """The partition's absolute figures."""
        found = self._partitions.get(partition)
        if found is None:
            return Backlog(self._homes.own.shard, self._epoch, 0, 0)
        return Backlog(self._homes.own.shard, self._epoch, found.count, found.oldest)

    async def page(self, partition: QueueKey, after: Offer | None, limit: int) -> tuple[list[Offer], Backlog]:
        """Up to `limit` outstanding offers beyond `after`, in order; empty only if there are no more. Of very many
        lanes together only some are shown.
        """
        if partition.version == EVERY_LANE:
            return await self._page_of_lanes(partition, after, limit)
        tries = 0
        while True:
            mark = self._written
            page, again = await self._read_page(partition, after, limit)
            if mark != self._written and tries < _SETTLED_TRIES:
                # A checkpoint that ended while rows were read has moved offers from memory to rows not read yet.
                tries += 1
            elif again is None:
                return page, self.backlog(partition)
            else:
                after = again

    async def _page_of_lanes(self, partition: QueueKey, after: Offer | None, limit: int) -> tuple[list[Offer], Backlog]:
        queue = unlaned(partition)
        lanes = [key for key in self._partitions if unlaned(key) == queue]
        figures = [self.backlog(key) for key in lanes]
        page: list[Offer] = []
        for key in lanes[:_LANES_SHOWN]:
            page += (await self.page(key, after, limit))[0]
        page.sort(key=lambda offer: offer.order)
        oldest_ns = min((each.oldest_ns for each in figures if each.oldest_ns), default=0)
        count = sum(each.count for each in figures)
        return page[:limit], Backlog(self._homes.own.shard, self._epoch, count, oldest_ns)

    async def _read_page(
        self, partition: QueueKey, after: Offer | None, limit: int
    ) -> tuple[list[Offer], Offer | None]:
        """A page, and where to go on if it is empty although there may be more."""
        found = self._partitions.get(partition)
        if found is None:
            return [], None
        rows = await self._homes.read_offers(partition, after, limit) if found.stored else []
        merged = {row.order: row for row in rows if row.order not in found.gone}
        for order in found.after(after.order if after is not None else None, limit):
            if len(rows) == limit and order > rows[-1].order:
                break
            merged[order] = found.fresh[order]
        page = [merged[order] for order in sorted(merged)[:limit]]
        return page, rows[-1] if not page and len(rows) == limit else None


def _just_before(offer: Offer) -> Offer:
    values = {field: getattr(offer, field) for field in offer.__struct_fields__}
    return Offer(**{**values, "stamp": offer.stamp - 1})
