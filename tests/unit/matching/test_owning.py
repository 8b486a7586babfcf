"""Partitions that come and go with the members' view. Two owners are harmless; a poll at the wrong host is not."""

import asyncio

import pytest
from temporalio.api.workflowservice.v1 import RespondQueryTaskCompletedRequest

from perdure.base.errors import PartitionElsewhere
from perdure.base.slots import ChainKey
from perdure.cluster.members import Role, View
from perdure.cluster.queue_configs import KIND
from perdure.cluster.ring import Rings, partition_key
from perdure.cluster.roles import Call, Offered, QueryTask
from perdure.store.memory import MemoryStore
from perdure.testing.loop import running_loop
from perdure.workflow.tasks import QueueKey, QueueKind
from perdure.workflow.tokens import QueryToken
from tests.unit.cluster.views import FakeMembership, view
from tests.unit.matching.fakes import WORK, World, figures, offer, pass_time, poll, task_of, virtual
from tests.unit.matching.test_limits import limit

ALONE = view(1, "a")
BOTH = view(2, "a", "b")


def queue_of(host: str, known: View) -> QueueKey:
    """A queue that the view gives to the host."""
    rings = Rings(known)
    queues = (QueueKey("ns", f"queue-{number}", QueueKind.WORKFLOW) for number in range(100))
    return next(queue for queue in queues if rings.owner(Role.MATCHING, partition_key(queue)) == host)


MOVES = queue_of("b", BOTH)
STAYS = queue_of("a", BOTH)


def following(known: View = ALONE) -> tuple[World, FakeMembership]:
    world, membership = World(), FakeMembership("a", known)
    world.matching.follow(membership)
    return world, membership


def query(queue: QueueKey) -> QueryTask:
    return QueryTask(ChainKey("ns", "wf"), "run", b"q", QueryToken("ns", queue.name, "query"))


@virtual
async def test_polls_and_queries_go_where_the_partition_goes_and_others_stay() -> None:
    world, membership = following()
    asked = running_loop().create_task(world.matching.query(MOVES, query(MOVES), Call()))
    await pass_time(0.01)
    assert task_of(await world.matching.poll(poll(MOVES), Call())) == "query q"
    moved = await world.waiting_poll(poll(MOVES))
    stays = await world.waiting_poll(poll(STAYS))
    membership.set(BOTH)
    for ended in (moved, asked):
        with pytest.raises(PartitionElsewhere) as caught:
            await ended
        assert (caught.value.host, caught.value.view) == ("b", 2)
    await world.matching.offer(STAYS, [offer(1, STAYS)], figures())
    assert task_of(await stays) == "wf-1"
    assert world.matching.partitions == 1


@virtual
async def test_a_query_stays_where_its_queue_does_though_the_queues_activities_move() -> None:
    world, membership = following()
    rings = Rings(BOTH)
    names = (f"queue-{number}" for number in range(100))
    work, activities = next(
        (work, activities)
        for name in names
        for work in [QueueKey("ns", name, QueueKind.WORKFLOW)]
        for activities in [QueueKey("ns", name, QueueKind.ACTIVITY)]
        if [rings.owner(Role.MATCHING, partition_key(each)) for each in (work, activities)] == ["a", "b"]
    )
    asked = running_loop().create_task(world.matching.query(work, query(work), Call()))
    await pass_time(0.01)
    assert task_of(await world.matching.poll(poll(work), Call())) == "query q"
    moved = await world.waiting_poll(poll(activities))
    membership.set(BOTH)
    with pytest.raises(PartitionElsewhere):
        await moved
    answer = RespondQueryTaskCompletedRequest(error_message="it is so")
    await world.matching.answer_query(query(work).token, answer)
    assert await asked == answer


@virtual
async def test_references_are_dropped_with_their_partition() -> None:
    world, membership = following()
    assert await world.matching.offer(MOVES, [offer(1, MOVES)], figures()) == Offered(1)
    membership.set(BOTH)
    assert world.matching.partitions == 0
    membership.set(view(3, "a"))
    waits = await world.waiting_poll(poll(MOVES))
    await pass_time(1)
    assert not waits.done()
    await world.matching.offer(MOVES, [offer(2, MOVES)], figures())
    assert task_of(await waits) == "wf-2"


@virtual
async def test_a_task_that_is_being_started_for_a_poll_is_its_answer_all_the_same() -> None:
    world, membership = following()
    started, go_on = running_loop().create_future(), running_loop().create_future()

    async def slowly(_start: object) -> None:
        started.set_result(None)
        await go_on

    world.history.on_start = slowly
    polled = await world.waiting_poll(poll(MOVES))
    await world.matching.offer(MOVES, [offer(1, MOVES)], figures())
    await started
    membership.set(BOTH)
    go_on.set_result(None)
    assert task_of(await polled) == "wf-1"


@virtual
async def test_whoever_asks_for_anothers_partition_is_sent_there() -> None:
    world, membership = following(BOTH)
    matching = world.matching
    for call in (
        matching.poll(poll(MOVES), Call()),
        matching.offer(MOVES, [offer(1, MOVES)], figures()),
        matching.query(MOVES, query(MOVES), Call()),
        matching.describe(MOVES),
    ):
        with pytest.raises(PartitionElsewhere) as caught:
            await call
        assert (caught.value.host, caught.value.view) == ("b", 2)
    assert matching.partitions == 0
    assert len(membership.refreshed) == 4


@virtual
async def test_a_caller_that_knows_a_newer_view_is_served() -> None:
    world, membership = following(BOTH)
    membership.stored = view(3, "a")
    polled = await world.waiting_poll(poll(MOVES))
    await world.matching.offer(MOVES, [offer(1, MOVES)], figures())
    assert task_of(await polled) == "wf-1"
    assert membership.refreshed == [0]


@virtual
async def test_when_everybody_has_the_view_a_caller_that_cannot_reach_the_owner_is_served_for_a_while() -> None:
    world, _ = following(BOTH)
    await pass_time(4)
    polled = await world.waiting_poll(poll(MOVES))
    await world.matching.offer(MOVES, [offer(1, MOVES)], figures())
    assert task_of(await polled) == "wf-1"
    waits = await world.waiting_poll(poll(MOVES))
    begun = asyncio.get_running_loop().time()
    with pytest.raises(PartitionElsewhere):
        await waits
    assert 4 < asyncio.get_running_loop().time() - begun <= 5
    assert world.matching.partitions == 0


@virtual
async def test_what_operators_set_is_taken_by_the_owner_alone_which_would_not_hear_of_it_else() -> None:
    world, membership = following(BOTH)
    store = MemoryStore(running_loop().clock)
    world.matching.configs.open(store.documents)
    await pass_time(4)
    assert not (await world.waiting_poll(poll(MOVES))).done()
    with pytest.raises(PartitionElsewhere) as caught:
        await world.matching.configure(MOVES, limit(1.0))
    assert (caught.value.host, caught.value.view) == ("b", 2)
    assert await store.documents.list_documents(KIND) == []
    membership.set(view(3, "a"))
    await world.matching.configure(MOVES, limit(1.0))
    assert len(await store.documents.list_documents(KIND)) == 1


@virtual
async def test_a_guest_whose_owner_is_gone_stays() -> None:
    world, membership = following(BOTH)
    await pass_time(4)
    waits = await world.waiting_poll(poll(MOVES))
    membership.set(view(3, "a"))
    await pass_time(10)
    assert not waits.done()
    await world.matching.offer(MOVES, [offer(1, MOVES)], figures())
    assert task_of(await waits) == "wf-1"


@virtual
async def test_suspects_of_this_host_change_nothing_here() -> None:
    world, membership = following(BOTH)
    await pass_time(4)
    waits = await world.waiting_poll(poll(MOVES))
    membership.suspect("b")
    await pass_time(0.1)
    assert not waits.done()
    await world.matching.close()
    assert await waits == b""


@virtual
async def test_a_host_that_leaves_sends_everybody_away() -> None:
    world, membership = following()
    waits = await world.waiting_poll(poll(WORK))
    membership.set(view(2, "b"))
    with pytest.raises(PartitionElsewhere) as caught:
        await waits
    assert caught.value.host == "b"
    with pytest.raises(PartitionElsewhere):
        await world.matching.poll(poll(WORK), Call())
