"""An activity that its worker wants to begin itself comes with the answer, whole, and never through matching."""

from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse

from perdure.base.limits import Limits
from perdure.server.cluster import Options
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.history.house import House, finish, schedule_activity


def test_an_eager_activity_comes_with_the_completion_s_answer() -> None:
    async def play() -> tuple[PollActivityTaskQueueResponse, PollActivityTaskQueueResponse, list[str]]:
        house = await House(running_loop(), MemoryStore()).open()
        await house.start("w")
        command = schedule_activity()
        attributes = command.schedule_activity_task_command_attributes
        attributes.request_eager_execution = True
        attributes.input.payloads.add(data=b"in")
        attributes.priority.priority_key = 2
        answer = await house.complete(await house.poll(), command)
        (task,) = answer.activity_tasks
        polled = await house.poll_activity(seconds=1)
        await house.complete_activity(task)
        await house.complete(await house.poll(), finish())
        return task, polled, await house.events("w")

    task, polled, events = run_virtual(play())
    assert (task.activity_id, task.attempt, task.workflow_execution.workflow_id) == ("a", 1, "w")
    assert task.input.payloads[0].data == b"in"
    assert task.priority.priority_key == 2
    assert polled == PollActivityTaskQueueResponse()
    assert events[4:8] == [
        "5 activity_task_scheduled",
        "6 activity_task_started",
        "7 activity_task_completed",
        "8 workflow_task_scheduled",
    ]


def test_where_eager_activities_are_off_it_goes_through_matching() -> None:
    async def play() -> tuple[int, str]:
        house = await House(running_loop(), MemoryStore(), Options(limits=Limits(eager_activities=False))).open()
        await house.start("w")
        command = schedule_activity()
        command.schedule_activity_task_command_attributes.request_eager_execution = True
        answer = await house.complete(await house.poll(), command)
        return len(answer.activity_tasks), (await house.poll_activity()).activity_id

    assert run_virtual(play()) == (0, "a")
