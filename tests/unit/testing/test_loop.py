"""The virtual loop and its clock."""

import asyncio
from contextvars import ContextVar, copy_context

import pytest

from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import Deadlock, VirtualClock, run_virtual, running_loop


async def passes(seconds: float) -> None:
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


def test_a_year_passes_at_once_and_exactly() -> None:
    async def work() -> int:
        clock = running_loop().clock
        before = clock.monotonic_ns()
        await passes(365 * 86_400)
        return clock.monotonic_ns() - before

    assert abs(run_virtual(work()) - 365 * 86_400 * 10**9) <= 100


def test_work_that_can_never_go_on_is_a_deadlock() -> None:
    async def work() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Deadlock):
        run_virtual(work())


def test_tasks_left_behind_are_cancelled() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    async def work() -> None:
        async with asyncio.timeout(1):
            await asyncio.wait([asyncio.get_running_loop().create_task(forever())])

    with pytest.raises(TimeoutError):
        run_virtual(work())
    assert ended == [True]


def test_the_seed_orders_what_is_due_at_once_and_nothing_else() -> None:
    async def work() -> list[int]:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        for number in range(20):
            loop.call_later(1, seen.append, number)
            loop.call_later(2 + number / 1e6, seen.append, 100 + number)
        await passes(3)
        return seen

    runs = {seed: run_virtual(work(), seed) for seed in range(5)}
    assert runs[0] == run_virtual(work(), 0)
    assert len({tuple(run[:20]) for run in runs.values()}) > 1
    assert all(run[20:] == list(range(100, 120)) for run in runs.values())


def test_the_wall_clock_can_be_wrong() -> None:
    async def work() -> None:
        loop = running_loop()
        wrong = VirtualClock(loop, offset_ns=-5)
        assert wrong.now_ns() == loop.clock.now_ns() - 5
        assert wrong.monotonic_ns() == loop.clock.monotonic_ns()

    run_virtual(work())


def test_a_thread_is_refused() -> None:
    async def work() -> None:
        await asyncio.to_thread(len, "")

    with pytest.raises(RuntimeError, match="thread"):
        run_virtual(work())


def test_a_seed_gives_one_sequence_and_forks_are_independent() -> None:
    one, other = SeededEntropy(1), SeededEntropy(1)
    fork = one.fork("a")
    assert [one.seed() for _ in range(3)] == [other.seed() for _ in range(3)]
    assert fork.seed() == other.fork("a").seed() != other.fork("b").seed()
    assert all(0 <= one.fraction() < 1 for _ in range(1000))
    assert {one.below(3) for _ in range(100)} == {0, 1, 2}


def test_what_is_held_back_runs_later_in_its_order_unless_it_was_cancelled() -> None:
    async def work() -> list[str]:
        loop = running_loop()
        done: list[str] = []
        stopped: ContextVar[bool] = ContextVar("stopped", default=False)
        held: list[asyncio.Handle] = []
        theirs = copy_context()
        theirs.run(stopped.set, True)
        loop.holds = lambda context: held if context.get(stopped) else None
        loop.call_later(2, done.append, "second", context=theirs)
        loop.call_later(1, done.append, "first", context=theirs)
        cancelled = loop.call_later(3, done.append, "never", context=theirs)
        loop.call_later(4, done.append, "ours")
        await passes(5)
        assert done == ["ours"]
        cancelled.cancel()
        loop.holds = lambda context: None
        loop.go_on(held)
        await passes(0)
        return done

    assert run_virtual(work()) == ["ours", "first", "second"]
