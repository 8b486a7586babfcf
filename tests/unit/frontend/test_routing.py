"""Trying again while a shard has no owner: only what may be repeated, and never beyond the caller's time."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from perdure.base.errors import HostUnreachable, NotFound, PartitionElsewhere, ShardElsewhere, ShardLost, Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call
from perdure.frontend.routing import ATTEMPTS_MAX, FOLLOW_S, MAYBE_DONE, Routing
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.frontend.fakes import FakeDirectory, FakeEntropy
from tests.unit.shards.fakes import passes

KEY = ChainKey("namespace", "wf")
PARTITION = QueueKey("namespace", "queue", QueueKind.WORKFLOW)


async def transact(directory: FakeDirectory, *, repeatable: bool, timeout_ns: int = 0) -> Any:
    routing = Routing(directory, FakeEntropy(0.5))  # type: ignore[arg-type]  # a fake has what the test needs
    return await routing.transact(KEY, "request", Call(timeout_ns=timeout_ns), repeatable=repeatable)


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_call_that_found_no_owner_is_repeated(repeatable: bool) -> None:
    directory = FakeDirectory()
    directory.refusals = [Unavailable("moving"), Unavailable("moving")]
    directory.role.reply = "done"
    assert run_virtual(transact(directory, repeatable=repeatable)) == "done"
    assert len(directory.role.asked) == 1


def test_a_lost_shard_ends_a_call_that_may_have_taken_effect() -> None:
    directory = FakeDirectory()
    directory.role.reply = ShardLost("lost")
    with pytest.raises(ShardLost):
        run_virtual(transact(directory, repeatable=False))
    assert len(directory.role.asked) == 1


def test_a_lost_shard_is_met_by_repeating_what_is_idempotent() -> None:
    directory = FakeDirectory()
    directory.role.reply = ShardLost("lost")
    with pytest.raises(ShardLost):
        run_virtual(transact(directory, repeatable=True))
    assert len(directory.role.asked) == ATTEMPTS_MAX


def test_a_repetition_of_what_may_have_been_done_is_logged_for_its_refusal_says_little() -> None:
    errors = [ShardLost("lost"), ShardElsewhere("moving"), NotFound("the attempt is over")]

    async def heartbeat(_role: object, _call: Call) -> bytes:
        raise errors.pop(0)

    routing = Routing(FakeDirectory(), FakeEntropy(0.5))  # type: ignore[arg-type]  # a fake has what the test needs
    with capture_logs() as logged, pytest.raises(NotFound):
        run_virtual(routing.on_history(KEY, heartbeat, Call(), repeatable=True))
    assert [(record["event"], record["wf_id"], record["error"]) for record in logged] == [(MAYBE_DONE, "wf", "lost")]


def test_the_callers_deadline_ends_the_attempts() -> None:
    async def measured() -> float:
        directory = FakeDirectory()
        directory.refusals = [Unavailable("nobody")] * 100
        with pytest.raises(Unavailable):
            await transact(directory, repeatable=True, timeout_ns=100_000_000)
        return running_loop().time()

    assert 0.02 < run_virtual(measured()) < 0.1


def test_a_refusal_is_an_answer() -> None:
    directory = FakeDirectory()
    directory.role.reply = NotFound("gone")
    with pytest.raises(NotFound):
        run_virtual(transact(directory, repeatable=True))
    assert len(directory.role.asked) == 1


@pytest.mark.parametrize("error", [ShardElsewhere("gone", "b", 3), HostUnreachable("refused", "b:1")])
def test_what_was_certainly_not_done_is_repeated_until_the_callers_time_is_over(error: Exception) -> None:
    async def measured() -> float:
        directory = FakeDirectory()
        directory.role.reply = error
        with pytest.raises(type(error)):
            await transact(directory, repeatable=False, timeout_ns=15_000_000_000)
        assert len(directory.role.asked) > ATTEMPTS_MAX
        return running_loop().time()

    assert 13 < run_virtual(measured()) < 15


def test_without_a_deadline_there_is_a_bound() -> None:
    async def measured() -> float:
        directory = FakeDirectory()
        directory.role.reply = ShardElsewhere("nobody has it")
        with pytest.raises(ShardElsewhere):
            await transact(directory, repeatable=False)
        return running_loop().time()

    assert FOLLOW_S - 2 < run_virtual(measured()) <= FOLLOW_S


def test_a_partition_of_another_role_says_nothing_of_what_history_did() -> None:
    directory = FakeDirectory()
    directory.role.reply = PartitionElsewhere("a query's worker")
    with pytest.raises(PartitionElsewhere):
        run_virtual(transact(directory, repeatable=False))
    assert len(directory.role.asked) == 1


def test_a_partition_is_followed_for_as_long_as_the_poll_may_wait() -> None:
    async def measured() -> float:
        asked: list[float] = []

        async def poll(_role: object) -> bytes:
            asked.append(running_loop().time())
            if len(asked) < 10:
                raise PartitionElsewhere("moving")
            return b"task"

        routing = Routing(FakeDirectory(), FakeEntropy(0.5))  # type: ignore[arg-type]  # a fake has what the test needs
        assert await routing.on_matching(PARTITION, poll, 60_000_000_000) == b"task"
        return asked[-1]

    assert run_virtual(measured()) < 6


def test_who_is_asked_later_has_less_time() -> None:
    async def work() -> None:
        calls: list[Call] = []

        async def read(_role: object, call: Call) -> bytes:
            calls.append(call)
            if len(calls) == 1:
                await passes(25)
                raise ShardElsewhere("it moved")
            return b""

        routing = Routing(FakeDirectory(), FakeEntropy(0.5))  # type: ignore[arg-type]  # a fake has what the test needs
        await routing.on_history(KEY, read, Call(timeout_ns=30_000_000_000), repeatable=True)
        assert calls[0].timeout_ns == 30_000_000_000
        assert 4_900_000_000 < calls[1].timeout_ns < 5_000_000_000

    run_virtual(work())
