"""History and matching over one memory store on virtual time, with short words for what a client and a worker do."""

from collections.abc import Sequence

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

from perdure.base.clock import SECOND_NS
from perdure.base.metrics import Metrics
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call, HistoryPage, HistoryRead, Poll
from perdure.server.cluster import Options, Roles
from perdure.store.contract import Store
from perdure.testing.loop import VirtualLoop
from perdure.workflow.requests import (
    ActivityRef,
    CompleteActivity,
    CompleteWorkflowTask,
    SignalWorkflow,
    StartWorkflow,
)
from perdure.workflow.tasks import QueueKey, QueueKind
from perdure.workflow.tokens import decode_token

NAMESPACE = Namespace("namespace-id", "default", 72 * 3600 * SECOND_NS)


def key_of(workflow_id: str) -> ChainKey:
    """The chain of a workflow id."""
    return ChainKey(NAMESPACE.id, workflow_id)


class House:
    """One incarnation of the roles over a store that outlives it."""

    def __init__(
        self, loop: VirtualLoop, store: Store, options: Options | None = None, metrics: Metrics | None = None
    ) -> None:
        self.roles = Roles(store, loop.clock, loop.entropy, options or Options(), metrics=metrics)

    async def open(self) -> "House":
        """Start, with the namespace."""
        await self.roles.start()
        if not await self.roles.namespaces.list():
            await self.roles.namespaces.register(NAMESPACE)
        return self

    async def start(
        self, workflow_id: str, request_id: str = "start", *, eager: bool = False, queue: str = "q"
    ) -> StartWorkflowExecutionResponse:
        """Start a workflow."""
        request = StartWorkflowExecutionRequest(
            namespace="default",
            workflow_id=workflow_id,
            request_id=request_id,
            request_eager_execution=eager,
            workflow_type=WorkflowType(name="T"),
            task_queue=TaskQueue(name=queue),
        )
        reply = await self.roles.history.transact(key_of(workflow_id), StartWorkflow(request), Call())
        assert isinstance(reply, StartWorkflowExecutionResponse)
        return reply

    async def signal(self, workflow_id: str, name: str, request_id: str = "") -> None:
        """Signal the current run."""
        request = SignalWorkflowExecutionRequest(
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
            signal_name=name,
            request_id=request_id or name,
        )
        await self.roles.history.transact(key_of(workflow_id), SignalWorkflow(request), Call())

    async def poll(self, queue: str = "q", normal: str = "", seconds: float = 20) -> PollWorkflowTaskQueueResponse:
        """A workflow task; an empty message if there was none."""
        partition = QueueKey(NAMESPACE.id, queue, QueueKind.WORKFLOW)
        poll = Poll(partition, "worker", int(seconds * SECOND_NS), normal_queue=normal)
        return PollWorkflowTaskQueueResponse.FromString(await self.roles.matching.poll(poll, Call()))

    async def poll_activity(self, seconds: float = 20) -> PollActivityTaskQueueResponse:
        """An activity task."""
        poll = Poll(QueueKey(NAMESPACE.id, "q", QueueKind.ACTIVITY), "worker", int(seconds * SECOND_NS))
        return PollActivityTaskQueueResponse.FromString(await self.roles.matching.poll(poll, Call()))

    async def complete(
        self, task: PollWorkflowTaskQueueResponse, *commands: Command, sticky: str = "", again: bool = False
    ) -> RespondWorkflowTaskCompletedResponse:
        """Complete a workflow task; `again` asks for the next one at once."""
        request = RespondWorkflowTaskCompletedRequest(
            commands=commands, return_new_workflow_task=again, force_create_new_workflow_task=again
        )
        if sticky:
            attributes = StickyExecutionAttributes(worker_task_queue=TaskQueue(name=sticky, normal_name="q"))
            attributes.schedule_to_start_timeout.FromSeconds(5)
            request.sticky_attributes.CopyFrom(attributes)
        decided = CompleteWorkflowTask(decode_token(task.task_token), request)
        key = key_of(task.workflow_execution.workflow_id)
        reply = await self.roles.history.complete_workflow_task(key, decided, Call())
        return RespondWorkflowTaskCompletedResponse.FromString(reply)

    async def complete_activity(self, task: PollActivityTaskQueueResponse) -> None:
        """Complete an activity without a result."""
        ref = ActivityRef(token=decode_token(task.task_token))
        key = key_of(task.workflow_execution.workflow_id)
        await self.roles.history.transact(key, CompleteActivity(ref, None, "worker"), Call())

    async def page(self, workflow_id: str, read: HistoryRead) -> tuple[Sequence[HistoryEvent], bytes]:
        """One page of history: its events and the token."""
        page: HistoryPage = await self.roles.history.read_history(key_of(workflow_id), read, Call())
        return History.FromString(page.history).events, page.token

    async def events(self, workflow_id: str) -> list[str]:
        """All events as `id name`, without their common words."""
        events, token = await self.page(workflow_id, HistoryRead("", 1000))
        assert token == b""
        return [f"{event.event_id} {_short(event)}" for event in events]


def _short(event: HistoryEvent) -> str:
    name = str(event.WhichOneof("attributes"))
    return name.removesuffix("_event_attributes").removeprefix("workflow_execution_")


def schedule_activity() -> Command:
    """A command that schedules an activity on `q`."""
    command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
    attributes = command.schedule_activity_task_command_attributes
    attributes.activity_id = "a"
    attributes.activity_type.name = "A"
    attributes.task_queue.name = "q"
    attributes.start_to_close_timeout.FromSeconds(30)
    return command


def start_timer(seconds: int) -> Command:
    """A command that starts the timer `t`."""
    command = Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)
    command.start_timer_command_attributes.timer_id = "t"
    command.start_timer_command_attributes.start_to_fire_timeout.FromSeconds(seconds)
    return command


def finish() -> Command:
    """A command that completes the workflow."""
    command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
    command.complete_workflow_execution_command_attributes.SetInParent()
    return command
