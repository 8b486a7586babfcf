"""Workflows go on while their shards are split and merged: everything happens once, whenever that is."""

from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from perdure.base.errors import PerdureError
from perdure.base.tasks import Background
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.history.house import House, finish, schedule_activity, start_timer
from tests.unit.shards.fakes import passes

WORKFLOWS = 25
HISTORY = Counter(
    started=1,
    activity_task_scheduled=1,
    activity_task_started=1,
    activity_task_completed=1,
    timer_started=1,
    timer_fired=1,
    signaled=1,
    completed=1,
)


async def _until_done(call: Callable[[], Awaitable[object]]) -> None:
    """What may be asked again, as often as it takes."""
    while True:
        try:
            await call()
        except PerdureError:
            await passes(0.05)
        else:
            return


class _Life:
    """A worker and somebody who changes the map of shards, over one house."""

    def __init__(self, house: House, entropy: SeededEntropy) -> None:
        self.house = house
        self.entropy = entropy
        self.errors: list[BaseException] = []
        self.background = Background(self.errors.append)
        self.done: set[str] = set()
        self.splits = self.merges = 0

    async def work(self) -> None:
        """Workflow tasks: a timer and an activity at first; the end when all has come."""
        while True:
            try:
                task = await self.house.poll()
                if not task.task_token:
                    continue
                names = {str(event.WhichOneof("attributes")) for event in task.history.events}
                commands = []
                if "timer_started_event_attributes" not in names:
                    commands = [schedule_activity(), start_timer(1 + self.entropy.below(5))]
                elif {"timer_fired_event_attributes", "activity_task_completed_event_attributes"} <= names and (
                    "workflow_execution_signaled_event_attributes" in names
                ):
                    commands = [finish()]
                await self.house.complete(task, *commands)
            except PerdureError:
                await passes(0.01)

    async def act(self) -> None:
        while True:
            try:
                task = await self.house.poll_activity()
                if task.task_token:
                    await _until_done(partial(self.house.complete_activity, task))
            except PerdureError:
                await passes(0.01)

    async def reshape(self) -> None:
        """Split or merge whatever is here, now and then."""
        while True:
            await passes(self.entropy.fraction())
            shards = self.house.roles.shards
            owned = shards.owned()
            try:
                if owned and (len(owned) < 3 or (len(owned) < 8 and self.entropy.fraction() < 0.5)):
                    shard = owned[self.entropy.below(len(owned))]
                    await shards.split(shard.shard_id, 2 + self.entropy.below(3))
                    self.splits += 1
                elif owned:
                    first = self.entropy.below(len(owned) - 1)
                    await shards.merge([shard.shard_id for shard in owned[first : first + 2]])
                    self.merges += 1
            except PerdureError:
                continue  # they inherit still, or one is being taken


@pytest.mark.parametrize("seed", range(6))
def test_everything_happens_once_while_shards_are_split_and_merged(seed: int) -> None:
    async def work() -> None:
        loop = running_loop()
        store = MemoryStore(loop.clock, is_shared=True)
        options = Options(shards=ShardOptions(shards=2, checkpoint_age_s=0.3))
        house = await House(loop, store, options).open()
        life = _Life(house, loop.entropy.fork("life"))
        for job in (life.work, life.work, life.act, life.reshape):
            life.background.spawn(job())
        names = [f"wf{number}" for number in range(WORKFLOWS)]
        for name in names:
            await _until_done(partial(house.start, name, name))
            await passes(0.2)
            await _until_done(partial(house.signal, name, "go"))
        await passes(60)
        await life.background.close()
        assert life.errors == []
        assert min(life.splits, life.merges) > 5
        await house.roles.stop()
        again = await House(loop, store, options).open()
        for name in names:
            events = Counter(event.split()[1] for event in await again.events(name))
            assert {event: events[event] for event in HISTORY} == HISTORY, name
        await again.roles.stop()

    run_virtual(work(), seed)
