"""Which rate limit is in force, and what a partition tells of its backlog."""

from typing import Any

import pytest
from temporalio.api.enums.v1 import RateLimitSource
from temporalio.api.taskqueue.v1 import TaskQueueConfig
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest

from perdure.base.errors import Aborted
from perdure.cluster.roles import Call, Demand, PriorityView
from perdure.store.contract import Document
from perdure.store.memory import MemoryStore
from perdure.testing.loop import WALL_START_NS, running_loop
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.matching.fakes import ACTIVITY, SECOND, WORK, World, figures, offer, pass_time, poll, virtual

API = RateLimitSource.RATE_LIMIT_SOURCE_API
WORKER = RateLimitSource.RATE_LIMIT_SOURCE_WORKER
SYSTEM = RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM


def limit(rate: float | None, **fields: Any) -> UpdateTaskQueueConfigRequest:
    """A change of the queue's rate; None takes the limit away."""
    request = UpdateTaskQueueConfigRequest(identity="operator")
    request.update_queue_rate_limit.SetInParent()
    if rate is not None:
        request.update_queue_rate_limit.rate_limit.requests_per_second = rate
        request.update_queue_rate_limit.rate_limit.SetInParent()
    request.MergeFrom(UpdateTaskQueueConfigRequest(**fields))
    return request


def open_world(store: MemoryStore | None = None) -> World:
    """A matching service whose operators may set limits."""
    world = World()
    world.matching.configs.open((store or MemoryStore(running_loop().clock)).documents)
    return world


async def in_force(world: World, partition: QueueKey = ACTIVITY) -> tuple[float | None, int]:
    """The rate in force and who set it."""
    view = await world.matching.describe(partition)
    return view.rate, view.rate_source


@virtual
async def test_an_operators_limit_goes_before_the_workers_and_is_kept() -> None:
    store = MemoryStore(running_loop().clock)
    world = open_world(store)
    assert await in_force(world) == (None, SYSTEM)
    await world.waiting_poll(poll(ACTIVITY, max_tasks_per_second=20.0))
    assert await in_force(world) == (20, WORKER)
    for rate in (50.0, 5.0):
        changed = TaskQueueConfig.FromString(await world.matching.configure(ACTIVITY, limit(rate)))
        assert changed.queue_rate_limit.rate_limit.requests_per_second == rate
        assert changed.queue_rate_limit.metadata.update_identity == "operator"
        assert changed.queue_rate_limit.metadata.update_time.seconds >= WALL_START_NS // SECOND
        assert await in_force(world) == (rate, API)
    assert await in_force(open_world(store)) == (5, API)
    assert await in_force(world, QueueKey("ns", "queue", QueueKind.NEXUS)) == (None, SYSTEM)
    await world.matching.configure(ACTIVITY, limit(None))
    assert await in_force(world) == (20, WORKER)
    view = await world.matching.describe(ACTIVITY)
    assert not TaskQueueConfig.FromString(view.config).queue_rate_limit.HasField("rate_limit")


@virtual
async def test_a_stopped_queue_is_stopped_from_its_first_poll_on_and_goes_on_when_it_may() -> None:
    store = MemoryStore(running_loop().clock)
    await open_world(store).matching.configure(ACTIVITY, limit(0.0))
    world = open_world(store)
    await world.matching.offer(ACTIVITY, [offer(1, ACTIVITY)], figures())
    waiting = await world.waiting_poll(poll(ACTIVITY))
    await pass_time(5)
    assert not waiting.done()
    assert (await world.matching.describe(ACTIVITY)).is_held_back
    await world.matching.configure(ACTIVITY, limit(None))
    assert await waiting


@virtual
async def test_a_changed_rate_counts_from_now_on() -> None:
    world = open_world()
    await world.matching.configure(ACTIVITY, limit(0.01))
    await world.matching.offer(ACTIVITY, [offer(n, ACTIVITY) for n in range(3)], figures(3))
    assert await world.matching.poll(poll(ACTIVITY), Call())
    waiting = await world.waiting_poll(poll(ACTIVITY))
    await pass_time(1)
    assert not waiting.done()
    await world.matching.configure(ACTIVITY, limit(1.0))
    begin = running_loop().time()
    assert await waiting
    assert running_loop().time() - begin < 1.1


@virtual
async def test_an_update_that_sets_nothing_reads() -> None:
    world = open_world()
    assert await world.matching.configure(ACTIVITY, UpdateTaskQueueConfigRequest()) == b""
    before = await world.matching.configure(ACTIVITY, limit(3.0))
    assert await world.matching.configure(ACTIVITY, UpdateTaskQueueConfigRequest(identity="other")) == before


@virtual
async def test_a_poll_that_is_held_back_goes_on_though_a_branch_tells_of_a_rate_meanwhile() -> None:
    world = open_world()
    await world.matching.offer(ACTIVITY, [offer(n, ACTIVITY) for n in range(2)], figures(2))
    limited = poll(ACTIVITY, max_tasks_per_second=1.0)
    assert await world.matching.poll(limited, Call())
    waiting = await world.waiting_poll(limited)
    await world.matching.lend(ACTIVITY, Demand(1, "life", 1, 0, 1, limit=1.0), Call())
    assert await waiting
    assert running_loop().time() == pytest.approx(1, abs=0.1)


class Contended:
    """Documents that somebody else changes before every write; a read takes so many seconds."""

    def __init__(self, read_s: float = 0.0) -> None:
        self._read_s = read_s

    async def read_document(self, kind: str, key: str) -> Document | None:
        await pass_time(self._read_s)
        return None

    async def list_documents(self, kind: str) -> list[Document]:
        return []

    async def replace_document(self, document: Document) -> bool:
        return False


@virtual
async def test_a_poll_that_waits_for_what_operators_set_ends_no_later_than_others() -> None:
    world = World()
    world.matching.configs.open(Contended(read_s=5))
    assert await world.matching.poll(poll(ACTIVITY, timeout_ns=10 * SECOND), Call()) == b""
    assert 8 < running_loop().time() <= 10


@virtual
async def test_who_always_comes_second_is_told() -> None:
    world = World()
    world.matching.configs.open(Contended())
    with pytest.raises(Aborted):
        await world.matching.configure(ACTIVITY, limit(1.0))
    assert await in_force(world) == (None, SYSTEM)


@virtual
async def test_a_backlog_is_told_by_priority() -> None:
    world = World()
    now = running_loop().clock.now_ns()
    offers = [offer(now - 9 * SECOND, priority=1), offer(now - 4 * SECOND), offer(now - 5 * SECOND, priority=5)]
    await world.matching.offer(WORK, offers, figures(10, oldest_ns=now - 9 * SECOND))
    assert await world.matching.poll(poll(), Call())
    view = await world.matching.describe(WORK)
    rates = {priority: (one.add_rate, one.dispatch_rate) for priority, one in view.priorities.items()}
    assert rates == {1: (1, 1), 3: (1, 0), 5: (1, 0)}
    counts = {priority: (one.backlog_count, one.backlog_age_ns // SECOND) for priority, one in view.priorities.items()}
    # Seven of the shard's nine are not held here: they come after everything that is.
    assert counts == {1: (0, 0), 3: (1, 4), 5: (8, 5)}
    assert view.backlog_count == sum(count for count, _ in counts.values()) == 9


@virtual
async def test_a_backlog_of_which_nothing_is_held_has_the_middle_priority() -> None:
    world = World()
    now = running_loop().clock.now_ns()
    await world.matching.offer(WORK, [], figures(7, oldest_ns=now - 2 * SECOND))
    view = await world.matching.describe(WORK)
    assert view.priorities == {3: PriorityView(7, 2 * SECOND)}
    unused = await world.matching.describe(ACTIVITY)
    assert (unused.priorities, unused.backlog_count, world.matching.partitions) == ({3: PriorityView()}, 0, 1)


@virtual
async def test_an_infinite_rate_is_no_limit() -> None:
    world = open_world()
    await world.waiting_poll(poll(ACTIVITY))
    await world.matching.configure(ACTIVITY, limit(float("inf")))
    assert await in_force(world) == (None, SYSTEM)
