"""Snapshots and pointers: the highest stamp wins, whatever the order of arrival; a deletion is a write."""

import itertools

from perdure.store.contract import Pointer, Snapshot
from perdure.testing.store_contract.suite import HOME, StoreSuite, chain, checkpoint, offer_of, timer_of


class CheckpointContract(StoreSuite):
    """`Checkpoints`: the rows that are read by their key."""

    async def test_an_unknown_run_has_neither_snapshot_nor_pointer(self) -> None:
        async with self.opened() as store:
            assert await store.checkpoints.read_snapshot(chain(), "run") is None
            assert await store.checkpoints.read_pointer(chain()) is None

    async def test_nothing_is_found_by_ids_of_any_length(self) -> None:
        async with self.opened() as store:
            long = "x" * 100_000  # no store has to take a key of that length, but callers ask for it
            assert await store.checkpoints.read_pointer(chain(long)) is None
            assert await store.checkpoints.read_snapshot(chain(long), "run") is None
            assert await store.checkpoints.read_snapshot(chain(), long) is None

    async def test_what_was_written_is_read_back_byte_for_byte(self) -> None:
        async with self.opened() as store:
            key = chain()
            snapshots = [Snapshot(key, "r1", 7, b"\x00\xffstate"), Snapshot(key, "r2", 9, b"")]
            await store.checkpoints.write(checkpoint(10, *snapshots, Pointer(key, 9, b"r2")))
            assert await store.checkpoints.read_snapshot(key, "r1") == snapshots[0]
            assert await store.checkpoints.read_snapshot(key, "r2") == snapshots[1]
            assert await store.checkpoints.read_pointer(key) == Pointer(key, 9, b"r2")

    async def test_chains_differ_by_namespace_and_by_workflow_id(self) -> None:
        async with self.opened() as store:
            one = chain("a")
            other, third = chain("b", one.namespace_id), chain("a")
            await store.checkpoints.write(checkpoint(10, Snapshot(one, "run", 1, b"1"), Pointer(one, 1, b"1")))
            for key in (other, third):
                assert await store.checkpoints.read_snapshot(key, "run") is None
                assert await store.checkpoints.read_pointer(key) is None

    async def test_the_highest_stamp_wins_in_every_order_of_arrival(self) -> None:
        async with self.opened() as store:
            for stamps in itertools.permutations((10, 20, 30)):
                key = chain()
                for stamp in stamps:
                    body = b"as of %d" % stamp
                    rows = (Snapshot(key, "run", stamp, body), Pointer(key, stamp, body))
                    await store.checkpoints.write(checkpoint(stamp, *rows))
                assert await store.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 30, b"as of 30")
                assert await store.checkpoints.read_pointer(key) == Pointer(key, 30, b"as of 30")

    async def test_the_position_does_not_decide(self) -> None:
        async with self.opened() as store:
            key = chain()
            await store.checkpoints.write(checkpoint(10, Snapshot(key, "run", 900, b"high position")))
            await store.checkpoints.write(checkpoint(11, Snapshot(key, "run", 3, b"high stamp")))
            assert await store.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 3, b"high stamp")

    async def test_a_deletion_is_seen_as_such(self) -> None:
        async with self.opened() as store:
            key = chain()
            await store.checkpoints.write(checkpoint(10, Snapshot(key, "run", 1, b"1"), Pointer(key, 1, b"1")))
            await store.checkpoints.write(checkpoint(20, Snapshot(key, "run", 5, None), Pointer(key, 5, None)))
            assert await store.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 5, None)
            assert await store.checkpoints.read_pointer(key) == Pointer(key, 5, None)

    async def test_a_late_write_does_not_bring_back_what_was_deleted_since(self) -> None:
        async with self.opened() as store:
            key = chain()
            await store.checkpoints.write(checkpoint(20, Snapshot(key, "run", 5, None), Pointer(key, 5, None)))
            await store.checkpoints.write(checkpoint(19, Snapshot(key, "run", 4, b"4"), Pointer(key, 4, b"4")))
            assert await store.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 5, None)
            assert await store.checkpoints.read_pointer(key) == Pointer(key, 5, None)

    async def test_a_later_write_brings_back_what_was_deleted(self) -> None:
        async with self.opened() as store:
            key = chain()
            await store.checkpoints.write(checkpoint(20, Snapshot(key, "run", 5, None), Pointer(key, 5, None)))
            await store.checkpoints.write(checkpoint(21, Snapshot(key, "run", 6, b"6"), Pointer(key, 6, b"6")))
            assert await store.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 6, b"6")
            assert await store.checkpoints.read_pointer(key) == Pointer(key, 6, b"6")

    async def test_a_deletion_beats_a_write_of_the_same_stamp_in_both_orders(self) -> None:
        async with self.opened() as store:
            for bodies in ((b"body", None), (None, b"body")):
                key = chain()
                for body in bodies:
                    await store.checkpoints.write(checkpoint(20, Snapshot(key, "run", 5, body), Pointer(key, 5, body)))
                assert await store.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 5, None)
                assert await store.checkpoints.read_pointer(key) == Pointer(key, 5, None)

    async def test_the_same_checkpoint_twice_is_the_same_as_once(self) -> None:
        async with self.opened() as store:
            key = chain()
            offer, timer = offer_of(key, 100), timer_of(key, 200)
            rows = checkpoint(10, Snapshot(key, "run", 1, b"1"), Pointer(key, 1, b"1"), offer, timer)
            await store.checkpoints.write(rows)
            await store.checkpoints.write(rows)
            assert await store.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 1, b"1")
            assert await store.checkpoints.read_offers(HOME, offer.queue, None, 10) == [offer]
            timers = await store.checkpoints.read_timers(HOME, None, 1000)
            assert [found for found in timers if found.key == key] == [timer]

    async def test_an_empty_checkpoint_is_fine(self) -> None:
        async with self.opened() as store:
            await store.checkpoints.write(checkpoint(10))
            assert await store.checkpoints.read_pointer(chain()) is None

    async def test_one_checkpoint_may_hold_rows_of_many_chains(self) -> None:
        async with self.opened() as store:
            keys = [chain(f"w{n}") for n in range(100)]
            await store.checkpoints.write(checkpoint(10, *(Snapshot(key, "run", 1, b"s") for key in keys)))
            for key in keys:
                assert await store.checkpoints.read_snapshot(key, "run") == Snapshot(key, "run", 1, b"s")
