import asyncio

from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.deployment.v1 import WorkerDeploymentOptions

from perdure.cluster.roles import Call
from perdure.matching.pollers import POLLERS_MAX, PollerHistory
from perdure.testing.loop import WALL_START_NS, running_loop
from tests.unit.matching.fakes import (
    ACTIVITY,
    SECOND,
    STICKY,
    WORK,
    World,
    answer_of,
    figures,
    offer,
    pass_time,
    poll,
    virtual,
)


@virtual
async def test_who_polled_in_the_last_five_minutes_is_shown_with_what_they_said() -> None:
    world = World()
    capabilities = WorkerVersionCapabilities(build_id="b1")
    options = WorkerDeploymentOptions(build_id="b2")
    await world.matching.poll(poll(identity="early", timeout_ns=2 * SECOND), Call())
    await pass_time(200)
    await world.waiting_poll(
        poll(
            ACTIVITY,
            "rated",
            max_tasks_per_second=7.0,
            capabilities=capabilities.SerializeToString(),
            deployment_options=options.SerializeToString(),
        )
    )
    late = await world.waiting_poll(poll(identity="late"))
    view = await world.matching.describe(WORK)
    assert [(info.identity, info.rate_per_second) for info in view.pollers] == [("late", 1e5), ("early", 1e5)]
    seconds = view.pollers[0].last_access_time.seconds - WALL_START_NS // SECOND
    assert seconds == int(running_loop().time())
    (rated,) = (await world.matching.describe(ACTIVITY)).pollers
    assert (rated.rate_per_second, rated.worker_version_capabilities, rated.deployment_options) == (
        7,
        capabilities,
        options,
    )
    await late
    await pass_time(110)
    assert [info.identity for info in (await world.matching.describe(WORK)).pollers] == ["late"]


def test_only_so_many_pollers_are_kept() -> None:
    history = PollerHistory()
    for n in range(POLLERS_MAX + 5):
        history.note(poll(identity=f"w{n}"), n, n)
    history.note(poll(identity=""), 0, 0)
    assert len(history) == POLLERS_MAX
    assert history.shown(0)[-1].identity == "w5"


@virtual
async def test_the_backlog_is_the_sum_over_shards_and_as_old_as_its_oldest() -> None:
    world = World()
    now = running_loop().clock.now_ns()
    await world.matching.offer(WORK, [offer(1)], figures(10, "s1", oldest_ns=now - 3 * SECOND))
    await world.matching.offer(WORK, [offer(2)], figures(5, "s2", oldest_ns=now - 8 * SECOND))
    await world.matching.offer(WORK, [], figures(4, "s2", oldest_ns=now - 7 * SECOND))
    view = await world.matching.describe(WORK)
    assert (view.backlog_count, view.backlog_age_ns) == (14, 7 * SECOND)
    assert (view.add_rate, view.dispatch_rate) == (2, 0)
    assert await world.matching.poll(poll(), Call())
    assert (await world.matching.describe(WORK)).dispatch_rate == 1
    nobody = await world.matching.describe(ACTIVITY)
    assert (nobody.pollers, nobody.backlog_count) == ([], 0)


@virtual
async def test_answers_advise_on_the_number_of_pollers() -> None:
    world = World()
    idle = await world.waiting_poll()
    await pass_time(5)
    await world.matching.offer(WORK, [offer(1)], figures())
    answer = answer_of(await idle)
    assert answer.poller_scaling_decision.poll_request_delta_suggestion == -1
    assert answer.backlog_count_hint == 0
    now = running_loop().clock.now_ns()
    await world.matching.offer(WORK, [offer(2)], figures(300, oldest_ns=now - SECOND))
    answer = answer_of(await world.matching.poll(poll(), Call()))
    assert answer.poller_scaling_decision.poll_request_delta_suggestion == 1
    assert answer.backlog_count_hint == 299


@virtual
async def test_a_poll_that_is_released_is_answered_at_once_and_no_other() -> None:
    world = World()
    mine = await world.waiting_poll(poll(id="mine"))
    others = [await world.waiting_poll(poll(id="other")), await world.waiting_poll(poll())]
    begin = running_loop().time()
    await world.matching.release_polls(WORK, ["mine", "unknown", ""])
    assert await mine == b""
    assert running_loop().time() == begin
    await world.matching.offer(WORK, [offer(1), offer(2)], figures(2))
    assert all([await other for other in others])
    await world.matching.release_polls(WORK, ["mine", "other"])


@virtual
async def test_a_poll_that_is_released_while_its_task_is_started_brings_the_task() -> None:
    world = World()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def on_start(_start: object) -> None:
        begun.set()
        await go_on.wait()

    world.history.on_start = on_start
    mine = await world.waiting_poll(poll(id="mine"))
    await world.matching.offer(WORK, [offer(1)], figures(1))
    await begun.wait()
    await world.matching.release_polls(WORK, ["mine"])
    go_on.set()
    assert await mine
    assert len(world.history.starts) == 1


@virtual
async def test_a_task_that_a_released_poll_has_not_begun_with_goes_to_the_next() -> None:
    world = World()
    mine = await world.waiting_poll(poll(id="mine"))
    await world.matching.offer(WORK, [offer(1)], figures(1))  # it is this poll's, which doesn't know yet
    await world.matching.release_polls(WORK, ["mine"])
    assert await mine == b""
    assert await world.matching.poll(poll(), Call())


@virtual
async def test_shutting_a_worker_down_ends_its_polls_and_empties_those_that_follow() -> None:
    world = World()
    mine = [
        await world.waiting_poll(poll(partition, "me", worker_instance_key="key")) for partition in (WORK, ACTIVITY)
    ]
    other = await world.waiting_poll(poll(identity="other", worker_instance_key="other"))
    begin = running_loop().time()
    await world.matching.end_polls("ns", "key", "")
    assert [await task for task in mine] == [b"", b""]
    assert running_loop().time() == begin
    assert [info.identity for info in (await world.matching.describe(WORK)).pollers] == ["other"]
    await world.matching.offer(WORK, [offer(1), offer(2)], figures(2))
    assert await other
    await pass_time(29)
    assert await world.matching.poll(poll(worker_instance_key="key"), Call()) == b""
    await pass_time(1)
    assert await world.matching.poll(poll(worker_instance_key="key"), Call())


@virtual
async def test_shutting_a_worker_down_unloads_its_sticky_queue() -> None:
    world = World()
    mine = await world.waiting_poll(poll(STICKY, normal_queue="queue", worker_instance_key="key"))
    nameless = await world.waiting_poll(poll(STICKY, normal_queue="queue"))
    await world.matching.end_polls("elsewhere", "key", "worker-1")
    assert not mine.done()
    await world.matching.end_polls("ns", "key", "worker-1")
    assert await mine == b""
    assert await nameless == b""
    answer = await world.matching.offer(STICKY, [offer(1, sticky="worker-1")], figures())
    assert answer.sticky_unavailable


@virtual
async def test_a_worker_that_names_a_normal_queue_as_its_sticky_one_takes_nothing_of_it_along() -> None:
    world = World()
    await world.matching.offer(WORK, [offer(1)], figures())
    await world.matching.end_polls("ns", "key", WORK.name)
    assert await world.matching.poll(poll(), Call())
    other = await world.waiting_poll()
    await world.matching.end_polls("ns", "key", WORK.name)
    await world.matching.offer(WORK, [offer(2)], figures())
    assert await other
