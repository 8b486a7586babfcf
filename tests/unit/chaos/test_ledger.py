"""Who reads the logs finds two owners, groups that change, sealed segments that grow, and epochs that fall."""

from perdure.base.slots import SLOTS, SlotRange
from perdure.store.contract import Group, SegmentHeader, SegmentId, ShardRow
from tests.chaos.ledger import Ledger

FIRST, SECOND = SegmentId("shard", 1, 1), SegmentId("shard", 2, 1)


class Log:
    """A log that keeps no rule."""

    def __init__(self) -> None:
        self.headers: dict[SegmentId, SegmentHeader] = {}
        self.groups: dict[SegmentId, list[Group]] = {}

    def put(self, segment: SegmentId, *numbers: int, body: bytes = b"x") -> None:
        self.headers[segment] = SegmentHeader(segment.epoch, max(numbers, default=0), 0)
        self.groups[segment] = [Group(n, body, 0) for n in numbers]

    def seal(self, segment: SegmentId, end: int, following: SegmentId) -> None:
        self.headers[segment] = SegmentHeader(following.epoch, end, 0, following, end)

    async def read_header(self, segment: SegmentId) -> SegmentHeader | None:
        return self.headers.get(segment)

    async def read_groups(self, segment: SegmentId, after: int, limit: int) -> list[Group]:
        return [group for group in self.groups[segment] if group.n > after][:limit]

    async def list_segments(self, place: bytes, limit: int) -> tuple[list[SegmentId], bytes]:
        return list(self.headers), b""


class Rows:
    """Rows of shards."""

    def __init__(self) -> None:
        self.rows: list[ShardRow] = []

    async def list_shards(self) -> list[ShardRow]:
        return self.rows


def _ledger() -> tuple[Ledger, Log, Rows]:
    log, rows = Log(), Rows()
    log.put(FIRST, 1, 2)
    log.seal(FIRST, 2, SECOND)
    log.put(SECOND, 3, 4)
    return Ledger(log, rows), log, rows  # type: ignore[arg-type]  # it only reads


async def test_a_log_that_is_right_and_goes_on() -> None:
    ledger, log, _ = _ledger()
    await ledger.look()
    log.put(SECOND, 3, 4, 5)
    del log.headers[FIRST]
    await ledger.look()
    assert (ledger.wrong, ledger.groups, len(ledger.sealed)) == ([], 5, 1)


async def test_two_owners_are_found() -> None:
    ledger, log, _ = _ledger()
    log.put(SECOND, 2, 3)
    await ledger.look()
    assert any("group 2 is in" in what for what in ledger.wrong)


async def test_a_former_owner_that_goes_on_is_found() -> None:
    ledger, log, _ = _ledger()
    log.put(SegmentId("shard", 1, 2), 5)
    await ledger.look()
    assert any("group 5" in what for what in ledger.wrong)


async def test_a_group_that_changes_is_found() -> None:
    ledger, log, _ = _ledger()
    await ledger.look()
    log.put(SECOND, 3, 4, body=b"y")
    await ledger.look()
    assert any("has become another" in what for what in ledger.wrong)


async def test_a_sealed_segment_that_grows_is_found() -> None:
    ledger, log, _ = _ledger()
    await ledger.look()
    log.seal(FIRST, 3, SECOND)
    await ledger.look()
    assert any("after it was sealed" in what for what in ledger.wrong)


async def test_an_epoch_that_falls_is_found() -> None:
    ledger, _, rows = _ledger()
    rows.rows = [ShardRow("shard", SlotRange(0, SLOTS), 7, None)]
    await ledger.look()
    rows.rows = [ShardRow("shard", SlotRange(0, SLOTS), 6, None)]
    await ledger.look()
    assert any("epoch 6 after 7" in what for what in ledger.wrong)
