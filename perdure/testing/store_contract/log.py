"""Log segments: conditional, one winner, never beyond the end, gone for good."""

import asyncio

from perdure.base.errors import StoreUnavailable
from perdure.store.contract import GROUP_BYTES_MAX, Group, SegmentHeader, SegmentId, Store, Written
from perdure.testing.store_contract.suite import StoreSuite, fresh, new_segment


async def _append(store: Store, segment: SegmentId, *numbers: int, epoch: int = 1) -> Written:
    written = Written(False, None)
    for n in numbers:
        written = await store.log.append(segment, epoch, Group(n, b"group %d" % n, 1000 + n))
    return written


async def _contents(store: Store, segment: SegmentId) -> tuple[SegmentHeader | None, list[Group]]:
    return await store.log.read_header(segment), await store.log.read_groups(segment, 0, 1000)


async def _walk(store: Store, limit: int) -> list[SegmentId]:
    """What a whole walk meets."""
    met, place = await store.log.list_segments(b"", limit)
    while place:
        page, place = await store.log.list_segments(place, limit)
        assert len(page) <= limit
        met += page
    return met


class LogContract(StoreSuite):
    """`LogStore`."""

    async def test_an_opened_segment_has_the_header_it_was_opened_with(self) -> None:
        async with self.opened() as store:
            segment, header = SegmentId(fresh(), 4, 2), SegmentHeader(4, 17, 99)
            assert await store.log.open_segment(segment, header) == Written(True, header)
            assert await _contents(store, segment) == (header, [])

    async def test_a_segment_is_opened_once_and_the_second_sees_the_first_ones_header(self) -> None:
        async with self.opened() as store:
            segment, first = SegmentId(fresh(), 1, 0), SegmentHeader(1, 0, 5)
            await store.log.open_segment(segment, first)
            assert await store.log.open_segment(segment, SegmentHeader(2, 9, 9)) == Written(False, first)
            assert await store.log.read_header(segment) == first

    async def test_segments_differ_by_shard_by_epoch_and_by_number(self) -> None:
        async with self.opened() as store:
            shard = fresh()
            for segment in (SegmentId(shard, 1, 0), SegmentId(shard, 1, 1), SegmentId(shard, 2, 0)):
                written = await store.log.open_segment(segment, SegmentHeader(segment.epoch, segment.number, 0))
                assert written.applied
            assert await store.log.read_header(SegmentId(shard, 2, 0)) == SegmentHeader(2, 0, 0)
            assert await store.log.read_header(SegmentId(fresh(), 1, 0)) is None

    async def test_an_applied_append_sets_last_and_ceiling_and_keeps_the_bytes(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store, last=7)
            groups = [Group(8, b"\x00\xff" * 300, 50), Group(9, b"", 60)]
            assert await store.log.append(segment, 1, groups[0]) == Written(True, SegmentHeader(1, 8, 50))
            assert await store.log.append(segment, 1, groups[1]) == Written(True, SegmentHeader(1, 9, 60))
            assert await _contents(store, segment) == (SegmentHeader(1, 9, 60), groups)

    async def test_an_append_of_another_epoch_is_not_applied(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store, epoch=3)
            for epoch in (2, 4):
                assert await _append(store, segment, 1, epoch=epoch) == Written(False, SegmentHeader(3, 0, 0))
            assert await _contents(store, segment) == (SegmentHeader(3, 0, 0), [])

    async def test_the_same_number_again_is_not_applied_and_overwrites_nothing(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            await _append(store, segment, 1, 2)
            other = await store.log.append(segment, 1, Group(2, b"other bytes", 9999))
            assert other == Written(False, SegmentHeader(1, 2, 1002))
            assert await store.log.read_groups(segment, 1, 10) == [Group(2, b"group 2", 1002)]

    async def test_a_number_that_leaves_a_gap_is_not_applied(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            assert await _append(store, segment, 2) == Written(False, SegmentHeader(1, 0, 0))
            assert await _contents(store, segment) == (SegmentHeader(1, 0, 0), [])

    async def test_an_append_to_no_segment_is_not_applied_and_creates_none(self) -> None:
        async with self.opened() as store:
            segment = SegmentId(fresh(), 1, 0)
            assert await _append(store, segment, 1) == Written(False, None)
            assert await _contents(store, segment) == (None, [])

    async def test_of_many_appends_of_one_number_at_once_one_is_applied(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            groups = [Group(1, b"writer %d" % n, n) for n in range(8)]
            written = await asyncio.gather(*(store.log.append(segment, 1, group) for group in groups))
            winners = [group for group, answer in zip(groups, written, strict=True) if answer.applied]
            assert len(winners) == 1
            assert await store.log.read_groups(segment, 0, 10) == winners
            assert {answer.header for answer in written} == {SegmentHeader(1, 1, winners[0].ceiling_us)}

    async def test_a_group_over_the_limit_is_definitely_refused(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            try:
                await store.log.append(segment, 1, Group(1, bytes(GROUP_BYTES_MAX + 1), 5))
            except StoreUnavailable:
                assert await _contents(store, segment) == (SegmentHeader(1, 0, 0), [])
            else:
                raise AssertionError("a group over the limit was taken")

    async def test_a_link_sets_next_and_end_and_keeps_last_and_ceiling(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            await _append(store, segment, 1, 2)
            following = SegmentId(segment.shard, 1, 1)
            header = SegmentHeader(1, 2, 1002, following, 2)
            assert await store.log.link(segment, 1, 2, following, 1) == Written(True, header)
            assert await store.log.read_header(segment) == header

    async def test_a_seal_puts_the_new_owners_epoch_into_the_header(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            await _append(store, segment, 1)
            written = await store.log.link(segment, 1, 1, SegmentId(segment.shard, 2, 0), 2)
            assert written.applied
            assert written.header is not None
            assert written.header.epoch == 2

    async def test_a_linked_segment_never_grows_under_any_epoch(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            await _append(store, segment, 1)
            sealed = await store.log.link(segment, 1, 1, SegmentId(segment.shard, 2, 0), 2)
            for epoch in (1, 2):
                assert await _append(store, segment, 2, epoch=epoch) == Written(False, sealed.header)
            assert await store.log.read_groups(segment, 0, 10) == [Group(1, b"group 1", 1001)]

    async def test_a_link_with_another_epoch_or_last_is_not_applied(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            await _append(store, segment, 1, 2)
            following, header = SegmentId(segment.shard, 2, 0), SegmentHeader(1, 2, 1002)
            for epoch, last in ((0, 2), (2, 2), (1, 1), (1, 3)):
                assert await store.log.link(segment, epoch, last, following, 2) == Written(False, header)
            assert await store.log.read_header(segment) == header

    async def test_a_segment_is_linked_once(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            first = await store.log.link(segment, 1, 0, SegmentId(segment.shard, 2, 0), 2)
            for epoch in (1, 2):
                second = await store.log.link(segment, epoch, 0, SegmentId(segment.shard, 3, 0), 3)
                assert second == Written(False, first.header)

    async def test_a_link_of_no_segment_is_not_applied(self) -> None:
        async with self.opened() as store:
            segment = SegmentId(fresh(), 1, 0)
            assert await store.log.link(segment, 1, 0, SegmentId(segment.shard, 2, 0), 2) == Written(False, None)
            assert await store.log.read_header(segment) is None

    async def test_of_a_link_and_an_append_at_once_the_header_names_the_winner(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            append, link = await asyncio.gather(
                store.log.append(segment, 1, Group(1, b"group 1", 1001)),
                store.log.link(segment, 1, 0, SegmentId(segment.shard, 2, 0), 2),
            )
            header, groups = await _contents(store, segment)
            assert append.applied != link.applied
            assert header == (append.header if append.applied else link.header)
            assert len(groups) == int(append.applied)

    async def test_the_header_is_read_after_the_writes_before_it(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            append, header = await asyncio.gather(_append(store, segment, 1), store.log.read_header(segment))
            assert append.applied
            assert header in (SegmentHeader(1, 0, 0), append.header)
            assert await store.log.read_header(segment) == append.header

    async def test_groups_are_read_ascending_beyond_after_up_to_the_limit(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store, last=10)
            await _append(store, segment, *range(11, 31))
            for after, limit, numbers in (
                (0, 3, [11, 12, 13]),
                (10, 1, [11]),
                (15, 4, [16, 17, 18, 19]),
                (28, 100, [29, 30]),
                (30, 5, []),
                (99, 5, []),
            ):
                assert [group.n for group in await store.log.read_groups(segment, after, limit)] == numbers

    async def test_groups_of_one_segment_are_not_in_another(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            await _append(store, segment, 1)
            following = SegmentId(segment.shard, 1, 1)
            await store.log.open_segment(following, SegmentHeader(1, 1, 1001))
            await store.log.link(segment, 1, 1, following, 1)
            await _append(store, following, 2)
            assert [group.n for group in await store.log.read_groups(segment, 0, 10)] == [1]
            assert [group.n for group in await store.log.read_groups(following, 0, 10)] == [2]

    async def test_a_dropped_segment_is_gone_with_header_and_groups(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            await _append(store, segment, 1, 2)
            await store.log.drop_segment(segment)
            assert await _contents(store, segment) == (None, [])

    async def test_dropping_is_idempotent_and_takes_no_other_segment(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            other = SegmentId(segment.shard, 1, 1)
            await store.log.open_segment(other, SegmentHeader(1, 0, 0))
            await store.log.drop_segment(segment)
            await store.log.drop_segment(segment)
            assert await store.log.read_header(other) == SegmentHeader(1, 0, 0)

    async def test_a_late_append_or_link_to_a_dropped_segment_is_not_applied(self) -> None:
        async with self.opened() as store:
            segment = await new_segment(store)
            await _append(store, segment, 1)
            await store.log.drop_segment(segment)
            assert await _append(store, segment, 2) == Written(False, None)
            assert await store.log.link(segment, 1, 1, SegmentId(segment.shard, 2, 0), 2) == Written(False, None)
            assert await _contents(store, segment) == (None, [])

    async def test_a_walk_meets_every_segment_and_none_that_was_dropped(self) -> None:
        async with self.opened() as store:
            shard, other = fresh(), fresh()
            kept = [SegmentId(shard, epoch, n) for epoch in (1, 2, 300) for n in range(3)] + [SegmentId(other, 1, 0)]
            dropped = [SegmentId(shard, 2, 9), SegmentId(other, 7, 1)]
            for segment in (*kept, *dropped):
                await store.log.open_segment(segment, SegmentHeader(segment.epoch, 0, 0))
            await _append(store, kept[0], 1, 2)
            assert (await store.log.append(kept[1], 1, Group(1, bytes(400 << 10), 5))).applied
            for segment in dropped:
                await store.log.drop_segment(segment)
            for limit in (1, 4, 1000):
                met = {segment for segment in await _walk(store, limit) if segment.shard in (shard, other)}
                assert met == set(kept)

    async def test_a_walk_over_nothing_ends(self) -> None:
        async with self.opened(empty=True) as store:
            assert await _walk(store, 10) == []

    async def test_what_a_walk_has_not_met_yet_may_be_dropped_meanwhile(self) -> None:
        async with self.opened(empty=True) as store:
            segments = [await new_segment(store) for _ in range(6)]
            met, place = await store.log.list_segments(b"", 1)
            while place:
                for segment in met:
                    await store.log.drop_segment(segment)
                found, place = await store.log.list_segments(place, 1)
                met += [segment for segment in found if segment not in met]
            assert sorted(met) == sorted(segments)

    async def test_a_cancelled_append_happens_whole_or_not_at_all(self) -> None:
        async with self.opened() as store:
            segment, group = await new_segment(store), Group(1, b"group 1", 1001)
            async with asyncio.TaskGroup() as tasks:
                append = tasks.create_task(store.log.append(segment, 1, group))
                tasks.create_task(store.log.read_header(segment))
                append.cancel()
            # Sent again until the answer is definite: applied now, or applied then.
            await store.log.append(segment, 1, group)
            assert await _contents(store, segment) == (SegmentHeader(1, 1, 1001), [group])
