"""Children through the roles: from the command to the parent's knowledge of their end."""

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, ParentClosePolicy

from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.history.house import House, finish

ABANDON = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
REQUEST_CANCEL = ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL
STARTED = [
    "1 started",
    "2 workflow_task_scheduled",
    "3 workflow_task_started",
    "4 workflow_task_completed",
    "5 start_child_workflow_execution_initiated",
    "6 child_workflow_execution_started",
    "7 workflow_task_scheduled",
    "8 workflow_task_started",
]


def start_child(workflow_id: str = "child", policy: int = 0) -> Command:
    """A command that starts a child on `c`."""
    command = Command(command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION)
    attributes = command.start_child_workflow_execution_command_attributes
    attributes.workflow_id = workflow_id
    attributes.workflow_type.name = "C"
    attributes.task_queue.name = "c"
    attributes.parent_close_policy = policy  # type: ignore[assignment]  # a plain int
    return command


async def begin(policy: int = 0) -> House:
    """A house with a workflow `parent` that has started `child`."""
    house = await House(running_loop(), MemoryStore()).open()
    await house.start("parent")
    await house.complete(await house.poll(), start_child(policy=policy))
    return house


def test_a_child_starts_and_tells_its_parent_how_it_ended() -> None:
    async def play() -> list[str]:
        house = await begin()
        await house.complete(await house.poll())
        child = await house.poll("c")
        assert child.workflow_execution.workflow_id == "child"
        await house.complete(child, finish())
        await house.complete(await house.poll(), finish())
        return await house.events("parent")

    assert run_virtual(play()) == [
        *STARTED,
        "9 workflow_task_completed",
        "10 child_workflow_execution_completed",
        "11 workflow_task_scheduled",
        "12 workflow_task_started",
        "13 workflow_task_completed",
        "14 completed",
    ]
