"""Which reads of checkpoints Cassandra is not asked for."""

from collections.abc import Sequence
from typing import Any

import pytest

from perdure.base.slots import ChainKey
from perdure.store.cassandra.checkpoints import CassandraCheckpoints
from perdure.store.cassandra.statements import Statement
from tests.unit.frontend.fakes import FakeClock

LONG = "x" * 65_535


class Empty:
    """A session with a store that has nothing."""

    def __init__(self) -> None:
        self.asked: list[Sequence[object]] = []

    async def run(self, statement: Statement, values: Sequence[object]) -> list[Any]:
        self.asked.append(values)
        return []


@pytest.mark.parametrize(("workflow_id", "run_id"), [(LONG, "run"), ("wf", LONG), ("ä" * 32_765, "run")])
async def test_a_key_that_is_longer_than_cassandra_takes_is_not_there(workflow_id: str, run_id: str) -> None:
    session = Empty()
    checkpoints = CassandraCheckpoints(session, FakeClock())  # type: ignore[arg-type]  # a fake has what the test needs
    assert await checkpoints.read_snapshot(ChainKey("namespace", workflow_id), run_id) is None
    assert session.asked == []
    pointer = await checkpoints.read_pointer(ChainKey("namespace", workflow_id))
    assert (pointer, len(session.asked)) == (None, workflow_id == "wf")


async def test_all_shorter_ones_are_asked_for() -> None:
    session = Empty()
    checkpoints = CassandraCheckpoints(session, FakeClock())  # type: ignore[arg-type]  # as above
    assert await checkpoints.read_pointer(ChainKey("namespace", "x" * (65_535 - len("namespace") - 6))) is None
    assert len(session.asked) == 1
