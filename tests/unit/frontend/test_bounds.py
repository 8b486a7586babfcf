"""What a caller may ask for at most: rates, filters, and failures that have to fit beside an error's message."""

import pytest
from google.protobuf.wrappers_pb2 import DoubleValue
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.failure.v1 import Failure
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueMetadata
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    ListWorkflowExecutionsRequest,
    PollActivityTaskQueueRequest,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
)

from perdure.base.errors import InvalidArgument, QueryFailed
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call
from perdure.frontend.workflows import QUERY_FAILURE_BYTES_MAX
from tests.unit.frontend.fakes import FakeHistory, open_desk, with_limits


def _poll(rate: float) -> PollActivityTaskQueueRequest:
    metadata = TaskQueueMetadata(max_tasks_per_second=DoubleValue(value=rate))
    return PollActivityTaskQueueRequest(
        namespace="default", task_queue=TaskQueue(name="q"), task_queue_metadata=metadata
    )


@pytest.mark.parametrize("rate", [float("nan"), -1.0, float("-inf"), -1e308])
async def test_what_is_no_rate_is_refused(rate: float) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument, match="is not a rate"):
        await desk.call(_poll(rate))


@pytest.mark.parametrize(("rate", "limit"), [(0.0, 0.0), (2.5, 2.5), (1e8, 1e8), (1e308, None), (float("inf"), None)])
async def test_a_rate_beyond_all_machines_is_none(rate: float, limit: float | None) -> None:
    desk = await open_desk()
    await desk.call(_poll(rate))
    assert desk.matching.polls[-1].max_tasks_per_second == limit


@pytest.mark.parametrize("kind", [ListWorkflowExecutionsRequest, CountWorkflowExecutionsRequest])
async def test_a_filter_has_a_longest_length_and_a_largest_number_of_conditions(
    kind: type[ListWorkflowExecutionsRequest] | type[CountWorkflowExecutionsRequest],
) -> None:
    desk = await open_desk(with_limits(list_filter_bytes_max=100, list_filter_conditions_max=3))
    condition = "WorkflowId = 'x'"
    await desk.call(kind(namespace="default", query=" AND ".join([condition] * 3)))
    with pytest.raises(InvalidArgument, match="more than 3 conditions"):
        await desk.call(kind(namespace="default", query=" AND ".join([condition] * 4)))
    with pytest.raises(InvalidArgument, match="longer than 100 bytes"):
        await desk.call(kind(namespace="default", query=condition + " " * 100))


class _FailingHistory(FakeHistory):
    def __init__(self, failure: Failure) -> None:
        super().__init__()
        self._failure = failure

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        raise QueryFailed("it failed", self._failure)


@pytest.mark.parametrize("size", [100, 100_000])
async def test_the_failure_of_a_query_is_cut_to_what_can_travel(size: int) -> None:
    desk = await open_desk()
    desk.directory.role = _FailingHistory(Failure(message="m" * 50, stack_trace="s" * size))
    request = QueryWorkflowRequest(
        namespace="default", execution=WorkflowExecution(workflow_id="w"), query=WorkflowQuery(query_type="q")
    )
    with pytest.raises(QueryFailed, match="it failed") as failed:
        await desk.call(request)
    failure = failed.value.failure
    assert failure is not None
    assert failure.message == "m" * 50
    assert failure.ByteSize() < QUERY_FAILURE_BYTES_MAX + 50  # a cut is exact but for some bytes
    assert len(failure.stack_trace) == size or size > QUERY_FAILURE_BYTES_MAX
