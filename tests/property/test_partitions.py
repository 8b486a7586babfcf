"""A task queue at several hosts, whatever befalls calls and hosts: no task is lost, none starts twice, order is exact.

Each seed draws the tasks, the workers, the faults of the network, and when hosts go and come. In the end the network
heals, and everything that was offered has to be started.
"""

from collections import Counter

import pytest

from perdure.base.errors import Unavailable
from perdure.base.limits import Limits, QueueRule
from perdure.cluster.branches import branch_of
from perdure.cluster.roles import Call
from perdure.matching.bounds import Bounds
from perdure.matching.fairness import FIRST, Turn, next_turn, stride_of
from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import run_virtual, running_loop
from perdure.testing.network import Network, NetworkPlan
from perdure.workflow.tasks import Offer
from tests.unit.matching.fakes import ACTIVITY, offer, pass_time, poll
from tests.unit.matching.hosts import Hosts

NAMES = "abcd"
TASKS = 240
FAULTS = NetworkPlan(delayed=0.05, late_reply=0.05, lost_request=0.04, lost_reply=0.04, twice=0.03, delay_s_max=0.5)


async def reoffer(hosts: Hosts) -> None:
    """What shards do when partitions move, and slowly at all times."""
    while True:
        for shard, offers in list(hosts.history.outstanding.items()):
            if offers:
                lane = offers[0].queue
                first = sorted((each for each in offers if each.queue == lane), key=lambda each: each.order)[:100]
                try:
                    await hosts.directory.matching(lane).offer(lane, first, hosts.backlog(shard, lane))
                except Unavailable:
                    continue
        await pass_time(2)


async def upheaval(hosts: Hosts, entropy: SeededEntropy) -> None:
    """Hosts are killed, missed a little later, and come back."""
    while True:
        await pass_time(1 + 4 * entropy.fraction())
        victim = NAMES[entropy.below(len(NAMES))]
        hosts.down.add(victim)
        await pass_time(entropy.fraction())
        hosts.set(*(name for name in NAMES if name != victim))
        await pass_time(3 * entropy.fraction())
        hosts.down.discard(victim)
        hosts.set(*NAMES)


async def survive(seed: int) -> None:
    entropy = SeededEntropy(seed)
    network = Network(entropy.fork("network"), running_loop().clock, FAULTS)
    hosts = Hosts(*NAMES, network=network)

    def make(number: int) -> Offer:
        return offer(number, ACTIVITY, priority=1 + entropy.below(5), key=entropy.below(3) * "k" if seed % 2 else "")

    hosts.workers(2 + entropy.below(12), 0.1 * entropy.fraction())
    slow = hosts.spawn(reoffer(hosts))
    trouble = hosts.spawn(upheaval(hosts, entropy.fork("upheaval")))
    for number in range(TASKS):
        await hosts.offer([make(number)], f"s{number % 3}")
        await pass_time(0.15 * entropy.fraction())
    trouble.cancel()
    network.heal()
    spread = max(hosts.spreads.place(poll(ACTIVITY)).partitions, await hosts.partitions())
    hosts.down.clear()
    hosts.set(*NAMES)
    await pass_time(60)
    slow.cancel()
    assert len(hosts.history.started) == len(hosts.history.order) == TASKS, "every task started, for one request"
    assert not any(hosts.history.outstanding.values())
    assert max(hosts.answers.values()) == 1, "no task was given to two workers"
    assert spread > 1, "it was no partition of one"
    # A poll whose answer was lost takes its task with it.
    lost = sum(network.fired[kind] for kind in network.fired)
    assert TASKS - len(hosts.answers) <= lost
    await hosts.close()


@pytest.mark.parametrize("seed", range(12))
def test_every_task_starts_once_whatever_befalls_calls_and_hosts(seed: int) -> None:
    run_virtual(survive(seed), seed)


async def in_order(seed: int) -> None:
    """A backlog in several shards, polls at all partitions, one at a time: the next start is the best there is."""
    entropy = SeededEntropy(seed)
    hosts = Hosts(*NAMES)
    workers = [hosts.spawn(hosts.work(f"w{number}", ACTIVITY, 0.01)) for number in range(6)]
    await hosts.feed(lambda number: offer(number, ACTIVITY), 120, 0.08)
    for worker in workers:
        worker.cancel()
    count = await hosts.partitions()
    assert count == len(NAMES)
    hosts.history.order.clear()
    left: list[Offer] = []
    for number in range(1_000, 1_200):
        if not left or entropy.fraction() < 0.55:
            new = offer(number, ACTIVITY, priority=1 + entropy.below(5))
            left.append(new)
            await hosts.offer([new], f"s{entropy.below(4)}")
            await pass_time(0.05)
        else:
            branch = branch_of(ACTIVITY, entropy.below(count))
            await hosts.directory.matching(branch).poll(poll(branch, partitions=count), Call())
            left.sort(key=lambda each: each.order)
            assert hosts.history.order[-1] == left.pop(0)
    await hosts.close()


async def in_turn(seed: int) -> None:
    """The same with fairness keys: the next start is that of one queue in which keys have their turns."""
    entropy = SeededEntropy(seed)
    bounds = Bounds(tasks_per_second=2.0, references_max=12, page=3, late_max=2)
    hosts = Hosts(*NAMES, bounds=bounds, limits=Limits(fairness=(QueueRule(value=True),)))
    workers = [hosts.spawn(hosts.work(f"w{number}", ACTIVITY, 0.01)) for number in range(6)]
    await hosts.feed(lambda number: offer(number, ACTIVITY), 120, 0.08)
    for worker in workers:
        worker.cancel()
    await pass_time(25)  # what was asked for polls that are gone: a task that comes back has had its turn
    count = await hosts.partitions()
    assert count == len(NAMES)
    hosts.history.order.clear()
    hands: dict[int, Turn] = {}
    left: list[Offer] = []
    shares: Counter[str] = Counter()
    for number in range(1_000, 1_260):
        if not left or (number < 1_160 and entropy.fraction() < 0.8):
            key = "abcd"[min(entropy.below(4), entropy.below(4))]
            new = offer(number, ACTIVITY, priority=1 + entropy.below(2), key=key, weight=1 + "abcd".index(key))
            left.append(new)
            await hosts.offer([new], f"s{entropy.below(4)}")
            await pass_time(0.05)
        else:
            branch = branch_of(ACTIVITY, entropy.below(count))
            await hosts.directory.matching(branch).poll(poll(branch, partitions=count), Call())
            best = min(left, key=lambda each: (*turn_of(each, hands), each.order))
            _, hands[best.priority] = turn_of(best, hands)
            assert hosts.history.order[-1] == best
            left.remove(best)
            shares[best.fairness_key] += 1
    assert set(shares) == set("abcd")
    await hosts.close()


def turn_of(task: Offer, hands: dict[int, Turn]) -> tuple[int, Turn]:
    hand = hands.get(task.priority, FIRST)
    return task.priority, next_turn(hand, task.queue.version, stride_of(task.fairness_weight))


@pytest.mark.parametrize("seed", range(8))
def test_the_next_task_is_of_the_key_whose_turn_it_is_in_the_whole_queue(seed: int) -> None:
    run_virtual(in_turn(seed), seed)


@pytest.mark.parametrize("seed", range(8))
def test_the_next_task_is_the_best_of_the_whole_queue(seed: int) -> None:
    run_virtual(in_order(seed), seed)
