import asyncio
from collections.abc import Awaitable, Callable

import pytest
from temporalio.api.workflowservice.v1 import RespondQueryTaskCompletedRequest

from perdure.base.errors import DeadlineExceeded, NotFound, StickyUnavailable, Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, QueryTask
from perdure.testing.loop import running_loop
from perdure.workflow.tasks import QueueKey
from perdure.workflow.tokens import QueryToken
from tests.unit.matching.fakes import SECOND, STICKY, WORK, World, figures, offer, pass_time, poll, task_of, virtual

ANSWER = RespondQueryTaskCompletedRequest(error_message="fine")


def question(name: str = "q", partition: QueueKey = WORK, *, sticky: bool = False) -> QueryTask:
    token = QueryToken("ns", partition.name, name)
    return QueryTask(ChainKey("ns", "wf"), "run", name.encode(), token, sticky)


def ask(
    world: World, task: QueryTask, partition: QueueKey = WORK, timeout_ns: int = 0
) -> asyncio.Task[RespondQueryTaskCompletedRequest]:
    return running_loop().create_task(world.matching.query(partition, task, Call(timeout_ns=timeout_ns)))


@virtual
async def test_a_query_goes_to_a_waiting_worker_and_its_answer_comes_back() -> None:
    world = World()
    polled = await world.waiting_poll()
    asked = ask(world, question())
    assert task_of(await polled) == "query q"
    await world.matching.answer_query(question().token, ANSWER)
    assert await asked == ANSWER


@virtual
async def test_a_query_waits_for_a_worker_and_goes_before_tasks() -> None:
    world = World()
    await world.matching.offer(WORK, [offer(1)], figures())
    asked = ask(world, question(), timeout_ns=30 * SECOND)
    await pass_time(1)
    assert task_of(await world.matching.poll(poll(), Call())) == "query q"
    await world.matching.answer_query(question().token, ANSWER)
    assert await asked == ANSWER


@virtual
async def test_an_answer_that_nobody_waits_for_is_refused() -> None:
    world = World()
    with pytest.raises(NotFound, match="query task not found, or already expired"):
        await world.matching.answer_query(question().token, ANSWER)
    asked = ask(world, question())
    await pass_time(1)
    foreign = QueryToken("other", "queue", "q")
    with pytest.raises(NotFound):
        await world.matching.answer_query(foreign, ANSWER)
    await world.matching.answer_query(question().token, ANSWER)
    with pytest.raises(NotFound):
        await world.matching.answer_query(question().token, ANSWER)
    assert await asked == ANSWER


@virtual
async def test_a_query_ends_with_its_time() -> None:
    world = World()
    with pytest.raises(DeadlineExceeded):
        await world.matching.query(WORK, question(), Call(timeout_ns=3 * SECOND))
    assert running_loop().time() == pytest.approx(3)
    assert await world.matching.poll(poll(timeout_ns=SECOND), Call()) == b"", "it waits no more"


@virtual
async def test_a_query_whose_client_left_is_not_asked() -> None:
    world = World()
    asked = ask(world, question())
    await pass_time(1)
    asked.cancel()
    await asyncio.wait([asked])
    assert await world.matching.poll(poll(timeout_ns=SECOND), Call()) == b""


@virtual
async def test_a_sticky_queue_that_nobody_polls_is_unavailable_at_once() -> None:
    world = World()
    with pytest.raises(StickyUnavailable):
        await world.matching.query(STICKY, question(partition=STICKY, sticky=True), Call())
    sticky_seen = []

    async def look(task: QueryTask, sticky: bool) -> None:
        sticky_seen.append(sticky)

    world.history.on_query = look
    polled = await world.waiting_poll(poll(STICKY, normal_queue="queue"))
    asked = ask(world, question(partition=STICKY), STICKY)
    assert task_of(await polled) == "query q"
    assert sticky_seen == [True]
    asked.cancel()
    await pass_time(11)
    with pytest.raises(StickyUnavailable):
        await world.matching.query(STICKY, question(partition=STICKY), Call())


@virtual
async def test_a_query_that_can_not_be_handed_over_fails_and_the_poller_goes_on() -> None:
    world = World()

    async def refuse(task: QueryTask, sticky: bool) -> None:
        raise NotFound("no such run")

    world.history.on_query = refuse
    polled = await world.waiting_poll()
    with pytest.raises(NotFound, match="no such run"):
        await world.matching.query(WORK, question(), Call())
    await world.matching.offer(WORK, [offer(1)], figures())
    assert task_of(await polled) == "wf-1"


@virtual
async def test_a_query_is_handed_over_again_while_the_owner_moves_and_then_fails() -> None:
    world = World()
    tries = 0

    async def refuse(task: QueryTask, sticky: bool) -> None:
        nonlocal tries
        tries += 1
        if tries != 3:
            raise Unavailable("moving")

    world.history.on_query = refuse
    polled = await world.waiting_poll()
    asked = ask(world, question())
    assert task_of(await polled) == "query q"
    asked.cancel()
    polled = await world.waiting_poll()
    with pytest.raises(Unavailable, match="moving"):
        await world.matching.query(WORK, question(), Call())
    assert not polled.done()


def hanging() -> Callable[[QueryTask, bool], Awaitable[None]]:
    """A history that is never done with giving a query to a worker."""
    forever = running_loop().create_future()

    async def hang(task: QueryTask, sticky: bool) -> None:
        await forever

    return hang


@virtual
async def test_a_query_whose_worker_left_goes_to_another() -> None:
    world = World()
    world.history.on_query = hanging()
    gone = await world.waiting_poll()
    asked = ask(world, question())
    await pass_time(1)
    world.history.on_query = None
    gone.cancel()
    assert task_of(await world.matching.poll(poll(), Call())) == "query q"
    await world.matching.answer_query(question().token, ANSWER)
    assert await asked == ANSWER


@virtual
async def test_a_query_whose_poll_is_over_with_its_sticky_queue_fails_at_once() -> None:
    world = World()
    polled = await world.waiting_poll(poll(STICKY, normal_queue="queue", worker_instance_key="key"))
    asked = ask(world, question(partition=STICKY), STICKY)
    # At the same moment, so that the query is the poll's, which has not begun with it.
    ended = running_loop().create_task(world.matching.end_polls("ns", "key", STICKY.name))
    assert await polled == b""
    await ended
    with pytest.raises(StickyUnavailable):
        await asked
    assert running_loop().time() < 1


@virtual
async def test_a_query_whose_worker_left_after_its_sticky_queue_fails_at_once() -> None:
    world = World()
    world.history.on_query = hanging()
    gone = await world.waiting_poll(poll(STICKY, normal_queue="queue", worker_instance_key="key"))
    asked = ask(world, question(partition=STICKY), STICKY)
    await pass_time(0.01)
    await world.matching.end_polls("ns", "key", STICKY.name)
    gone.cancel()
    with pytest.raises(StickyUnavailable):
        await asked
    assert running_loop().time() < 1
