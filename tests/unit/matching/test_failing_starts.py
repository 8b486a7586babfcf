import asyncio

import pytest

from perdure.base.errors import (
    Bug,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PerdureError,
    ShardLost,
    Unavailable,
)
from perdure.cluster.roles import Call
from perdure.matching.bounds import Bounds
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import StartWorkflowTask
from tests.unit.matching.fakes import (
    ACTIVITY,
    WORK,
    Start,
    World,
    figures,
    offer,
    pass_time,
    poll,
    task_of,
    virtual,
)


def fails(world: World, error: Exception, workflow_id: str = "wf-1", times: int = 1_000_000) -> None:
    """The first `times` starts of one workflow's task fail."""
    left = [times]

    async def start(request: Start) -> None:
        if request.offer.key.workflow_id == workflow_id and left[0]:
            left[0] -= 1
            raise error

    world.history.on_start = start


def started(world: World) -> list[str]:
    return [start.offer.key.workflow_id for start in world.history.starts]


@pytest.mark.parametrize("error", [NotFound("gone"), FailedPrecondition("not now")])
def test_an_obsolete_reference_is_dropped_and_the_poller_goes_on(error: PerdureError) -> None:
    async def test() -> None:
        world = World()
        fails(world, error)
        polled = await world.waiting_poll()
        await world.matching.offer(WORK, [offer(1), offer(2)], figures(2))
        assert task_of(await polled) == "wf-2"
        await pass_time(600)
        assert started(world) == ["wf-1", "wf-2"]
        assert (await world.matching.describe(WORK)).backlog_count == 0

    run_virtual(test())


@virtual
async def test_an_owner_that_moves_is_asked_again_with_the_same_request_id() -> None:
    world = World()
    fails(world, ShardLost("moved"), times=3)
    await world.matching.offer(WORK, [offer(1)], figures())
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-1"
    assert len(world.history.starts) == 4
    assert len({start.request_id for start in world.history.starts}) == 1


@virtual
async def test_an_owner_that_stays_away_holds_nobody_up_and_its_reference_is_kept() -> None:
    world = World()
    fails(world, Unavailable("nobody owns it"), times=8)
    await world.matching.offer(WORK, [offer(1), offer(2)], figures(2))
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-2"
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-1"
    assert len({start.request_id for start in world.history.starts}) == 2
    assert world.errors == []


@pytest.mark.parametrize("error", [Bug("ours"), KeyError("ours too"), InvalidArgument("how can that be")])
def test_an_error_that_nobody_expected_loses_nothing_and_does_not_spin(error: Exception) -> None:
    async def test() -> None:
        world = World()
        fails(world, error)
        polled = await world.waiting_poll()
        await world.matching.offer(WORK, [offer(1)], figures())
        await pass_time(40)
        assert 5 <= len(world.history.starts) <= 9
        assert world.errors == [error] * len(world.history.starts)
        await world.matching.offer(WORK, [offer(2)], figures(2))
        assert task_of(await polled) == "wf-2"
        fails(world, error, times=0)
        assert task_of(await world.matching.poll(poll(), Call())) == "wf-1"

    run_virtual(test())


@virtual
async def test_one_withdrawn_while_it_is_started_is_not_tried_again() -> None:
    world = World()
    release = running_loop().create_future()

    async def hang(request: Start) -> None:
        if request.offer == offer(1):
            await release

    world.history.on_start = hang
    polled = await world.waiting_poll()
    await world.matching.offer(WORK, [offer(1)], figures())
    await pass_time(1)
    await world.matching.withdraw(WORK, [offer(1)], figures(0))
    release.set_exception(Bug("ours"))
    await pass_time(100)
    assert polled.done()
    assert started(world) == ["wf-1"]


@virtual
async def test_a_refused_start_gives_its_token_back() -> None:
    world = World()
    fails(world, NotFound("gone"))
    offers = [offer(n, ACTIVITY) for n in (1, 2)]
    await world.matching.offer(ACTIVITY, offers, figures(2))
    begin = running_loop().time()
    answer = await world.matching.poll(poll(ACTIVITY, max_tasks_per_second=1.0), Call())
    assert task_of(answer) == "wf-2"
    assert running_loop().time() == begin


@virtual
async def test_an_activity_queue_goes_at_the_rate_that_its_latest_poller_asked_for() -> None:
    world = World()
    loop = running_loop()
    await world.matching.offer(ACTIVITY, [offer(n, ACTIVITY) for n in range(20)], figures(20))
    times = []
    for _ in range(6):
        assert await world.matching.poll(poll(ACTIVITY, max_tasks_per_second=2.0), Call())
        times.append(round(loop.time(), 3))
    assert times == [0, 0, 0.5, 1, 1.5, 2]
    waiting = await world.waiting_poll(poll(ACTIVITY, max_tasks_per_second=0.0))
    await pass_time(30)
    assert not waiting.done()
    assert await world.matching.poll(poll(ACTIVITY), Call()), "the last poller wins: no limit"
    assert await waiting


@virtual
async def test_workflow_tasks_are_not_limited() -> None:
    world = World()
    await world.matching.offer(WORK, [offer(n) for n in range(5)], figures(5))
    for _ in range(5):
        assert await world.matching.poll(poll(max_tasks_per_second=1.0), Call())
    assert running_loop().time() == 0


@virtual
async def test_a_shard_that_can_not_be_pulled_from_is_asked_again_and_holds_nobody_up() -> None:
    world = World(bounds=Bounds(references_max=2))
    offers = [offer(n) for n in (1, 2, 3)]
    world.history.outstanding["s1"] = list(offers)
    failures = 4

    async def refuse(shard: str) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise Unavailable("moving")

    world.history.on_pull = refuse
    await world.matching.offer(WORK, offers, figures(3))
    assert [task_of(await world.matching.poll(poll(), Call())) for _ in range(2)] == ["wf-1", "wf-2"]
    await world.matching.offer(WORK, [offer(4)], figures(1, "s2"))
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-4"
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-3"
    assert len(world.history.pulls) == 5
    assert running_loop().time() < 10


@virtual
async def test_a_shard_that_is_no_more_is_forgotten() -> None:
    world = World(bounds=Bounds(references_max=1))

    async def refuse(shard: str) -> None:
        raise NotFound("split")

    world.history.on_pull = refuse
    await world.matching.offer(WORK, [offer(1), offer(2)], figures(2))
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-1"
    await pass_time(100)
    assert len(world.history.pulls) == 1
    assert (await world.matching.describe(WORK)).backlog_count == 0


@virtual
async def test_a_poll_whose_time_is_over_while_the_owner_is_away_ends_empty() -> None:
    world = World()
    fails(world, Unavailable("nobody owns it"), times=1_000)
    polled = world.poll(poll(identity="late"))
    await asyncio.wait([polled], timeout=1)
    await world.matching.offer(WORK, [offer(1)], figures())
    assert await polled == b""
    assert running_loop().time() < 62
    starts = [start for start in world.history.starts if isinstance(start, StartWorkflowTask)]
    assert {start.identity for start in starts} == {"late"}
    assert len({start.request_id for start in starts}) == 1
