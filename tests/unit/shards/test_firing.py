"""Timers of an owned shard: never early, never lost, few at a time (invariant 25, rules I1 and I3)."""

import msgspec
import pytest
import structlog

from perdure.base.errors import Bug, Unavailable
from perdure.shards.contract import Shard
from perdure.shards.options import ShardOptions
from perdure.shards.timers import NEVER_NS
from perdure.workflow.tasks import Timer, TimerKind
from tests.unit.shards.fakes import RUN, Host, home_of, key, memory, passes, timer, virtual

SECOND_NS = 1_000_000_000


def fired(host: Host) -> list[Timer]:
    return [one for one, _ in host.role.fired]


def test_a_timer_fires_at_its_time() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        due = timer(shard.now_ns() + 10 * SECOND_NS)
        await host.role.add(shard, key(), 1, due)
        await passes(9.999)
        assert not host.role.fired
        await passes(0.002)
        assert fired(host) == [due]
        assert 0 <= host.role.fired[0][1] - due.due_ns < SECOND_NS // 1000
        await passes(1000)
        assert fired(host) == [due]

    virtual(work())


def test_of_what_is_due_at_the_same_instant_a_run_s_end_comes_first() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        task = msgspec.structs.replace(timer(shard.now_ns() + SECOND_NS), kind=TimerKind.WORKFLOW_TASK_START_TO_CLOSE)
        end = msgspec.structs.replace(task, kind=TimerKind.RUN_TIMEOUT)
        await host.role.add(shard, key(), 1, task, end)
        await passes(2)
        assert fired(host) == [end, task]

    virtual(work())


def test_a_clock_that_jumps_back_fires_nothing_early_and_one_that_jumps_ahead_soon() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        one, other = timer(shard.now_ns() + 10 * SECOND_NS), timer(shard.now_ns() + 3600 * SECOND_NS, number=2)
        await host.role.add(shard, key(), 1, one, other)
        host.clock.offset_ns = -5 * SECOND_NS
        await passes(14.9)
        assert not host.role.fired
        await passes(1)
        assert fired(host) == [one]
        host.clock.offset_ns = 3600 * SECOND_NS
        await passes(31)
        assert fired(host) == [one, other]
        assert all(at >= due.due_ns for due, at in host.role.fired)

    virtual(work())


def test_what_was_due_while_nobody_was_there_fires_at_once() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        shard = await host.start()
        due = [timer(shard.now_ns() + number * SECOND_NS, number=number) for number in range(10, 60)]
        await host.role.add(shard, key(), 1, *due)
        await passes(5)
        await host.shards.stop()
        await passes(3600)
        other = Host(store, "N")
        await other.start()
        await passes(1)
        assert sorted(fired(other), key=lambda one: one.event_id) == due
        await passes(5)
        assert not await store.checkpoints.read_timers(home_of(shard), None, 10)

    virtual(work())


def test_timers_far_ahead_are_not_in_memory_and_fire_all_the_same() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, page=7, timers_loaded_max=20))
        shard = await host.start()
        start_ns = shard.now_ns()
        due = [timer(start_ns + number * 900 * SECOND_NS, number=number) for number in range(1, 100)]
        await host.role.add(shard, key(), 1, *due)
        await passes(5)
        assert shard.timers.armed <= 1
        await passes(86_400 + 3600)
        assert fired(host) == due

    virtual(work())


def test_whoever_moves_the_clock_finds_the_first_timer_and_makes_it_fire() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, page=7, timers_loaded_max=20))
        shard = await host.start()
        assert await shard.firing.first_ns(frozenset()) == NEVER_NS
        start_ns, year_ns = shard.now_ns(), 365 * 86_400 * SECOND_NS
        retention = Timer(start_ns + SECOND_NS, key(), RUN, TimerKind.RETENTION)
        gone = timer(start_ns + year_ns - 1, number=99)
        due = [timer(start_ns + number * year_ns, number=number) for number in range(1, 30)]
        await host.role.add(shard, key(), 1, retention, gone, *due)
        await shard.durable(host.role.put(shard, key(), 2, removed=[gone]))
        assert await shard.firing.first_ns(frozenset()) == retention.due_ns
        assert await shard.firing.first_ns({TimerKind.RETENTION}) == due[0].due_ns
        host.clock.offset_ns = year_ns
        shard.firing.clock_moved()
        await passes(0.001)
        assert set(fired(host)) == {retention, due[0]}
        assert await shard.firing.first_ns(frozenset()) == due[1].due_ns

    virtual(work())


def test_a_failing_timer_is_tried_again_and_holds_up_no_other() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, fires_max=1))
        shard = await host.start()
        host.role.fail("fire", Bug("broken"), Unavailable("later"), Bug("broken"))
        one, other = timer(shard.now_ns() + SECOND_NS), timer(shard.now_ns() + SECOND_NS + 1, number=2)
        await host.role.add(shard, key(), 1, one, other)
        await passes(30)
        assert set(fired(host)) == {one, other}
        assert shard.firing.failures == 3
        assert not shard.is_lost

    virtual(work())


def test_few_fire_at_once() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, fires_max=4))
        shard = await host.start()
        running, most = 0, 0
        fire = host.role.fire

        async def slow(*args: object) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await passes(1)
            running -= 1
            await fire(*args)  # type: ignore[arg-type]  # passes on what it was called with

        host.role.fire = slow  # type: ignore[method-assign, assignment]  # the role, but slower
        await host.role.add(shard, key(), 1, *[timer(shard.now_ns(), number=number) for number in range(20)])
        await passes(10)
        assert most == 4
        assert len(host.role.fired) == 20

    virtual(work())


@pytest.mark.parametrize("is_stored", [True, False])
def test_a_timer_that_nothing_wants_goes_away(is_stored: bool) -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        shard = await host.start()
        due = timer(shard.now_ns() + 5 * SECOND_NS)
        await host.role.add(shard, key(), 1, due)
        await passes(4 if is_stored else 0.1)
        host.role.chain(shard, key()).tasks.clear()
        await passes(6)
        assert fired(host) == [due]
        assert shard.firing.obsolete == 1
        await host.role.add(shard, key(), 2)
        await passes(6)
        assert not await store.checkpoints.read_timers(home_of(shard), None, 10)

    virtual(work())


def test_errands_that_wait_for_others_take_no_place_from_timers() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, fires_max=2, errands_max=3))
        shard = await host.start()
        fire = host.role.fire
        waiting: list[Timer] = []

        async def stuck(owner: Shard, due: Timer) -> None:
            if due.kind == TimerKind.CHILD_START:
                waiting.append(due)
                await passes(3600)
            await fire(owner, due)

        host.role.fire = stuck  # type: ignore[method-assign, assignment]  # the role, but its errands' targets do not answer
        ordinary = [timer(shard.now_ns(), number=number) for number in range(5)]
        errands = [msgspec.structs.replace(one, kind=TimerKind.CHILD_START) for one in ordinary]
        await host.role.add(shard, key(), 1, *errands, *ordinary)
        await passes(1)
        assert fired(host) == ordinary
        assert len(waiting) == 3
        await passes(7200)
        assert set(fired(host)) == {*ordinary, *errands}

    virtual(work())


def test_failures_are_told_less_and_less_often() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        host.role.fail("fire", *[Unavailable("later") for _ in range(20)])
        with structlog.testing.capture_logs() as logs:
            await host.role.add(shard, key(), 1, timer(shard.now_ns()))
            await passes(3600)
        assert shard.firing.failures == 20
        told = [entry["failures"] for entry in logs if entry["event"] == "timer not fired yet"]
        assert told == [1, 2, 4, 8, 16]

    virtual(work())


def test_the_failures_of_timers_that_are_gone_are_forgotten() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        for number in range(1_000):
            due = timer(shard.now_ns(), number=number)
            host.role.fail("fire", Unavailable("not now"))
            await host.role.add(shard, key(), 1, due)
            await passes(0.001)
            host.role.put(shard, key(), 1, removed=[due], urgent=True)
        assert shard.firing.failures == 1_000
        assert len(shard.firing._attempts) < 600

    virtual(work())


def test_timers_that_fail_for_ever_keep_none_from_being_read() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, page=7, timers_loaded_max=20, timer_window_s=10))
        shard = await host.start()
        stuck = [timer(shard.now_ns(), number=number) for number in range(1, 40)]
        later = timer(shard.now_ns() + 100 * SECOND_NS, number=99)
        fire = host.role.fire

        async def fires(at: Shard, one: Timer) -> None:
            if one in stuck:
                raise Unavailable("not now")
            await fire(at, one)

        host.role.fire = fires  # type: ignore[method-assign, assignment]  # a target that does not answer
        await host.role.add(shard, key(), 1, later, *stuck)
        await passes(150)
        assert fired(host) == [later]

    virtual(work())
