"""The clock that tests of workflows skip by (the rules of the SDKs' test server)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.empty_pb2 import Empty
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType
from temporalio.api.testservice.v1 import (
    GetCurrentTimeResponse,
    LockTimeSkippingRequest,
    SleepRequest,
    SleepUntilRequest,
    UnlockTimeSkippingRequest,
)

from perdure.base.clock import SECOND_NS, AdvancingClock, from_timestamp, to_timestamp
from perdure.base.errors import FailedPrecondition
from perdure.frontend.test_service import test_methods as methods_of
from perdure.rpc.call import CallMeta
from perdure.server.cluster import Options, Roles
from perdure.server.time_skipping import TimeSkipping
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.history.house import House, schedule_activity
from tests.unit.shards.fakes import passes

DAY = 86_400
DAY_NS = DAY * SECOND_NS


class Skipped:
    """A house whose clock can be skipped. `passed_s`: by it, since the beginning; `real_s`: by the loop's."""

    def __init__(self, locks: int) -> None:
        loop = running_loop()
        self.clock = AdvancingClock(loop.clock)
        self.house = House(loop, MemoryStore(self.clock))
        options = Options(shards=ShardOptions(shards=3))
        self.house.roles = Roles(self.house.roles.store, self.clock, loop.entropy, options)
        self.time = TimeSkipping(self.clock, self.house.roles.shards, locks)
        self.house.roles.executions.watcher = self.time.changed
        self._began_ns = self.clock.now_ns()
        self._real_ns = loop.clock.now_ns()
        self._methods = methods_of(self.time)

    @property
    def passed_s(self) -> float:
        return (self.clock.now_ns() - self._began_ns) / SECOND_NS

    @property
    def real_s(self) -> float:
        return (running_loop().clock.now_ns() - self._real_ns) / SECOND_NS

    async def call(self, name: str, request: Any) -> Any:
        """One RPC of the TestService."""
        method = self._methods[f"/temporal.api.testservice.v1.TestService/{name}"]
        assert isinstance(request, method.request)
        return await method.handler(request, CallMeta())

    async def unlock(self) -> None:
        await self.call("UnlockTimeSkipping", UnlockTimeSkippingRequest())


@asynccontextmanager
async def skipped(locks: int = 0) -> AsyncIterator[Skipped]:
    found = Skipped(locks)
    await found.house.open()
    found.time.start()
    yield found
    await found.time.close()
    await found.house.roles.stop()


def timer(timer_id: str, seconds: int) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)
    command.start_timer_command_attributes.timer_id = timer_id
    command.start_timer_command_attributes.start_to_fire_timeout.seconds = seconds
    return command


async def waiting(found: Skipped, *commands: Command, name: str = "wf") -> None:
    """A workflow that has done its first task."""
    await found.house.start(name)
    await found.house.complete(await found.house.poll(), *commands)


def test_a_clock_is_only_moved_forward_and_its_monotonic_side_never() -> None:
    async def work() -> None:
        loop = running_loop()
        clock = AdvancingClock(loop.clock)
        now_ns, monotonic_ns = clock.now_ns(), clock.monotonic_ns()
        clock.advance_to(now_ns + DAY_NS)
        clock.advance_to(now_ns)
        assert clock.now_ns() == now_ns + DAY_NS
        assert clock.monotonic_ns() == monotonic_ns

    run_virtual(work())


def test_timers_of_days_take_no_time_while_nobody_works_and_nobody_locks() -> None:
    async def work() -> None:
        async with skipped() as found:
            await waiting(found, timer("a", 30 * DAY), timer("b", 2 * DAY))
            task = await found.house.poll()
            assert 2 * DAY <= found.passed_s < 2 * DAY + 10
            await found.house.complete(task)
            await found.house.poll()
            assert 30 * DAY <= found.passed_s < 30 * DAY + 10
            assert found.real_s < 10

    run_virtual(work())


def test_time_goes_at_the_real_pace_while_it_is_locked() -> None:
    async def work() -> None:
        async with skipped(locks=1) as found:
            await waiting(found, timer("a", DAY))
            await found.call("LockTimeSkipping", LockTimeSkippingRequest())
            await found.unlock()
            task = await found.house.poll(seconds=60)
            assert not task.task_token
            assert found.passed_s == found.real_s > 50
            await found.unlock()
            task = await found.house.poll()
            assert task.task_token
            assert found.passed_s >= DAY > found.real_s

    run_virtual(work())


def test_no_more_locks_can_be_taken_away_than_there_are() -> None:
    async def work() -> None:
        async with skipped(locks=1) as found:
            await found.unlock()
            with pytest.raises(FailedPrecondition):
                await found.unlock()
            with pytest.raises(FailedPrecondition):
                await found.call("UnlockTimeSkippingWithSleep", SleepRequest())
            await found.call("LockTimeSkipping", LockTimeSkippingRequest())
            await found.unlock()

    run_virtual(work())


def test_work_in_progress_is_waited_for() -> None:
    async def work() -> None:
        async with skipped() as found:
            await waiting(found, timer("a", DAY), schedule_activity())
            activity = await found.house.poll_activity()
            await passes(5)
            assert found.passed_s < 10
            await found.house.complete_activity(activity)
            task = await found.house.poll()
            assert found.passed_s < 10
            await found.house.start("other")
            await found.house.complete(task)
            await passes(5)
            assert found.passed_s < 20
            await found.house.complete(await found.house.poll())
            assert (await found.house.poll()).task_token
            assert found.passed_s >= DAY

    run_virtual(work())


def test_without_anything_to_wait_for_time_goes_at_the_real_pace() -> None:
    async def work() -> None:
        async with skipped() as found:
            await waiting(found)
            await passes(5)
            assert found.passed_s == found.real_s

    run_virtual(work())


def test_what_only_deletes_is_not_waited_for() -> None:
    async def work() -> None:
        async with skipped() as found:
            close = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
            close.complete_workflow_execution_command_attributes.SetInParent()
            await waiting(found, close)
            await passes(5)
            assert found.passed_s == found.real_s

    run_virtual(work())


def test_a_sleep_ends_at_the_servers_time() -> None:
    async def work() -> None:
        async with skipped() as found:
            request = SleepRequest()
            request.duration.seconds = DAY
            await found.call("Sleep", request)
            assert DAY <= found.passed_s < DAY + 1
            until = SleepUntilRequest(timestamp=to_timestamp(found.clock.now_ns() + DAY_NS))
            await found.call("SleepUntil", until)
            await found.call("SleepUntil", until)
            assert 2 * DAY <= found.passed_s < 2 * DAY + 1
            now: GetCurrentTimeResponse = await found.call("GetCurrentTime", Empty())
            assert from_timestamp(now.time) == found.clock.now_ns()
            assert found.real_s < 1
            await found.call("LockTimeSkipping", LockTimeSkippingRequest())
            request.duration.seconds = 60
            await found.call("Sleep", request)
            assert 60 <= found.real_s < 61

    run_virtual(work())


def test_a_sleep_that_unlocks_passes_the_timers_on_the_way_and_locks_again() -> None:
    async def work() -> None:
        async with skipped(locks=1) as found:
            await waiting(found, timer("a", DAY), timer("b", 3 * DAY))
            request = SleepRequest()
            request.duration.seconds = 2 * DAY

            async def worker() -> None:
                await found.house.complete(await found.house.poll())

            await asyncio.gather(found.call("UnlockTimeSkippingWithSleep", request), worker())
            assert 2 * DAY <= found.passed_s < 2 * DAY + 10
            assert not (await found.house.poll(seconds=60)).task_token
            await found.unlock()
            assert (await found.house.poll()).task_token

    run_virtual(work())


def test_a_sleeper_that_goes_away_leaves_the_lock_as_it_was() -> None:
    async def work() -> None:
        async with skipped(locks=2) as found:
            request = SleepRequest()
            request.duration.seconds = DAY
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await found.call("UnlockTimeSkippingWithSleep", request)
            await found.unlock()
            await found.unlock()
            await passes(5)
            assert found.passed_s == found.real_s  # nobody sleeps any more
            with pytest.raises(FailedPrecondition):
                await found.unlock()

    run_virtual(work())


def test_time_goes_no_farther_than_times_reach() -> None:
    async def work() -> None:
        async with skipped() as found:
            until = SleepUntilRequest(timestamp=to_timestamp(2**63))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(5):
                    await found.call("SleepUntil", until)
            assert found.passed_s == found.real_s
            request = SleepRequest()
            request.duration.seconds = -DAY
            await found.call("Sleep", request)
            assert found.passed_s == found.real_s

    run_virtual(work())


def test_no_time_is_skipped_while_a_held_call_is_answered() -> None:
    async def work() -> None:
        async with skipped(locks=1) as found:
            await waiting(found, timer("a", DAY))

            async def answer(request: Any, meta: CallMeta) -> Empty:
                await found.unlock()
                await passes(5)
                assert found.passed_s < 10
                return Empty()

            await found.time.holding(answer)(Empty(), CallMeta())
            assert (await found.house.poll()).task_token
            assert found.passed_s >= DAY

    run_virtual(work())
