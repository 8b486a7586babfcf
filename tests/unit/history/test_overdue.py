"""A closed run whose retention timer's row was lost goes all the same; so does the list row of a run that is gone."""

from perdure.base.clock import SECOND_NS
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Checkpoint, Home
from perdure.store.memory import MemoryStore
from perdure.testing.loop import VirtualClock, run_virtual, running_loop
from perdure.visibility.rows import VisibilityQuery, VisibilityRow
from perdure.workflow.tasks import Effect, EffectKind, TimerKind
from tests.unit.history.house import NAMESPACE, House, finish, key_of
from tests.unit.history.test_former_runs import RETENTION_S, exists
from tests.unit.shards.fakes import passes

ONE_SHARD = Options(shards=ShardOptions(shards=1, checkpoint_age_s=0.1, sweep_interval_s=1e9))
FOUND_S = 3_600 + 2 * ONE_SHARD.shards.overdue_interval_s


async def _opened(store: MemoryStore) -> House:
    return await House(running_loop(), store, ONE_SHARD).open()


def _shard(house: House) -> OwnedShard:
    (shard,) = house.roles.shards.owned()
    return shard


async def _listed(store: MemoryStore) -> list[str]:
    return [row.run_id for row in (await store.visibility.list(VisibilityQuery(NAMESPACE.id))).rows]


async def _closed(house: House, workflow_id: str) -> str:
    """A run that has just closed, and is checkpointed."""
    run_id = (await house.start(workflow_id)).run_id
    await house.complete(await house.poll(), finish())
    await passes(10)
    return run_id


def test_a_run_whose_timer_was_lost_while_nobody_had_the_shard_goes() -> None:
    async def play() -> None:
        clock = VirtualClock(running_loop())
        store = MemoryStore(clock)
        house = await _opened(store)
        run_id = await _closed(house, "w")
        shard = _shard(house)
        home = Home(shard.shard_id, shard.slots)
        await house.roles.stop()
        (timer,) = await store.checkpoints.read_timers(home, None, 9)
        assert (timer.kind, timer.run_id) == (TimerKind.RETENTION, run_id)
        await store.checkpoints.write(Checkpoint(clock.now_ns() // 1000, home, [], [], [], [], [], [], [], [timer]))
        house = await _opened(store)
        await passes(RETENTION_S + 3_000)
        assert await _listed(store) == [run_id], "nothing leads to it any more"
        await passes(FOUND_S)
        assert await _listed(store) == []
        assert not await exists(house, "w", run_id)
        assert await store.checkpoints.read_timers(home, None, 9) == []

    run_virtual(play())


def test_a_list_row_whose_run_is_gone_goes() -> None:
    async def play() -> None:
        store = MemoryStore(VirtualClock(running_loop()))
        house = await _opened(store)
        run_id = await _closed(house, "w")
        left = VisibilityRow(NAMESPACE.id, "w", "gone", 5, status=2, start_time_ns=SECOND_NS, close_time_ns=SECOND_NS)
        await store.visibility.upsert([left])
        await passes(FOUND_S)
        assert await _listed(store) == [run_id]

    run_virtual(play())


def test_what_is_left_of_a_run_follows_from_its_state() -> None:
    async def play() -> None:
        house = await _opened(MemoryStore(VirtualClock(running_loop())))
        opened = (await house.start("open")).run_id
        await house.poll()
        closed = await _closed(house, "closed")
        executions, shard = house.roles.executions, _shard(house)
        assert await executions.left_of(shard, key_of("open"), opened, 7) is None
        found = await executions.left_of(shard, key_of("closed"), closed, 7)
        timers = await house.roles.store.checkpoints.read_timers(Home(shard.shard_id, shard.slots), None, 9)
        assert [timer for timer in timers if timer.kind == TimerKind.RETENTION] == [found]
        gone = await executions.left_of(shard, key_of("closed"), "gone", 7)
        assert gone == Effect(key_of("closed"), "gone", EffectKind.VISIBILITY_DELETE, 2**62, 7)

    run_virtual(play())
