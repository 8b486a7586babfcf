"""Poll answers as bytes: a message around history that was encoded long ago.

An encoded message may be written in parts, fields in any order; so the history's bytes are appended to the rest of
the message instead of being parsed and encoded again.
"""

from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]  # not in the stubs
from temporalio.api.common.v1 import ActivityType, Payloads, Priority, RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedResponse,
    StartWorkflowExecutionResponse,
)

from perdure.base.clock import to_duration, to_timestamp
from perdure.base.slots import ChainKey
from perdure.cluster.roles import QueryTask
from perdure.history.chains import ShardChains
from perdure.history.reading import PageToken, Reading, encode_page_token
from perdure.history.tails import history_of
from perdure.workflow.requests import (
    ActivityTaskStarted,
    Seen,
    StartedEagerly,
    WorkflowTaskCompleted,
    WorkflowTaskStarted,
)
from perdure.workflow.tokens import TaskToken, encode_token

HISTORY_BATCHES = 256
_LENGTH_DELIMITED = 2


def _tag(field_number: int) -> bytes:
    return bytes(_VarintBytes(field_number << 3 | _LENGTH_DELIMITED))


_HISTORY_TAG = _tag(PollWorkflowTaskQueueResponse.DESCRIPTOR.fields_by_name["history"].number)
_NEXT_TASK_TAG = _tag(RespondWorkflowTaskCompletedResponse.DESCRIPTOR.fields_by_name["workflow_task"].number)
_ACTIVITY_TASK_TAG = _tag(RespondWorkflowTaskCompletedResponse.DESCRIPTOR.fields_by_name["activity_tasks"].number)


def _field(tag: bytes, body: bytes) -> bytes:
    return b"".join((tag, _VarintBytes(len(body)), body))


class Answers:
    """Builds what workers get."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def workflow_task(self, chains: ShardChains, key: ChainKey, started: WorkflowTaskStarted) -> bytes:
        """An encoded PollWorkflowTaskQueueResponse: the whole history's first page, or what is new to a sticky
        worker.
        """
        task = started.task
        token = TaskToken(
            namespace_id=key.namespace_id,
            workflow_id=key.workflow_id,
            run_id=started.run_id,
            scheduled_event_id=task.scheduled_event_id,
            started_event_id=task.started_event_id,
            started_time_ns=task.started_time_ns,
            attempt=task.attempt,
            stamp=task.stamp,
            workflow_type=started.workflow_type,
        )
        response = PollWorkflowTaskQueueResponse(
            task_token=encode_token(token),
            workflow_execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=started.run_id),
            workflow_type=WorkflowType(name=started.workflow_type),
            previous_started_event_id=started.previous_started_event_id,
            started_event_id=task.started_event_id,
            attempt=task.attempt,
            workflow_execution_task_queue=TaskQueue(
                name=started.normal_queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL
            ),
            scheduled_time=to_timestamp(task.scheduled_time_ns),
            started_time=to_timestamp(task.started_time_ns),
        )
        for query_id, query in started.queries.items():
            response.queries[query_id].CopyFrom(WorkflowQuery.FromString(query))
        for message in started.messages:
            response.messages.add().MergeFromString(message)
        first = started.previous_started_event_id + 1 if started.partial else 1
        nodes = await self._reading.nodes(chains, key, started.segments, first, started.next_event_id, HISTORY_BATCHES)
        history = b"".join(node.body for node in nodes)
        end = nodes[-1].end if nodes else first
        if end < started.next_event_id:
            response.next_page_token = encode_page_token(
                PageToken(started.run_id, end, started.next_event_id, running=True)
            )
        else:
            history += history_of(started.tail)
        return response.SerializeToString() + _field(_HISTORY_TAG, history)

    async def started_eagerly(
        self, chains: ShardChains, key: ChainKey, eager: StartedEagerly
    ) -> StartWorkflowExecutionResponse:
        """The answer to a start, with the first workflow task."""
        response = StartWorkflowExecutionResponse()
        response.CopyFrom(eager.response)
        response.eager_workflow_task.ParseFromString(await self.workflow_task(chains, key, eager.task))
        return response

    async def completed(
        self, chains: ShardChains, key: ChainKey, completed: WorkflowTaskCompleted, namespace: str
    ) -> bytes:
        """An encoded RespondWorkflowTaskCompletedResponse, with the activities that began for this worker."""
        response = RespondWorkflowTaskCompletedResponse(reset_history_event_id=completed.reset_history_event_id)
        body = response.SerializeToString()
        if completed.next_task is not None:
            body += _field(_NEXT_TASK_TAG, await self.workflow_task(chains, key, completed.next_task))
        for started in completed.activities:
            body += _field(_ACTIVITY_TASK_TAG, await self.activity_task(chains, key, started, namespace))
        return body

    async def activity_task(
        self, chains: ShardChains, key: ChainKey, started: ActivityTaskStarted, namespace: str
    ) -> bytes:
        """An encoded PollActivityTaskQueueResponse, with input and header from the Scheduled event."""
        activity, attempt = started.activity, started.attempt
        event = await self._reading.event(chains, key, started.segments, activity.scheduled_event_id)
        scheduled = event.activity_task_scheduled_event_attributes
        token = TaskToken(
            namespace_id=key.namespace_id,
            workflow_id=key.workflow_id,
            run_id=started.run_id,
            scheduled_event_id=activity.scheduled_event_id,
            started_event_id=activity.started_event_id,
            started_time_ns=attempt.started_time_ns,
            attempt=attempt.attempt,
            stamp=attempt.stamp,
            activity_id=activity.activity_id,
            activity_type=activity.activity_type,
            workflow_type=started.workflow_type,
        )
        response = PollActivityTaskQueueResponse(
            task_token=encode_token(token),
            workflow_namespace=namespace,
            workflow_type=WorkflowType(name=started.workflow_type),
            workflow_execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=started.run_id),
            activity_type=ActivityType(name=activity.activity_type),
            activity_id=activity.activity_id,
            header=scheduled.header if scheduled.HasField("header") else None,
            input=scheduled.input if scheduled.HasField("input") else None,
            scheduled_time=event.event_time,
            current_attempt_scheduled_time=to_timestamp(attempt.scheduled_time_ns),
            started_time=to_timestamp(attempt.started_time_ns),
            attempt=attempt.attempt,
            schedule_to_close_timeout=to_duration(activity.schedule_to_close_ns),
            start_to_close_timeout=to_duration(activity.start_to_close_ns),
            heartbeat_timeout=to_duration(activity.heartbeat_ns),
            retry_policy=RetryPolicy.FromString(activity.retry_policy) if activity.retry_policy else None,
            priority=Priority.FromString(started.priority) if started.priority else None,
        )
        if attempt.heartbeat_details:
            response.heartbeat_details.CopyFrom(Payloads.FromString(attempt.heartbeat_details))
        return response.SerializeToString()

    async def query_task(self, chains: ShardChains, key: ChainKey, task: QueryTask, seen: Seen, sticky: bool) -> bytes:
        """An encoded PollWorkflowTaskQueueResponse that carries a query; a sticky worker needs no history with it."""
        response = PollWorkflowTaskQueueResponse(
            task_token=encode_token(task.token),
            workflow_execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=seen.run_id),
            workflow_type=WorkflowType(name=seen.workflow_type),
            previous_started_event_id=seen.previous_started_event_id,
            attempt=1,
            workflow_execution_task_queue=TaskQueue(name=seen.task_queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
            query=WorkflowQuery.FromString(task.query),
        )
        if sticky:
            return response.SerializeToString() + _field(_HISTORY_TAG, b"")
        nodes = await self._reading.nodes(chains, key, seen.segments, 1, seen.next_event_id, HISTORY_BATCHES)
        end = nodes[-1].end
        if end < seen.next_event_id:
            token = PageToken(seen.run_id, end, seen.next_event_id, running=seen.is_open)
            response.next_page_token = encode_page_token(token)
        return response.SerializeToString() + _field(_HISTORY_TAG, b"".join(node.body for node in nodes))
