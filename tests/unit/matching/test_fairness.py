"""Whose turn it is: shares by weight, limits by key, and a queue of more keys than it may hold."""

import pytest
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits, QueueRule
from perdure.cluster.queue_configs import WEIGHTS_MAX
from perdure.cluster.roles import Call
from perdure.matching.bounds import Bounds, Room
from perdure.matching.fairness import FIRST, STRIDE, next_turn, stride_of, weight_in
from perdure.matching.matcher import Matcher
from perdure.store.memory import MemoryStore
from perdure.testing.loop import running_loop
from perdure.workflow.tasks import Offer, lane_of
from tests.unit.matching.fakes import (
    ACTIVITY,
    WORK,
    World,
    answer_of,
    figures,
    offer,
    pass_time,
    poll,
    task_of,
    virtual,
)
from tests.unit.matching.test_matcher import drain

FAIR = Limits(fairness=(QueueRule(value=True),))


def weights(**each: float) -> UpdateTaskQueueConfigRequest:
    return UpdateTaskQueueConfigRequest(set_fairness_weight_overrides=each)


def key_rate(value: float) -> UpdateTaskQueueConfigRequest:
    update = UpdateTaskQueueConfigRequest()
    update.update_fairness_key_rate_limit_default.rate_limit.requests_per_second = value
    return update


def fair_world(bounds: Bounds | None = None) -> World:
    world = World(FAIR, bounds)
    world.matching.configs.open(MemoryStore(running_loop().clock).documents)
    return world


async def backlog(world: World, counts: dict[str, int], shard: str = "s1") -> None:
    """So many tasks of each key; those of the first were there first."""
    serial = 0
    for key, count in counts.items():
        offers = [offer(serial + n, ACTIVITY, key=key) for n in range(count)]
        serial += count
        world.history.outstanding.setdefault(shard, []).extend(offers)
        await world.matching.offer(offers[0].queue, offers, figures(count, shard))


async def served(world: World, count: int) -> str:
    """The keys of the next so many tasks."""
    begun = len(world.history.starts)
    for _ in range(count):
        assert await world.matching.poll(poll(ACTIVITY), Call())
    return "".join(start.offer.fairness_key for start in world.history.starts[begun:])


def test_turns_of_a_lane_are_a_stride_apart_and_beyond_the_hand() -> None:
    for key in ("", "a", "b"):
        for stride in (1, 7, STRIDE):
            hand, before = FIRST, None
            for _ in range(5):
                turn = next_turn(hand, lane_of(key), stride)
                assert turn > hand
                assert before is None or turn[0] - before == stride
                hand, before = turn, turn[0]


@pytest.mark.parametrize(
    ("weight", "stride"),
    [
        (1, STRIDE),
        (2, STRIDE // 2),
        (0, STRIDE),
        (-1, STRIDE),
        (float("nan"), STRIDE),
        (1e9, 1_000_000),
        (1e-9, 10**12),
    ],
)
def test_a_weight_has_bounds(weight: float, stride: int) -> None:
    assert stride_of(weight_in({}, "a", weight)) == stride
    assert stride_of(weight_in({"a": weight}, "a", 5)) == stride


@virtual
async def test_each_key_has_its_share_however_many_tasks_another_has() -> None:
    world = fair_world()
    await backlog(world, {"a": 30, "b": 5, "c": 3})
    first = await served(world, 9)
    assert sorted(first) == sorted("aaabbbccc")
    assert sorted(await served(world, 6)) == sorted("aaaabb")


@virtual
async def test_weights_of_operators_go_before_those_of_tasks_and_hold_at_once() -> None:
    world = fair_world()
    await backlog(world, {"a": 60, "b": 60})
    assert (await served(world, 8)).count("a") == 4
    await world.matching.configure(ACTIVITY, weights(a=3))
    assert (await served(world, 16)).count("a") in (11, 12, 13)
    unset = UpdateTaskQueueConfigRequest(unset_fairness_weight_overrides=["a", "never set"])
    await world.matching.configure(ACTIVITY, unset)
    assert (await served(world, 8)).count("a") in (3, 4, 5)


@virtual
async def test_priorities_come_first() -> None:
    world = fair_world()
    await backlog(world, {"a": 4})
    urgent = offer(99, ACTIVITY, priority=1, key="b")
    world.history.outstanding["s1"].append(urgent)
    await world.matching.offer(urgent.queue, [urgent], figures(1))
    assert await served(world, 2) == "ba"


@virtual
async def test_where_keys_do_not_count_lanes_are_served_by_time() -> None:
    world = World()
    await backlog(world, {"a": 3, "b": 2})
    assert await served(world, 5) == "aaabb"


@virtual
async def test_figures_are_those_of_all_lanes() -> None:
    world = fair_world()
    await backlog(world, {"": 2, "a": 4, "b": 1})
    view = await world.matching.describe(ACTIVITY)
    assert (view.backlog_count, view.priorities[3].backlog_count) == (7, 7)
    await served(world, 3)
    assert (await world.matching.describe(ACTIVITY)).backlog_count == 4


@virtual
async def test_a_key_has_no_more_than_its_rate_and_holds_nobody_up() -> None:
    world = fair_world()
    await world.matching.configure(ACTIVITY, key_rate(1))
    await world.matching.configure(ACTIVITY, weights(b=2))
    await backlog(world, {"a": 20, "b": 20})
    begun = running_loop().time()
    first = await served(world, 30)
    took = running_loop().time() - begun
    assert took == pytest.approx((30 - 3) / 3, abs=1), "both have a burst of a second"
    assert first.count("b") == pytest.approx(20, abs=1)
    await world.matching.configure(ACTIVITY, key_rate(0))
    waiting = await world.waiting_poll(poll(ACTIVITY))
    await pass_time(10)
    assert not waiting.done()
    await world.matching.configure(ACTIVITY, key_rate(float("inf")))
    assert await waiting


@virtual
async def test_a_key_does_not_wait_for_the_rate_of_another() -> None:
    world = fair_world()
    await world.matching.configure(ACTIVITY, key_rate(1))
    await world.matching.configure(ACTIVITY, weights(a=0.001))
    await backlog(world, {"a": 2})
    assert await served(world, 1) == "a"
    waiting = await world.waiting_poll(poll(ACTIVITY))
    begun = running_loop().time()
    await backlog(world, {"b": 2}, "s2")
    assert await waiting
    assert await served(world, 1) == "b"
    assert running_loop().time() - begun == pytest.approx(1, abs=0.1)


@virtual
async def test_weights_are_kept_and_read_again() -> None:
    world = fair_world()
    await world.matching.configure(ACTIVITY, weights(b=3))
    again = World(FAIR)
    again.matching.configs.open(world.matching.configs._documents)  # type: ignore[arg-type]  # it was opened
    await backlog(again, {"a": 40, "b": 40})
    await pass_time(1)
    assert (await served(again, 16)).count("b") in (11, 12, 13)


@virtual
async def test_a_queue_has_so_many_weights_and_no_more() -> None:
    world = fair_world()
    await world.matching.configure(ACTIVITY, weights(**{str(n): 1 for n in range(WEIGHTS_MAX)}))
    with pytest.raises(InvalidArgument):
        await world.matching.configure(ACTIVITY, weights(more=1))
    await world.matching.configure(ACTIVITY, weights(**{"1": 2}))


def lanes(count: int, references_max: int) -> tuple[Matcher[Offer, str, str], list[Offer]]:
    matcher: Matcher[Offer, str, str] = Matcher(Bounds(references_max=references_max, page=1), Room())
    matcher.rank(fair=True, gate=None)
    offers = [offer(n, key=f"k{n}") for n in range(count)]
    for each in offers:
        matcher.add("s1", [each], 1, each.queue.version)
    return matcher, offers


def test_more_keys_than_there_is_room_for_all_have_their_turns() -> None:
    matcher, offers = lanes(9, 3)
    by_lane = {each.queue.version: each for each in offers}
    found = []
    for _ in range(60):
        found += drain(matcher, 1)
        for pull in matcher.wanted():
            page = [by_lane[pull.lane]] if f"{by_lane[pull.lane].key.workflow_id}" not in found else []
            matcher.pulled(pull.shard, page, 1, end=True, lane=pull.lane)
    assert sorted(found) == sorted(each.key.workflow_id for each in offers)
    turns = [next_turn(FIRST, lane, STRIDE) for lane in by_lane]
    assert found == [by_lane[lane].key.workflow_id for _, lane in sorted(turns)]


def test_of_one_key_too_many_nothing_is_kept_until_another_has_no_tasks() -> None:
    matcher: Matcher[Offer, str, str] = Matcher(Bounds(lanes_max=3), Room())
    first, second, third = (offer(n, key=f"k{n}") for n in range(3))
    for each in (first, second):
        assert matcher.add("s1", [each], 1, each.queue.version) == 1
    assert matcher.add("s1", [third], 1, third.queue.version) == 0
    assert (matcher.lanes, len(matcher)) == (3, 2)
    assert drain(matcher, 1) == ["wf-0"]
    assert matcher.add("s1", [third], 1, third.queue.version) == 1
    assert matcher.lanes == 3


def test_lanes_that_nobody_speaks_of_are_forgotten() -> None:
    matcher, offers = lanes(5, 100)
    for each in offers:
        matcher.report(figures(1), each.queue.version)
    assert matcher.backlog()[0] == 5
    assert len(drain(matcher, 5)) == 5
    assert matcher.backlog() == (0, 0)
    matcher.forget_silent()
    matcher.forget_silent()
    assert matcher.lanes == 1
    assert matcher.is_idle


@virtual
async def test_a_task_of_a_sticky_queue_has_its_lane_when_it_falls_back() -> None:
    world = fair_world()
    fallen = offer(1, sticky="worker-1", key="a")
    assert (await world.matching.offer(fallen.queue, [fallen], figures(0))).accepted == 1
    assert task_of(await world.matching.poll(poll(WORK), Call())) == "wf-1"
    assert not answer_of(await world.matching.poll(poll(WORK, timeout_ns=1_000_000), Call())).task_token
