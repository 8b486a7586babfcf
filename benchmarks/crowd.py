"""Workflows and workers by hand, on a queue of their own, for what is large: many commands in a task, many tasks."""

from functools import lru_cache

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    Command,
    RecordMarkerCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

from benchmarks.calls import Calls
from benchmarks.one_activity import ACTIVITY_DONE, POLL_ACTIVITY, POLL_S, POLL_WORKFLOW, decided, start_request

_QUEUE = "crowd"
# A completion of hundreds of commands may wait for its turn on a busy machine.
_TASK_TIMEOUT = Duration(seconds=120)


@lru_cache
def schedules(count: int, first: int) -> bytes:
    """An encoded completion that schedules `count` activities, numbered from `first` on."""
    return decided(
        *(
            Command(
                command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
                schedule_activity_task_command_attributes=ScheduleActivityTaskCommandAttributes(
                    activity_id=str(first + index),
                    activity_type=ActivityType(name="bench"),
                    task_queue=TaskQueue(name=_QUEUE),
                    start_to_close_timeout=Duration(seconds=24 * 3600),
                ),
            )
            for index in range(count)
        )
    )


@lru_cache
def markers(count: int) -> bytes:
    """An encoded completion that records `count` markers."""
    marker = Command(
        command_type=CommandType.COMMAND_TYPE_RECORD_MARKER,
        record_marker_command_attributes=RecordMarkerCommandAttributes(marker_name="bench"),
    )
    return decided(*(marker for _ in range(count)))


class Crowd:
    """What is done on the queue. Every step is one task, whoever's it is."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def on_queue(self, body: bytes, queue: str = _QUEUE) -> bytes:
        """An encoded poll of another queue: the last of several values of a field counts."""
        return body + PollWorkflowTaskQueueRequest(task_queue=TaskQueue(name=queue)).SerializeToString()

    async def start(self, workflow_id: str) -> None:
        """Start a workflow on the queue."""
        own = StartWorkflowExecutionRequest(task_queue=TaskQueue(name=_QUEUE), workflow_task_timeout=_TASK_TIMEOUT)
        await self._calls.call("StartWorkflowExecution", start_request(workflow_id) + own.SerializeToString())

    async def decide(self, completion: bytes, *, again: bool) -> None:
        """Take one workflow task and complete it; `again`: so that another follows at once."""
        body = await self._calls.call("PollWorkflowTaskQueue", self.on_queue(POLL_WORKFLOW), POLL_S)
        task = PollWorkflowTaskQueueResponse.FromString(body)
        assert task.task_token, "no workflow task"
        own = RespondWorkflowTaskCompletedRequest(task_token=task.task_token, force_create_new_workflow_task=again)
        await self._calls.call("RespondWorkflowTaskCompleted", completion + own.SerializeToString())

    async def act(self) -> None:
        """Take one activity and complete it."""
        body = await self._calls.call("PollActivityTaskQueue", self.on_queue(POLL_ACTIVITY), POLL_S)
        task = PollActivityTaskQueueResponse.FromString(body)
        assert task.task_token, "no activity task"
        own = RespondActivityTaskCompletedRequest(task_token=task.task_token)
        await self._calls.call("RespondActivityTaskCompleted", ACTIVITY_DONE + own.SerializeToString())
