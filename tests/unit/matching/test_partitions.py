"""A task queue at several hosts: one order, one limit, and no task lost, wherever its polls wait."""

import asyncio
import itertools

import pytest
from temporalio.api.workflowservice.v1 import RespondQueryTaskCompletedRequest

from perdure.base.errors import NotFound, QueueSpread
from perdure.base.slots import ChainKey
from perdure.cluster.branches import branch_of
from perdure.cluster.roles import Call, Demand, Outcome, QueryTask, Return
from perdure.testing.loop import running_loop
from perdure.workflow.tasks import QueueKey
from perdure.workflow.tokens import QueryToken
from tests.unit.matching.fakes import ACTIVITY, STICKY, WORK, figures, offer, pass_time, poll, task_of, virtual
from tests.unit.matching.hosts import Hosts


async def spread_out(queue: QueueKey = ACTIVITY, names: str = "abc") -> Hosts:
    """Hosts whose queue has a partition at each; its workers are gone again."""
    hosts = Hosts(*names)
    workers = [hosts.spawn(hosts.work(f"w{number}", queue, 0.01)) for number in range(6)]
    await hosts.feed(lambda number: offer(number, queue), 100, 0.1)
    assert await hosts.partitions(queue) == len(names)
    for worker in workers:
        worker.cancel()
    await pass_time(0.1)
    hosts.answers.clear()
    hosts.history.order.clear()
    return hosts


def waiting(hosts: Hosts, index: int, queue: QueueKey = ACTIVITY, identity: str = "w") -> asyncio.Task[bytes]:
    """A poll that waits at one of the queue's partitions."""
    branch = branch_of(queue, index)
    return hosts.spawn(hosts.directory.matching(branch).poll(poll(branch, identity, partitions=3), Call()))


@virtual
async def test_a_busy_queue_is_served_at_every_host_each_task_once() -> None:
    hosts = Hosts("a", "b", "c")
    hosts.workers(8)
    await hosts.feed(lambda number: offer(number, ACTIVITY), 300, 0.05)
    await pass_time(1)
    assert await hosts.partitions() == 3
    assert hosts.answers == {f"wf-{number}": 1 for number in range(1, 301)}
    owners = {hosts.owner(branch_of(ACTIVITY, index)) for index in range(3)}
    assert owners == {"a", "b", "c"}
    polled = [
        (await service.describe(branch_of(ACTIVITY, index))).pollers
        for index in range(3)
        for name, service in hosts.services.items()
        if name == hosts.owner(branch_of(ACTIVITY, index))
    ]
    assert all(polled), "there were polls at every one of them"
    local, remote = hosts.counted("local_to_local_matches"), hosts.counted("local_to_remote_matches")
    assert sum(local.values()) + sum(remote.values()) == 300
    assert [index for index in sorted(remote) if remote[index]] == ["1", "2"]
    assert [index for index in sorted(local) if local[index]] == ["0"]
    assert hosts.counted("forwarded")["0"] > 0
    await hosts.close()


@virtual
async def test_a_queue_has_one_partition_where_there_is_one_host_or_little_load() -> None:
    for names, each_s in (("a", 0.05), ("abc", 1.0)):
        hosts = Hosts(*names)
        hosts.workers(4)
        await hosts.feed(lambda number: offer(number, ACTIVITY), 60, each_s)
        assert await hosts.partitions() == 1
        await hosts.close()


@virtual
async def test_a_caller_that_knows_no_partitions_is_always_served() -> None:
    hosts = await spread_out()
    await hosts.offer([offer(1_001, ACTIVITY)])
    root = hosts.directory.matching(ACTIVITY)
    assert task_of(await root.poll(poll(ACTIVITY), Call())) == "wf-1001"
    with pytest.raises(QueueSpread) as caught:
        await root.poll(poll(ACTIVITY, partitions=1), Call())
    assert caught.value.partitions == 3
    await hosts.close()


@virtual
async def test_priorities_are_exact_over_all_partitions() -> None:
    hosts = await spread_out()
    offers = [offer(1_000 + number, ACTIVITY, priority=1 + number * 7 % 5) for number in range(60)]
    for shard in range(3):
        await hosts.offer(sorted(offers[shard::3], key=lambda each: each.order), f"s{shard}")
    await pass_time(0.1)  # what went to polls that are gone is back
    for number in range(60):
        assert await waiting(hosts, number % 3)
    assert [each.order for each in hosts.history.order] == sorted(each.order for each in offers)
    await hosts.close()


@virtual
async def test_a_rate_limit_is_that_of_the_whole_queue() -> None:
    hosts = await spread_out()
    starts: list[float] = []
    once = hosts.history.on_start
    assert once is not None

    async def noted(start: object) -> None:
        await once(start)  # type: ignore[arg-type]  # it takes what it is called with
        starts.append(asyncio.get_running_loop().time())

    hosts.history.on_start = noted

    async def work(index: int) -> None:
        branch = branch_of(ACTIVITY, index)
        while True:
            asked = poll(branch, f"w{index}", partitions=3, max_tasks_per_second=4.0)
            await hosts.directory.matching(branch).poll(asked, Call())

    for index in range(3):
        hosts.spawn(work(index))
    await pass_time(1)
    begun = asyncio.get_running_loop().time()
    await hosts.offer([offer(1_000 + number, ACTIVITY) for number in range(100)])
    await pass_time(10)
    assert 40 <= len(starts) <= 45
    assert len([at for at in starts if at - begun < 1]) <= 8
    await hosts.close()


@virtual
async def test_a_task_whose_poll_is_gone_goes_back_and_to_another_at_once() -> None:
    hosts = await spread_out()
    gone = waiting(hosts, 1)
    await pass_time(0.1)
    gone.cancel()
    await pass_time(0.1)
    other = waiting(hosts, 2)
    await pass_time(0.1)
    begun = asyncio.get_running_loop().time()
    await hosts.offer([offer(1_001, ACTIVITY)])
    assert task_of(await other) == "wf-1001"
    assert asyncio.get_running_loop().time() - begun < 0.1
    await hosts.close()


@virtual
async def test_a_task_that_was_lent_to_a_host_that_died_is_handed_out_again() -> None:
    hosts = await spread_out()
    root = hosts.directory.matching(ACTIVITY)
    borrowed = hosts.spawn(root.lend(ACTIVITY, Demand(1, "dies", 1, 1, 3), Call()))
    await pass_time(0.1)
    await hosts.offer([offer(1_001, ACTIVITY)])
    assert len((await borrowed).loans) == 1
    other = waiting(hosts, 0)
    await pass_time(9)
    assert not other.done()
    await pass_time(2)
    assert task_of(other.result()) == "wf-1001"
    await hosts.close()


@virtual
async def test_a_demand_whose_answer_was_lost_costs_no_more_than_the_next_one() -> None:
    hosts = await spread_out()
    root = hosts.directory.matching(ACTIVITY)
    await hosts.offer([offer(1_001, ACTIVITY)])
    assert len((await root.lend(ACTIVITY, Demand(1, "life", 1, 1, 3), Call())).loans) == 1
    again = await root.lend(ACTIVITY, Demand(1, "life", 2, 1, 3, lost=[1]), Call())
    assert [loan.offer.key.workflow_id for loan in again.loans] == ["wf-1001"]
    await hosts.close()


@virtual
async def test_polls_go_on_when_the_root_moves_and_the_new_one_knows_the_partitions() -> None:
    hosts = await spread_out()
    hosts.workers(6, 0.01)
    await pass_time(1)
    before = hosts.owner(ACTIVITY)
    others = [name for name in "abc" if name != before]
    hosts.down.add(before)
    hosts.set(*others)
    left = hosts.history.outstanding["s1"]
    await hosts.feed(lambda number: offer(1_000 + number, ACTIVITY), 50, 0.1)
    await pass_time(1)
    assert left == []
    assert hosts.answers == {f"wf-{1_000 + number}": 1 for number in range(1, 51)}
    assert await hosts.partitions() == 2
    await hosts.close()


@virtual
async def test_a_queue_that_is_calm_again_shrinks_and_its_polls_go_to_the_root() -> None:
    hosts = await spread_out()
    hosts.workers(6, 0.01)
    await hosts.feed(lambda number: offer(1_000 + number, ACTIVITY), 20, 10)
    assert await hosts.partitions() == 1
    assert len(hosts.answers) == 20
    await pass_time(400)
    root = hosts.services[hosts.owner(ACTIVITY)]
    assert sum(service.partitions for service in hosts.services.values()) == root.partitions == 1
    await hosts.close()


def query(number: int) -> QueryTask:
    return QueryTask(ChainKey("ns", "wf"), "run", b"q", QueryToken("ns", WORK.name, f"query-{number}"))


@virtual
async def test_a_query_reaches_a_poll_at_another_partition_and_its_answer_the_root() -> None:
    hosts = await spread_out(WORK)
    polled = waiting(hosts, 2, WORK)
    await pass_time(0.1)
    asked = hosts.spawn(hosts.directory.matching(WORK).query(WORK, query(1), Call()))
    assert task_of(await polled) == "query q"
    answer = RespondQueryTaskCompletedRequest(error_message="it is so")
    await hosts.directory.matching(WORK).answer_query(query(1).token, answer)
    assert (await asked).error_message == "it is so"
    await pass_time(0.1)
    # One for which nobody is there any more goes to the next that is.
    polled = waiting(hosts, 2, WORK)
    await pass_time(0.1)
    polled.cancel()
    await pass_time(0.1)
    hosts.spawn(hosts.directory.matching(WORK).query(WORK, query(2), Call()))
    await pass_time(0.1)
    assert task_of(await waiting(hosts, 1, WORK)) == "query q"
    await hosts.close()


@virtual
async def test_a_query_that_fails_at_another_partition_fails_for_who_asked() -> None:
    hosts = await spread_out(WORK)

    async def fail(_task: QueryTask, _sticky: bool) -> None:
        raise NotFound("there is no such run")

    hosts.history.on_query = fail
    waiting(hosts, 2, WORK)
    await pass_time(0.1)
    with pytest.raises(NotFound, match="no such run"):
        await hosts.directory.matching(WORK).query(WORK, query(1), Call())
    await hosts.close()


@virtual
async def test_a_query_that_no_poll_is_there_for_goes_back_and_forth_slowly() -> None:
    hosts = await spread_out(WORK)
    root = hosts.directory.matching(WORK)
    refused = 0

    async def who_was_the_branch() -> None:
        nonlocal refused
        for number in itertools.count(1):
            await root.lend(WORK, Demand(1, "life", number, 1, 3), Call())
            refused += 1

    hosts.spawn(who_was_the_branch())
    asked = hosts.spawn(root.query(WORK, query(1), Call()))
    await pass_time(1)
    assert 5 < refused < 50
    assert task_of(await waiting(hosts, 0, WORK)) == "query q"
    asked.cancel()
    await hosts.close()


@virtual
async def test_a_query_whose_worker_left_at_another_partition_goes_to_a_poll_anywhere() -> None:
    hosts = await spread_out(WORK)
    forever = running_loop().create_future()

    async def hang(_task: QueryTask, _sticky: bool) -> None:
        await forever

    hosts.history.on_query = hang
    gone = waiting(hosts, 2, WORK)
    await pass_time(0.1)
    asked = hosts.spawn(hosts.directory.matching(WORK).query(WORK, query(1), Call()))
    await pass_time(0.1)
    hosts.history.on_query = None
    other = waiting(hosts, 1, WORK)
    await pass_time(0.1)
    gone.cancel()
    assert task_of(await other) == "query q"
    asked.cancel()
    await hosts.close()


@virtual
async def test_a_worker_that_shuts_down_is_let_go_at_every_partition() -> None:
    hosts = await spread_out()
    polls = []
    for index in range(3):
        branch = branch_of(ACTIVITY, index)
        asked = poll(branch, "w", partitions=3, worker_instance_key="i")
        polls.append(hosts.spawn(hosts.directory.matching(branch).poll(asked, Call())))
    await pass_time(0.1)
    await hosts.directory.matching(ACTIVITY).end_polls("ns", "i", "")
    assert await asyncio.gather(*polls) == [b"", b"", b""]
    await hosts.close()


@virtual
async def test_a_partition_that_hangs_keeps_a_worker_that_shuts_down_from_no_other() -> None:
    hosts = await spread_out()
    root, first, second = (branch_of(ACTIVITY, index) for index in range(3))
    asked = poll(second, "w", partitions=3, worker_instance_key="i")
    polled = hosts.spawn(hosts.directory.matching(second).poll(asked, Call()))
    await pass_time(0.1)

    async def hang(namespace_id: str, worker_instance_key: str, sticky_queue: str) -> None:
        await running_loop().create_future()

    hosts.services[hosts.owner(first)].end_polls = hang  # type: ignore[method-assign]  # its host does
    async with asyncio.timeout(5):
        await hosts.directory.matching(root).end_polls("ns", "i", "")
    assert await polled == b""
    await hosts.close()


@virtual
async def test_the_root_knows_all_figures_and_a_worker_hears_of_them_anywhere() -> None:
    hosts = await spread_out(WORK)
    seen = await hosts.directory.matching(WORK).describe(WORK)
    assert seen.dispatch_rate == pytest.approx(seen.add_rate, rel=0.1)
    assert seen.backlog_count == 0
    await hosts.offer([offer(1_000 + number, WORK) for number in range(9)])
    await pass_time(0.1)
    answer = await waiting(hosts, 1, WORK)
    assert task_of(answer) == "wf-1000"
    assert hosts.history.starts[-1].offer.queue == WORK
    assert getattr(hosts.history.starts[-1], "poll_queue") == WORK.name  # noqa: B009 - only one kind has it
    assert answer[answer.rindex(b"\x38") + 1] == 8, "the hint counts what waits in the whole queue"
    await pass_time(0.1)
    assert (await hosts.directory.matching(WORK).describe(WORK)).backlog_count == 8
    await hosts.close()


@virtual
async def test_a_branch_that_cannot_reach_its_root_sends_its_polls_there() -> None:
    hosts = await spread_out()
    polled = waiting(hosts, 1)
    await pass_time(0.1)
    hosts.down.add(hosts.owner(ACTIVITY))
    with pytest.raises(QueueSpread) as caught:
        await polled
    assert caught.value.partitions == 1
    await hosts.close()


@virtual
async def test_what_a_branch_returns_late_or_of_another_root_changes_nothing() -> None:
    hosts = await spread_out()
    root = hosts.directory.matching(ACTIVITY)
    await hosts.offer([offer(1_001, ACTIVITY)])
    supply = await root.lend(ACTIVITY, Demand(1, "life", 1, 1, 3), Call())
    foreign = Return("other root", supply.loans[0].number, Outcome.OBSOLETE)
    await root.lend(ACTIVITY, Demand(1, "life", 2, 0, 3, [foreign]), Call())
    await pass_time(11)
    assert task_of(await waiting(hosts, 0)) == "wf-1001"
    late = Return(supply.root, supply.loans[0].number, Outcome.BACK)
    await root.lend(ACTIVITY, Demand(1, "life", 3, 0, 3, [late]), Call())
    seen = await root.describe(ACTIVITY)
    assert (seen.backlog_count, len(hosts.history.order)) == (0, 1)
    await hosts.close()


@virtual
async def test_a_start_of_unknown_outcome_goes_on_under_its_request_id_only_if_its_branch_says_so() -> None:
    hosts = await spread_out()
    root = hosts.directory.matching(ACTIVITY)
    await hosts.offer([offer(1_001, ACTIVITY)])
    (loan,) = (await root.lend(ACTIVITY, Demand(1, "life", 1, 1, 3), Call())).loans
    assert (loan.request_id, loan.failures) == ("", 0)
    life = (await root.lend(ACTIVITY, Demand(1, "life", 2, 0, 3), Call())).root
    tried = Return(life, loan.number, Outcome.LATER, "request", 2)
    (again,) = (await root.lend(ACTIVITY, Demand(1, "life", 3, 1, 3, [tried]), Call())).loans
    assert (again.offer, again.request_id, again.failures) == (loan.offer, "request", 3)
    # That loan is never returned: whoever has it may start it yet.
    (other,) = (await root.lend(ACTIVITY, Demand(2, "life", 1, 1, 3), Call())).loans
    assert (other.offer, other.request_id) == (loan.offer, "")
    await hosts.close()


@virtual
async def test_a_branch_says_again_what_its_root_may_not_have_heard() -> None:
    hosts = await spread_out()
    polled = waiting(hosts, 1)
    await pass_time(0.1)
    await hosts.offer([offer(1_001, ACTIVITY)])
    hosts.spawn(polled_down(hosts, polled))
    assert task_of(await polled) == "wf-1001"
    await pass_time(3)
    seen = await hosts.directory.matching(ACTIVITY).describe(ACTIVITY)
    assert (seen.backlog_count, seen.priorities[3].backlog_count) == (0, 0)
    await hosts.close()


async def polled_down(hosts: Hosts, polled: asyncio.Task[bytes]) -> None:
    """The root can't be reached for half a second from when the poll has its task."""
    await asyncio.wait([polled])
    hosts.down.add(hosts.owner(ACTIVITY))
    await pass_time(0.5)
    hosts.down.clear()


@virtual
async def test_sticky_queues_stay_where_they_are() -> None:
    hosts = Hosts("a", "b", "c")
    role = hosts.directory.matching(STICKY)
    loop = running_loop()
    for number in range(60):
        polled = loop.create_task(role.poll(poll(STICKY, normal_queue="queue"), Call()))
        await pass_time(0.01)
        assert (await role.offer(STICKY, [offer(number, WORK, sticky=STICKY.name)], figures())).accepted == 1
        assert await polled
    assert sum(service.partitions for service in hosts.services.values()) == 1
    await hosts.close()
