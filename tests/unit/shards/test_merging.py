"""When neighbours become one by themselves: after having little to do for long, never too few, and not for ever."""

from perdure.shards.merging import Idle, MergePolicy
from perdure.shards.options import ShardOptions
from perdure.shards.splitting import SplitPolicy
from tests.unit.shards.circle import Circle, has, until
from tests.unit.shards.fakes import Host, key, memory, passes, virtual

POLICY = MergePolicy(transitions_per_s=10, for_s=20, pause_s=100, look_s=5, shards_min=2)
PAIRS = [("a", "b"), ("b", "c")]


def _looks(idle: Idle, begin: int, rates: dict[str, int], looks: int) -> int:
    for at in range(begin, begin + looks):
        idle.look(at * 5.0, {shard: rate * 5 * at for shard, rate in rates.items()}, PAIRS)
    return begin + looks


def test_neighbours_are_merged_when_both_had_little_to_do_for_long_and_those_with_least_first() -> None:
    idle = Idle(POLICY)
    at = _looks(idle, 1, {"a": 5, "b": 4, "c": 3}, 4)
    assert idle.to_merge(3) is None
    _looks(idle, at, {"a": 5, "b": 4, "c": 3}, 1)
    assert idle.to_merge(3) == ("b", "c")
    assert idle.to_merge(2) is None


def test_one_busy_look_or_another_host_begins_the_count_anew() -> None:
    idle = Idle(POLICY)
    at = _looks(idle, 1, {"a": 1, "b": 1}, 4)
    idle.look(at * 5.0, {"a": 5 * (at - 1) + 50, "b": 5 * at}, PAIRS)
    _looks(idle, at + 1, {"a": 20, "b": 1}, 1)
    assert idle.to_merge(3) is None
    at = _looks(idle, at + 2, {"a": 20, "b": 20}, 20)
    assert idle.to_merge(3) is None
    idle = Idle(POLICY)
    at = _looks(idle, 1, {"a": 1, "b": 1}, 4)
    idle.look(at * 5.0, {"a": 5 * at, "b": 5 * at}, [])
    _looks(idle, at + 1, {"a": 1, "b": 1}, 3)
    assert idle.to_merge(3) is None


def test_after_a_merge_there_is_a_pause() -> None:
    idle = Idle(POLICY)
    at = _looks(idle, 1, {"a": 1, "b": 1}, 6)
    idle.rest()
    at = _looks(idle, at, {"a": 1, "b": 1}, 19)
    assert idle.to_merge(3) is None
    _looks(idle, at, {"a": 1, "b": 1}, 1)
    assert idle.to_merge(3) == ("a", "b")


def test_the_halves_of_a_shard_that_was_too_busy_are_not_idle() -> None:
    split = SplitPolicy(transitions_per_s=100)
    assert MergePolicy(transitions_per_s=90).beside(split).transitions_per_s * 2 < split.transitions_per_s
    assert MergePolicy(transitions_per_s=20).beside(split).transitions_per_s == 20
    assert POLICY.beside(None) == POLICY


def test_idle_shards_become_fewer_by_themselves_where_that_is_switched_on() -> None:
    async def work() -> None:
        policy = MergePolicy(transitions_per_s=5, for_s=20, pause_s=10, shards_min=3)
        host = Host(memory(), options=ShardOptions(shards=6, auto_merge=policy))
        shard = await host.start()
        await host.role.add(host.shards.by_slot(key().slot), key(), 7)
        await passes(180)
        assert len(host.shards.owned()) == 3
        assert await host.role.values(host.shards.by_slot(key().slot), key()) == [7]
        assert shard.is_lost or shard in host.shards.owned()
        await host.shards.stop()

    virtual(work())


def test_who_has_made_a_shard_is_let_be_until_it_inherits_nothing() -> None:
    async def work() -> None:
        circle = Circle(shards=1, calm_s=5.0, inherit_interval_s=1.0)
        circle.map_version = 0
        one, other = await circle.start("one", "other")
        children = await one.shards.split(one.shards.owned()[0].shard_id, 2)
        begun = [shard.epoch for shard in one.shards.owned()]
        assert len(set(begun)) == 1
        other.shards.assign({children[1]}, circle.version + 1)
        took_s = await until(lambda: bool(other.shards.owned()), 10)
        assert 1 < took_s < 7
        assert has(one) is not None
        for host in (one, other):
            await host.shards.stop()

    virtual(work())
