"""How long a start waits, and for whom."""

import asyncio

import pytest

from perdure.base.errors import FailedPrecondition, StoreUnavailable
from perdure.server.waiting import Patience, ToldToStop, unless_stopped
from perdure.store.contract import OutcomeUnknown
from perdure.testing.loop import run_virtual, running_loop


def test_what_is_told_to_stop_is_cancelled() -> None:
    async def play() -> None:
        stop, ended = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        running_loop().call_later(3, stop.set)
        with pytest.raises(ToldToStop):
            await unless_stopped(stop, work())
        assert ended.is_set()

    run_virtual(play())


def test_what_is_over_first_counts() -> None:
    async def play() -> None:
        async def answer() -> int:
            return 7

        async def fail() -> int:
            raise FailedPrecondition("no")

        assert await unless_stopped(asyncio.Event(), answer()) == 7
        with pytest.raises(FailedPrecondition):
            await unless_stopped(asyncio.Event(), fail())

    run_virtual(play())


def test_a_store_is_asked_again_until_patience_ends() -> None:
    async def play() -> None:
        loop = running_loop()
        attempts: list[float] = []

        async def away() -> None:
            attempts.append(loop.time())
            raise StoreUnavailable("away") if len(attempts) % 2 else OutcomeUnknown("in doubt")

        begun = loop.time()
        with pytest.raises(StoreUnavailable, match=r"away|in doubt"):
            await Patience(loop.clock, 30).until(away)
        assert 20 < loop.time() - begun <= 30
        assert 5 < len(attempts) < 15

    run_virtual(play())


def test_what_waiting_does_not_mend_is_told_at_once() -> None:
    async def play() -> None:
        loop, attempts = running_loop(), 0

        async def refuse() -> None:
            nonlocal attempts
            attempts += 1
            raise FailedPrecondition("no")

        with pytest.raises(FailedPrecondition):
            await Patience(loop.clock, 30).until(refuse)
        with pytest.raises(StoreUnavailable):
            await Patience(loop.clock, 0).until(_away)
        assert attempts == 1
        assert loop.time() == 0

    run_virtual(play())


async def _away() -> None:
    raise StoreUnavailable("away")


def test_a_store_that_comes_back_is_used() -> None:
    async def play() -> None:
        attempts = iter([StoreUnavailable("away"), OutcomeUnknown("in doubt")])

        async def work() -> str:
            for error in attempts:
                raise error
            return "there"

        assert await Patience(running_loop().clock, 30).until(work) == "there"

    run_virtual(play())
