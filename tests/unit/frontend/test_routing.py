"""Trying again while a shard has no owner: only what may be repeated, and never beyond the caller's time."""

from typing import Any

import pytest

from perdure.base.errors import NotFound, ShardLost, Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call
from perdure.frontend.routing import ATTEMPTS_MAX, Routing
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.frontend.fakes import FakeDirectory, FakeEntropy

KEY = ChainKey("namespace", "wf")


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
