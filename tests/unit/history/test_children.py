"""Children through the roles: from the command to the parent's knowledge of their end, though processes die."""

import asyncio

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType

from perdure.store.contract import Group, SegmentId, Written
from perdure.store.memory import MemoryStore
from perdure.store.memory.log import MemoryLog
from perdure.testing.loop import run_virtual, running_loop
from perdure.visibility.parse import parse_filter
from perdure.visibility.rows import VisibilityQuery
from tests.unit.history.house import NAMESPACE, House, finish
from tests.unit.history.test_durability import outcome
from tests.unit.shards.fakes import passes

PARENT = [
    "1 started",
    "2 workflow_task_scheduled",
    "3 workflow_task_started",
    "4 workflow_task_completed",
    "5 start_child_workflow_execution_initiated",
    "6 child_workflow_execution_started",
    "7 workflow_task_scheduled",
    "8 workflow_task_started",
    "9 workflow_task_completed",
    "10 child_workflow_execution_completed",
    "11 workflow_task_scheduled",
    "12 workflow_task_started",
    "13 workflow_task_completed",
    "14 completed",
]
CHILD = [
    "1 started",
    "2 workflow_task_scheduled",
    "3 workflow_task_started",
    "4 workflow_task_completed",
    "5 completed",
]


def start_child() -> Command:
    """A command that starts `child` on queue `c`."""
    command = Command(command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION)
    attributes = command.start_child_workflow_execution_command_attributes
    attributes.workflow_id = "child"
    attributes.workflow_type.name = "C"
    attributes.task_queue.name = "c"
    return command


class DeadlyLog(MemoryLog):
    """The process dies with the append that `left` counts down to; what that wrote is written."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.house: House | None = None

    async def append(self, segment: SegmentId, epoch: int, group: Group) -> Written:
        written = await super().append(segment, epoch, group)
        self.left -= 1
        if self.left == 0 and self.house is not None:
            for shard in self.house.roles.shards.owned():
                shard.log.fail("died")
        return written


class Town:
    """A house that dies, and is built again over the same store."""

    def __init__(self) -> None:
        self.store = MemoryStore(running_loop().clock)
        self.log = DeadlyLog()
        self.store.log = self.log

    async def open(self) -> House:
        """A new house; the old one is dead."""
        if self.log.house is not None:
            for shard in self.log.house.roles.shards.owned():
                shard.log.fail("died")
                await shard.close()
        self.log.left = 0
        self.log.house = await House(running_loop(), self.store).open()
        return self.log.house


def test_a_child_starts_and_tells_its_parent_how_it_ended() -> None:
    async def play() -> tuple[list[str], list[str]]:
        house = await Town().open()
        await house.start("parent")
        await house.complete(await house.poll(), start_child())
        await house.complete(await house.poll())
        child = await house.poll("c")
        assert child.workflow_execution.workflow_id == "child"
        await house.complete(child, finish())
        await house.complete(await house.poll(), finish())
        return await house.events("parent"), await house.events("child")

    assert run_virtual(play()) == (PARENT, CHILD)


@pytest.mark.parametrize("commits", range(1, 6))
def test_it_is_the_same_if_the_process_dies_after_any_commit_of_a_start(commits: int) -> None:
    async def play() -> tuple[list[str], list[str]]:
        town = Town()
        house = await town.open()
        await house.start("parent")
        task = await house.poll()
        town.log.left = commits
        await outcome(house.complete(task, start_child()))
        await passes(1)
        house = await town.open()
        await house.complete(await house.poll())
        await house.complete(await house.poll("c"), finish())
        await house.complete(await house.poll(), finish())
        return await house.events("parent"), await house.events("child")

    assert run_virtual(play()) == (PARENT, CHILD)


@pytest.mark.parametrize("commits", range(1, 5))
def test_it_is_the_same_if_the_process_dies_after_any_commit_of_a_report(commits: int) -> None:
    async def play() -> tuple[list[str], list[str]]:
        town = Town()
        house = await town.open()
        await house.start("parent")
        await house.complete(await house.poll(), start_child())
        await house.complete(await house.poll())
        task = await house.poll("c")
        town.log.left = commits
        await outcome(house.complete(task, finish()))
        await passes(1)
        house = await town.open()
        await house.complete(await house.poll(), finish())
        return await house.events("parent"), await house.events("child")

    assert run_virtual(play()) == (PARENT, CHILD)


def test_lists_find_children_by_parent_and_root() -> None:
    async def play() -> list[list[str]]:
        town = Town()
        house = await town.open()
        run_id = (await house.start("parent")).run_id
        await house.complete(await house.poll(), start_child())
        await passes(5)
        filters = ["ParentWorkflowId = 'parent'", f"ParentRunId = '{run_id}'", "RootWorkflowId = 'parent'"]
        pages = [
            await town.store.visibility.list(VisibilityQuery(NAMESPACE.id, parse_filter(text, {}))) for text in filters
        ]
        return [sorted(row.workflow_id for row in page.rows) for page in pages]

    assert run_virtual(play()) == [["child"], ["child"], ["child", "parent"]]


def test_a_parent_of_many_children_hears_of_each() -> None:
    async def play() -> int:
        house = await Town().open()
        await house.start("parent")
        commands = [start_child() for _ in range(200)]
        for number, command in enumerate(commands):
            command.start_child_workflow_execution_command_attributes.workflow_id = f"child-{number}"
        await house.complete(await house.poll(), *commands)
        async with asyncio.TaskGroup() as group:
            for _ in commands:
                group.create_task(_work(house))
        events = await house.events("parent")
        await house.complete(await house.poll(), finish())
        return sum(event.endswith("child_workflow_execution_completed") for event in events)

    assert run_virtual(play()) == 200


async def _work(house: House) -> None:
    await house.complete(await house.poll("c"), finish())
