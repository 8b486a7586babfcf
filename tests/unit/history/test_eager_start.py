"""A start that asks for the first workflow task gets it with the answer, and matching never has it."""

from temporalio.api.workflowservice.v1 import PollWorkflowTaskQueueResponse, StartWorkflowExecutionResponse

from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.history.house import House, finish


def test_an_eager_start_brings_the_first_task() -> None:
    async def play() -> tuple[list[StartWorkflowExecutionResponse], PollWorkflowTaskQueueResponse, list[str]]:
        house = await House(running_loop(), MemoryStore()).open()
        replies = [await house.start("w", eager=True), await house.start("w", eager=True)]
        polled = await house.poll(seconds=1)
        await house.complete(replies[0].eager_workflow_task, finish())
        replies.append(await house.start("w", eager=True))
        return replies, polled, await house.events("w")

    (first, second, third), polled, events = run_virtual(play())
    task = first.eager_workflow_task
    assert [event.event_id for event in task.history.events] == [1, 2, 3]
    assert (task.workflow_execution.run_id, task.attempt, task.started_event_id) == (first.run_id, 1, 3)
    assert second == first
    assert polled == PollWorkflowTaskQueueResponse()
    assert third.run_id == first.run_id
    assert not third.HasField("eager_workflow_task")
    assert events[2:] == ["3 workflow_task_started", "4 workflow_task_completed", "5 completed"]
