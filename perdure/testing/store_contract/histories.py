"""History nodes: ranges of a branch in both directions, cut by size; branches that are dropped."""

import itertools

from perdure.store.contract import Node, Store
from perdure.testing.store_contract.suite import StoreSuite, chain, checkpoint, fresh


async def _branch(store: Store, *bounds: int, stamp: int = 10) -> tuple[str, list[Node]]:
    """A fresh branch whose nodes end where the next one begins."""
    branch = fresh()
    nodes = [Node(branch, first, end, b"%d" % first * 10) for first, end in itertools.pairwise(bounds)]
    await store.checkpoints.write(checkpoint(stamp, *nodes))
    return branch, nodes


async def _all(store: Store, branch: str) -> list[Node]:
    return await store.checkpoints.read_nodes(branch, 1, 1 << 40, 1 << 30)


class HistoryContract(StoreSuite):
    """`Checkpoints`: history nodes."""

    async def test_nodes_are_read_ascending_and_byte_for_byte(self) -> None:
        async with self.opened() as store:
            branch = fresh()
            nodes = [Node(branch, 1, 3, b"\x00\xff"), Node(branch, 3, 4, b""), Node(branch, 4, 11, b"n" * 70_000)]
            await store.checkpoints.write(checkpoint(10, *reversed(nodes)))
            assert await _all(store, branch) == nodes

    async def test_a_range_gets_every_node_that_overlaps_it_and_no_other(self) -> None:
        async with self.opened() as store:
            branch, (one, two, three, four) = await _branch(store, 1, 4, 5, 9, 20)
            for first, end, overlapping in (
                (1, 2, [one]),
                (3, 4, [one]),
                (3, 5, [one, two]),
                (4, 5, [two]),
                (6, 8, [three]),
                (8, 10, [three, four]),
                (19, 99, [four]),
                (20, 99, []),
                (1, 20, [one, two, three, four]),
                (5, 5, []),
            ):
                assert await store.checkpoints.read_nodes(branch, first, end, 1 << 30) == overlapping
                back = await store.checkpoints.read_nodes_back(branch, first, end, 1 << 30)
                assert back == overlapping[::-1]

    async def test_reading_stops_after_the_node_that_passes_the_limit(self) -> None:
        async with self.opened() as store:
            branch, (one, two, three, four) = await _branch(store, 1, 2, 3, 4, 5)
            for limit, ascending, descending in (
                (0, [one], [four]),
                (9, [one], [four]),
                (10, [one, two], [four, three]),
                (19, [one, two], [four, three]),
                (40, [one, two, three, four], [four, three, two, one]),
            ):
                assert await store.checkpoints.read_nodes(branch, 1, 5, limit) == ascending
                assert await store.checkpoints.read_nodes_back(branch, 1, 5, limit) == descending

    async def test_branches_do_not_mix_and_an_unknown_one_is_empty(self) -> None:
        async with self.opened() as store:
            branch, nodes = await _branch(store, 1, 2, 3)
            await _branch(store, 1, 9)
            assert await _all(store, branch) == nodes
            assert await _all(store, fresh()) == []
            assert await store.checkpoints.read_nodes_back(fresh(), 1, 9, 100) == []

    async def test_of_one_node_the_highest_stamp_wins(self) -> None:
        async with self.opened() as store:
            branch = fresh()
            for stamp in (20, 30, 10):
                await store.checkpoints.write(checkpoint(stamp, Node(branch, 1, stamp, b"%d" % stamp)))
            assert await _all(store, branch) == [Node(branch, 1, 30, b"30")]

    async def test_a_dropped_branch_is_gone_and_others_stay(self) -> None:
        async with self.opened() as store:
            branch, _ = await _branch(store, 1, 2, 3)
            other, nodes = await _branch(store, 1, 2, 3)
            await store.checkpoints.write(checkpoint(20, dropped=[(chain(), branch)]))
            assert await _all(store, branch) == []
            assert await store.checkpoints.read_nodes_back(branch, 1, 9, 1000) == []
            assert await _all(store, other) == nodes

    async def test_a_late_node_does_not_bring_back_a_dropped_branch(self) -> None:
        async with self.opened() as store:
            branch = fresh()
            await store.checkpoints.write(checkpoint(20, dropped=[(chain(), branch)]))
            for stamp in (19, 20):
                await store.checkpoints.write(checkpoint(stamp, Node(branch, stamp, stamp + 1, b"late")))
            assert await _all(store, branch) == []

    async def test_a_branch_dropped_with_its_nodes_in_one_checkpoint_is_gone(self) -> None:
        async with self.opened() as store:
            branch = fresh()
            await store.checkpoints.write(checkpoint(20, Node(branch, 1, 2, b"n"), dropped=[(chain(), branch)]))
            assert await _all(store, branch) == []

    async def test_a_late_drop_spares_nodes_of_a_higher_stamp(self) -> None:
        async with self.opened() as store:
            branch, nodes = await _branch(store, 1, 2, 3, stamp=30)
            await store.checkpoints.write(checkpoint(20, dropped=[(chain(), branch)]))
            assert await _all(store, branch) == nodes
