import asyncio

import pytest
from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.enums.v1 import ResourceExhaustedCause

from perdure.base.errors import ResourceExhausted
from perdure.base.limits import Limits
from perdure.cluster.roles import Call, Offered
from perdure.matching.bounds import Bounds, Room
from perdure.matching.service import INSTANCES_MAX
from perdure.testing.loop import running_loop
from perdure.workflow.context import Caller
from perdure.workflow.requests import StartActivityTask, StartWorkflowTask
from tests.unit.matching.fakes import (
    ACTIVITY,
    SECOND,
    STICKY,
    WORK,
    Start,
    World,
    answer_of,
    figures,
    offer,
    pass_time,
    poll,
    task_of,
    virtual,
)


@virtual
async def test_a_waiting_poller_gets_the_offer_and_the_offer_does_not_wait_for_the_start() -> None:
    world = World()
    polled = await world.waiting_poll(poll(identity="me"))
    assert await world.matching.offer(WORK, [offer(1)], figures()) == Offered(1)
    assert world.history.starts == []
    assert task_of(await polled) == "wf-1"
    (start,) = world.history.starts
    assert isinstance(start, StartWorkflowTask)
    assert (start.identity, start.sticky_poll, start.poll_queue, len(start.request_id)) == ("me", False, "queue", 36)


@virtual
async def test_an_arriving_poller_gets_what_waits() -> None:
    world = World()
    await world.matching.offer(ACTIVITY, [offer(1, ACTIVITY), offer(2, ACTIVITY)], figures(2))
    capabilities = WorkerVersionCapabilities(build_id="b1")
    asked = poll(ACTIVITY, capabilities=capabilities.SerializeToString())
    assert task_of(await world.matching.poll(asked, Call())) == "wf-1"
    assert task_of(await world.matching.poll(asked, Call())) == "wf-2"
    first, second = world.history.starts
    assert isinstance(first, StartActivityTask)
    assert first.capabilities == capabilities
    assert first.request_id != second.request_id


@virtual
async def test_the_caller_travels_with_the_start() -> None:
    world = World()
    await world.matching.offer(WORK, [offer(1)], figures())
    await world.matching.poll(poll(), Call(caller=Caller("temporal-go", "1.0")))
    (start,) = world.history.starts
    assert isinstance(start, StartWorkflowTask)
    assert (start.client_name, start.client_version) == ("temporal-go", "1.0")


@virtual
async def test_an_empty_poll_uses_most_of_its_time_and_not_all_end_at_once() -> None:
    world = World()
    loop = running_loop()
    ends = []
    for timeout in (10, 10, 70, 0, 2):
        begin = loop.time()
        assert await world.matching.poll(poll(timeout_ns=timeout * SECOND), Call()) == b""
        ends.append(loop.time() - begin)
    assert all(8.3 <= ended <= 10 for ended in ends[:2])
    assert ends[0] != ends[1]
    assert all(50 <= ended <= 60 for ended in ends[2:4])
    assert 1.6 <= ends[4] <= 2, "the frontend has kept back what the way home takes"


@virtual
async def test_a_cancelled_poll_gives_its_place_up() -> None:
    world = World()
    first = await world.waiting_poll()
    second = await world.waiting_poll()
    first.cancel()
    await asyncio.wait([first])
    await world.matching.offer(WORK, [offer(1)], figures())
    assert task_of(await second) == "wf-1"


@virtual
async def test_nothing_is_started_for_a_client_that_is_gone() -> None:
    world = World()
    gone = await world.waiting_poll(poll(identity="gone"))
    await world.matching.offer(WORK, [offer(1)], figures())
    gone.cancel()
    await asyncio.wait([gone])
    assert world.history.starts == []
    assert task_of(await world.matching.poll(poll(identity="here"), Call())) == "wf-1"
    assert [start.identity for start in world.history.starts if isinstance(start, StartWorkflowTask)] == ["here"]


@virtual
async def test_the_same_start_goes_on_for_another_poller_if_the_first_is_cancelled_during_it() -> None:
    world = World()
    forever = running_loop().create_future()

    async def hang(start: Start) -> None:
        if len(world.history.starts) == 1:
            await forever

    world.history.on_start = hang
    await world.matching.offer(WORK, [offer(1)], figures())
    first = await world.waiting_poll()
    second = await world.waiting_poll()
    first.cancel()
    assert task_of(await second) == "wf-1"
    assert len({start.request_id for start in world.history.starts}) == 1


@virtual
async def test_offers_again_and_withdrawals() -> None:
    world = World()
    await world.matching.offer(WORK, [offer(1), offer(2), offer(3)], figures(3))
    assert await world.matching.offer(WORK, [offer(1), offer(2)], figures(3)) == Offered(2)
    await world.matching.withdraw(WORK, [offer(2)], figures(2))
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-1"
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-3"
    assert await world.matching.poll(poll(timeout_ns=SECOND), Call()) == b""
    await world.matching.withdraw(ACTIVITY, [offer(1)], figures(0))
    assert world.matching.partitions == 1, "a withdrawal loads nothing"


@virtual
async def test_a_sticky_queue_without_its_worker_is_unavailable() -> None:
    world = World()
    sticky = offer(1, sticky="worker-1")
    assert await world.matching.offer(STICKY, [sticky], figures()) == Offered(0, sticky_unavailable=True)
    assert world.matching.partitions == 0
    asked = poll(STICKY, normal_queue="queue")
    polled = await world.waiting_poll(asked)
    await pass_time(20)
    assert await world.matching.offer(STICKY, [sticky], figures()) == Offered(1)
    assert task_of(await polled) == "wf-1"
    (start,) = world.history.starts
    assert isinstance(start, StartWorkflowTask)
    assert start.sticky_poll
    await pass_time(9)
    assert (await world.matching.offer(STICKY, [offer(2, sticky="worker-1")], figures())).accepted == 1
    await pass_time(2)
    assert (await world.matching.offer(STICKY, [offer(3, sticky="worker-1")], figures())).sticky_unavailable


@virtual
async def test_what_fell_back_to_the_normal_queue_leaves_its_figures_alone() -> None:
    world = World(bounds=Bounds(references_max=2))
    await world.matching.offer(WORK, [offer(1)], figures(1, oldest_ns=7))
    await world.matching.offer(WORK, [offer(n, sticky="worker-1") for n in (2, 3)], figures(0))
    assert (await world.matching.describe(WORK)).backlog_count == 1
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-1"
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-2"
    assert world.history.pulls == [], "no shard lists these under the normal queue"


@virtual
async def test_too_many_polls_of_a_kind_in_a_namespace_are_refused_as_a_frontend_would() -> None:
    world = World(limits=Limits(waiting_polls_max=2))
    first = await world.waiting_poll()
    await world.waiting_poll()
    for _ in range(2):
        await world.waiting_poll(poll(ACTIVITY))
    with pytest.raises(ResourceExhausted, match="namespace concurrent poller limit exceeded") as refused:
        await world.matching.poll(poll(), Call())
    assert refused.value.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
    first.cancel()
    await asyncio.wait([first])
    again = await world.waiting_poll()
    again.cancel()
    await asyncio.wait([again])


@virtual
async def test_a_backlog_that_does_not_fit_is_pulled_in_order() -> None:
    world = World(bounds=Bounds(references_max=8, page=4))
    shards = {"s1": [offer(n) for n in range(1, 60, 2)], "s2": [offer(n) for n in range(2, 61, 2)]}
    for shard, offers in shards.items():
        world.history.outstanding[shard] = list(offers)
        answer = await world.matching.offer(WORK, offers, figures(len(offers), shard))
        assert answer.accepted < len(offers)
    answers = [await world.matching.poll(poll(), Call()) for _ in range(60)]
    assert [task_of(answer) for answer in answers] == [f"wf-{n}" for n in range(1, 61)]
    assert answer_of(answers[0]).backlog_count_hint == 59
    assert (await world.matching.describe(WORK)).backlog_count == 0


@virtual
async def test_ten_thousand_idle_polls_are_no_tasks_of_ours_and_partitions_go_when_idle() -> None:
    world = World(limits=Limits(waiting_polls_max=10_000))
    polls = [world.poll() for _ in range(10_000)]
    await pass_time(1)
    assert len(asyncio.all_tasks()) == 10_001
    for task in polls:
        task.cancel()
    await asyncio.wait(polls)
    await pass_time(298)
    assert world.matching.partitions == 1
    await pass_time(62)
    assert world.matching.partitions == 0


@virtual
async def test_a_partition_with_work_stays() -> None:
    world = World()
    await world.matching.offer(WORK, [offer(1)], figures())
    await pass_time(3_600)
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-1"


@virtual
async def test_closing_ends_everything() -> None:
    world = World()
    polled = await world.waiting_poll()
    await world.matching.close()
    assert await polled == b""
    assert world.matching.partitions == 0


@virtual
async def test_instances_that_shut_down_are_forgotten_though_nobody_polls() -> None:
    world = World()
    for minute in range(5):
        await world.matching.end_polls("ns", f"instance-{minute}", "")
        await pass_time(60)
    assert world.matching.instances_shut_down == 1


@virtual
async def test_only_so_many_instances_are_remembered_as_shut_down() -> None:
    world = World()
    for number in range(INSTANCES_MAX + 1):
        await world.matching.end_polls("ns", f"instance-{number}", "")
    assert world.matching.instances_shut_down == INSTANCES_MAX
    newest = poll(worker_instance_key=f"instance-{INSTANCES_MAX}")
    assert await world.matching.poll(newest, Call()) == b""
    assert running_loop().time() == 0


@virtual
async def test_ever_new_queue_names_are_refused_before_they_fill_the_memory() -> None:
    world = World(room=Room(partitions_max=1))
    await world.matching.offer(WORK, [offer(1)], figures())
    with pytest.raises(ResourceExhausted, match="too many task queues"):
        await world.matching.poll(poll(ACTIVITY), Call())
    assert await world.matching.offer(ACTIVITY, [offer(2, ACTIVITY)], figures()) == Offered(0)
    assert task_of(await world.matching.poll(poll(), Call())) == "wf-1"
