"""Closed runs of a workflow id that goes on: what they still want, and that they take no memory."""

from perdure.base.errors import NotFound
from perdure.cluster.roles import Call
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import Look
from tests.unit.history.house import House, finish, key_of
from tests.unit.shards.fakes import passes

ONE_SHARD = Options(shards=ShardOptions(shards=1, checkpoint_age_s=0.1))
RETENTION_S = 72 * 3600


async def exists(house: House, workflow_id: str, run_id: str) -> bool:
    """Whether the run is there."""
    try:
        await house.roles.history.transact(key_of(workflow_id), Look(run_id), Call())
    except NotFound:
        return False
    return True


def test_a_former_run_that_the_log_does_not_touch_keeps_its_timers() -> None:
    async def play() -> tuple[bool, bool]:
        house = await House(running_loop(), MemoryStore(), ONE_SHARD).open()
        former = (await house.start("w")).run_id
        await house.complete(await house.poll(), finish())
        await passes(RETENTION_S - 300)
        await house.start("w", "again")
        (shard,) = house.roles.shards.owned()
        shard.fail("lost")
        await passes(200)
        before = await exists(house, "w", former)
        await passes(200)
        return before, await exists(house, "w", former)

    assert run_virtual(play()) == (True, False)
