"""The cache of chains: within its bytes whatever is asked, and never with less, more or other than the store has."""

import asyncio

import msgspec
import pytest

from perdure.base.errors import Bug, InvalidArgument, NotFound
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, HistoryRead
from perdure.history import executions
from perdure.history.chains import ShardChains
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.contract import Checkpoint, Pointer, Snapshot
from perdure.store.memory import MemoryStore
from perdure.store.memory.checkpoints import MemoryCheckpoints
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import DeleteRun
from tests.unit.history.house import House, key_of
from tests.unit.shards.fakes import passes

ONE_SHARD = ShardOptions(shards=1, checkpoint_age_s=0.1)
SMALL = Options(shards=ONE_SHARD, cache_bytes_max=20 * 4096)


class SlowCheckpoints(MemoryCheckpoints):
    """Reads of snapshots wait while the gate is shut, writes take a while; pointers of `spoilt` workflow
    ids have other bytes.
    """

    def __init__(self) -> None:
        super().__init__(running_loop().clock)
        self.gate = asyncio.Event()
        self.gate.set()
        self.spoilt: set[str] = set()

    async def write(self, checkpoint: Checkpoint) -> None:
        await passes(0.05)
        await super().write(checkpoint)

    async def read_pointer(self, key: ChainKey) -> Pointer | None:
        pointer = await super().read_pointer(key)
        if pointer is not None and key.workflow_id in self.spoilt:
            return msgspec.structs.replace(pointer, body=b"spoilt")
        return pointer

    async def read_snapshot(self, key: ChainKey, run_id: str) -> Snapshot | None:
        await self.gate.wait()
        return await super().read_snapshot(key, run_id)


class SlowStore(MemoryStore):
    """A memory store with slow checkpoints."""

    def __init__(self) -> None:
        super().__init__(running_loop().clock)
        self.slow = SlowCheckpoints()
        self.checkpoints = self.slow


def _chains(house: House) -> ShardChains:
    (shard,) = house.roles.shards.owned()
    return house.roles.executions.chains(shard)


def _check(chains: ShardChains) -> None:
    assert chains.bytes == sum(entry.bytes for entry in chains.entries.values())


async def _crash(house: House) -> None:
    for shard in house.roles.shards.owned():
        shard.log.fail("crashed")
        await shard.close()
    await house.roles.shards.stop()  # it holds none any more, and takes none again


async def _restart(house: House, store: MemoryStore, options: Options = SMALL) -> House:
    await _crash(house)
    return await House(running_loop(), store, options).open()


def test_asking_for_what_does_not_exist_does_not_fill_the_memory() -> None:
    async def play() -> tuple[int, int]:
        house = await House(running_loop(), MemoryStore(), SMALL).open()
        await house.start("w")
        for number in range(200):
            with pytest.raises(NotFound):
                await house.page(f"unknown {number}", HistoryRead("", 9))
            with pytest.raises(NotFound):
                await house.page("w", HistoryRead(f"unknown {number}", 9))
        chains = _chains(house)
        _check(chains)
        return len(chains.entries), len(chains.entries[key_of("w")].absent)

    entries, absent = run_virtual(play())
    assert entries <= 21
    assert absent == 0


def test_reading_alone_keeps_the_cache_within_its_bytes() -> None:
    async def play() -> int:
        store = MemoryStore()
        house = await House(running_loop(), store, SMALL).open()
        for number in range(100):
            await house.start(f"w{number}")
        await house.roles.stop()
        house = await House(running_loop(), store, SMALL).open()
        for number in range(100):
            assert await house.events(f"w{number}") == ["1 started", "2 workflow_task_scheduled"]
        chains = _chains(house)
        _check(chains)
        return chains.bytes

    assert run_virtual(play()) <= 21 * 4096 + 2 * 4096


def test_the_bytes_are_those_of_all_shards_together() -> None:
    """However many shards a host has, also when others leave theirs to it."""

    async def play() -> tuple[int, int]:
        store, options = MemoryStore(), Options(shards=ShardOptions(shards=4), cache_bytes_max=40 * 4096)
        house = await House(running_loop(), store, options).open()
        for number in range(200):
            await house.start(f"w{number}")
        await house.roles.stop()
        house = await House(running_loop(), store, options).open()
        for number in range(200):
            assert await house.events(f"w{number}") == ["1 started", "2 workflow_task_scheduled"]
        return house.roles.executions.cached_bytes, house.roles.executions.room.bytes_max

    held, most = run_virtual(play())
    assert most == 40 * 4096
    assert held <= most + 4 * 3 * 4096


def test_a_chain_that_is_never_clean_is_charged_what_it_holds() -> None:
    async def play() -> int:
        house = await House(running_loop(), SlowStore(), Options(shards=ONE_SHARD)).open()
        await house.start("w")
        for number in range(400):  # so that at every checkpoint's end something new is dirty
            await house.signal("w", "x" * 1000, f"{number:04}" * 250)
            await passes(0.02)
        _check(_chains(house))
        return _chains(house).bytes

    assert run_virtual(play()) < 2_000_000


def test_a_reader_that_goes_away_leaves_the_chain_as_it_was() -> None:
    async def play() -> tuple[bool, list[str]]:
        store = SlowStore()
        house = await House(running_loop(), store, SMALL).open()
        await house.start("w")
        await house.roles.stop()
        house = await House(running_loop(), store, SMALL).open()
        store.slow.gate.clear()
        async with asyncio.TaskGroup() as group:
            readings = [group.create_task(house.page("w", HistoryRead("", 9))) for _ in range(3)]
            await asyncio.wait(readings, timeout=1)
            for reading in readings:
                reading.cancel()
        store.slow.gate.set()
        is_needed = _chains(house).entries[key_of("w")].is_needed(0)
        return is_needed, await house.events("w")

    assert run_virtual(play()) == (False, ["1 started", "2 workflow_task_scheduled"])


def test_a_pointer_that_can_t_be_read_is_not_taken_for_none() -> None:
    async def play() -> list[type[BaseException]]:
        store = SlowStore()
        house = await House(running_loop(), store, SMALL).open()
        await house.start("w", "first")
        await house.roles.stop()
        house = await House(running_loop(), store, SMALL).open()
        store.slow.spoilt.add("w")
        outcomes = await asyncio.gather(*(house.start("w", str(at)) for at in range(3)), return_exceptions=True)
        outcomes += await asyncio.gather(house.start("w", "last"), return_exceptions=True)
        return [type(outcome) for outcome in outcomes if isinstance(outcome, BaseException)]

    found = run_virtual(play())
    assert len(found) == 4
    assert all(issubclass(kind, Bug) for kind in found)


def test_a_pointer_that_can_t_be_read_keeps_no_shard_away() -> None:
    async def play() -> list[str]:
        store = SlowStore()
        house = await House(running_loop(), store, SMALL).open()
        await house.start("w")
        await house.start("whole")
        await passes(1)
        await house.signal("w", "s")
        store.slow.spoilt.add("w")
        house = await _restart(house, store)
        errors = await asyncio.gather(house.events("w"), house.events("w"), return_exceptions=True)
        assert [type(error) for error in errors] == [Bug, Bug]
        assert errors[0] is not errors[1]  # one that is raised over and over would keep the frames of every caller
        return await house.events("whole")

    assert run_virtual(play()) == ["1 started", "2 workflow_task_scheduled"]


def test_a_recovered_chain_that_was_evicted_does_not_keep_the_log() -> None:
    async def play() -> tuple[int, bool]:
        store = SlowStore()
        options = Options(shards=ONE_SHARD, cache_bytes_max=1)
        house = await House(running_loop(), store, options).open()
        for number in range(10):
            await house.start(f"w{number}")
        await passes(0.16)  # checkpointed, but no later group says so
        house = await _restart(house, store, options)
        with pytest.raises(NotFound):
            await house.events("unknown")  # makes room
        await passes(0.12)  # the next checkpoint is under way
        await house.events("w0")
        await passes(5)
        (shard,) = house.roles.shards.owned()
        return len(shard.checkpointer.blocked), _chains(house).entries[key_of("w0")].is_dirty

    assert run_virtual(play()) == (0, False)


def test_a_deletion_that_the_store_has_forgotten_is_one_all_the_same() -> None:
    async def play() -> list[str]:
        store = SlowStore()
        house = await House(running_loop(), store, SMALL).open()
        await house.start("held")
        await house.start("w", "first")
        await passes(1)
        (shard,) = house.roles.shards.owned()
        shard.checkpointer.blocked[key_of("held")] = shard.next_position  # the log stays from here on
        await house.signal("w", "s")
        run_id = _chains(house).entries[key_of("w")].chain.runs.popitem()[0]
        house = await _restart(house, store)
        (shard,) = house.roles.shards.owned()
        shard.checkpointer.blocked[key_of("held")] = 1
        await house.roles.history.transact(key_of("w"), DeleteRun(run_id), Call())
        await passes(2)
        await passes(2 * 3600)
        await house.start("other")
        await passes(2)
        house = await _restart(house, store)
        await house.start("w", "second")
        return await house.events("w")

    assert run_virtual(play()) == ["1 started", "2 workflow_task_scheduled"]


def test_a_state_that_no_store_takes_stops_no_other_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> tuple[int, list[str], int]:
        store = SlowStore()
        house = await House(running_loop(), store, Options(shards=ONE_SHARD, limits=Limits(state_bytes_max=1))).open()
        with monkeypatch.context() as patched:
            patched.setattr(executions, "SNAPSHOT_BYTES_MAX", 10)
            await house.start("large")
            await passes(1)
        await house.start("small")
        await passes(1)
        (shard,) = house.roles.shards.owned()
        blocked = len(shard.checkpointer.blocked)
        assert await store.checkpoints.read_pointer(key_of("small")) is not None
        assert await store.checkpoints.read_pointer(key_of("large")) is None
        with pytest.raises(InvalidArgument, match="state size exceeds"):
            await house.signal("large", "s")
        await passes(1)
        assert await store.checkpoints.read_pointer(key_of("large")) is not None
        return blocked, await house.events("large"), len(shard.checkpointer.blocked)

    blocked, events, left = run_virtual(play())
    assert (blocked, left) == (1, 0)
    assert events[-1].endswith("terminated")
