"""What a start has to look like. The expected refusals are the reference server's own answers."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Link, Priority, RetryPolicy, TimeSkippingConfig, WorkflowType
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.workflow.requests import SignalWithStart, StartWorkflow
from tests.unit.frontend.fakes import asked, open_desk, with_limits

LONG = "x" * 1001
NEGATIVE = Duration(seconds=-1)
_Reuse = WorkflowIdReusePolicy
_Conflict = WorkflowIdConflictPolicy
Change = Callable[[Any], object]


def start(**fields: Any) -> StartWorkflowExecutionRequest:
    plain: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": "wf",
        "workflow_type": WorkflowType(name="flow"),
        "task_queue": TaskQueue(name="queue"),
        "request_id": "request",
    }
    return StartWorkflowExecutionRequest(**(plain | fields))


def signal_with_start(**fields: Any) -> SignalWithStartWorkflowExecutionRequest:
    plain: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": "wf",
        "workflow_type": WorkflowType(name="flow"),
        "task_queue": TaskQueue(name="queue"),
        "signal_name": "signal",
    }
    return SignalWithStartWorkflowExecutionRequest(**(plain | fields))


BAD_STARTS: list[tuple[dict[str, Any], str]] = [
    ({"namespace": ""}, "Namespace is empty."),
    ({"namespace": LONG}, "Namespace length exceeds limit."),
    ({"workflow_id": ""}, "WorkflowId is not set on request."),
    ({"workflow_id": LONG}, "WorkflowId exceeds maximum allowed length (1001/1000)"),
    ({"workflow_id": "ä" * 501}, "WorkflowId exceeds maximum allowed length (1002/1000)"),
    ({"workflow_type": None}, "WorkflowType is not set on request."),
    ({"workflow_type": WorkflowType(name=LONG)}, "WorkflowType length exceeds limit."),
    ({"task_queue": None}, "taskQueue is not set"),
    ({"task_queue": TaskQueue()}, "missing task queue name"),
    ({"task_queue": TaskQueue(name=LONG)}, "taskQueue length exceeds limit"),
    (
        {"task_queue": TaskQueue(name="/_sys/x")},
        "task queue name cannot start with reserved prefix /_sys/",
    ),
    (
        {"task_queue": TaskQueue(name="temporal-sys-per-ns-tq")},
        "cannot use internal per-namespace task queue:temporal-sys-per-ns-tq",
    ),
    ({"request_id": LONG}, "RequestId length exceeds limit."),
    (
        {"workflow_execution_timeout": NEGATIVE},
        "An invalid WorkflowExecutionTimeoutSeconds is set on request. cause: negative duration",
    ),
    (
        {"workflow_run_timeout": Duration(seconds=1, nanos=-5)},
        (
            "An invalid WorkflowRunTimeoutSeconds is set on request. "
            "cause: duration has seconds and nanos with different signs"
        ),
    ),
    (
        {"workflow_task_timeout": NEGATIVE},
        "An invalid WorkflowTaskTimeoutSeconds is set on request. cause: negative duration",
    ),
    (
        {"workflow_start_delay": NEGATIVE},
        "An invalid WorkflowStartDelaySeconds is set on request. cause: negative duration",
    ),
    ({"cron_schedule": "not a schedule"}, "invalid CronSchedule."),
    (
        {"cron_schedule": "0 0 31 2 *"},
        "invalid CronSchedule, no time can be found to satisfy the schedule",
    ),
    (
        {"cron_schedule": "* * * * *", "workflow_start_delay": Duration(seconds=1)},
        "CronSchedule and WorkflowStartDelay may not be used together.",
    ),
    (
        {"retry_policy": RetryPolicy(backoff_coefficient=0.5)},
        "BackoffCoefficient cannot be less than 1 on retry policy.",
    ),
    (
        {"retry_policy": RetryPolicy(non_retryable_error_types=["TemporalTimeout:Foo"])},
        "Invalid timeout type value: Foo.",
    ),
    ({"priority": Priority(priority_key=-1)}, "priority key can't be negative"),
    ({"priority": Priority(fairness_key="x" * 65)}, "fairness key length exceeds limit"),
    ({"links": [Link()]}, "unsupported link variant"),
    (
        {"links": [Link(batch_job=Link.BatchJob(job_id="x"))] * 11},
        "cannot attach more than 10 links per request, got 11",
    ),
    (
        {"links": [Link(workflow_event=Link.WorkflowEvent(namespace="n", workflow_id="w"))]},
        "workflow event link must not have an empty run ID field",
    ),
    (
        {
            "workflow_id_reuse_policy": _Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING,
            "workflow_id_conflict_policy": _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
        },
        (
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING "
            "cannot be used together with a WorkflowIDConflictPolicy"
        ),
    ),
    (
        {
            "workflow_id_reuse_policy": _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE,
            "workflow_id_conflict_policy": _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING,
        },
        (
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with "
            "WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING"
        ),
    ),
]


@pytest.mark.parametrize(("fields", "message"), BAD_STARTS, ids=[str(number) for number in range(len(BAD_STARTS))])
async def test_a_bad_start_is_refused_in_the_references_words(fields: dict[str, Any], message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(start(**fields))
    assert refused.value.message == message
    assert desk.history.asked == []


@pytest.mark.parametrize(
    "fields",
    [
        {"time_skipping_config": TimeSkippingConfig(enabled=True)},
    ],
)
async def test_what_is_not_there_is_not_accepted(fields: dict[str, Any]) -> None:
    desk = await open_desk()
    with pytest.raises(Unimplemented):
        await desk.call(start(**fields))
    assert desk.history.asked == []


async def test_a_start_goes_to_its_chain_with_defaults_filled_in() -> None:
    desk = await open_desk()
    await desk.call(start(request_id="", retry_policy=RetryPolicy()))
    ((key, request),) = desk.history.asked
    assert isinstance(request, StartWorkflow)
    assert (key.namespace_id, key.workflow_id) == ("0a0a0a0a-0000-4000-8000-000000000001", "wf")
    assert len(request.request.request_id) == 36
    assert request.request.workflow_id_reuse_policy == _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
    assert request.request.workflow_id_conflict_policy == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL
    assert request.request.retry_policy.maximum_interval.seconds == 100
    assert request.request.task_queue.kind == 1


async def test_terminate_if_running_becomes_a_conflict_policy() -> None:
    desk = await open_desk()
    await desk.call(start(workflow_id_reuse_policy=_Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING))
    request = asked(desk).request
    assert request.workflow_id_reuse_policy == _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
    assert request.workflow_id_conflict_policy == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workflow_id": ""}, "WorkflowId is not set on request."),
        ({"signal_name": ""}, "signal not set"),
        ({"signal_name": LONG}, "signal name exceeds maximum allowed length (1001/1000)"),
        ({"workflow_type": None}, "workflow type not set"),
        ({"task_queue": None}, "taskQueue is not set"),
        ({"request_id": LONG}, "Request ID exceeds maximum allowed length (1001/1000)"),
        (
            {"workflow_id_conflict_policy": _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL},
            "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.",
        ),
    ],
)
async def test_a_bad_signal_with_start_is_refused(fields: dict[str, Any], message: str) -> None:
    desk = await open_desk()
    with pytest.raises(InvalidArgument) as refused:
        await desk.call(signal_with_start(**fields))
    assert refused.value.message == message


async def test_signal_with_start_uses_the_run_that_is_there() -> None:
    desk = await open_desk()
    await desk.call(signal_with_start())
    request = asked(desk)
    assert isinstance(request, SignalWithStart)
    assert request.request.workflow_id_conflict_policy == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    assert request.request.request_id


async def test_where_eager_starts_are_off_nobody_asks_for_one() -> None:
    for allowed in (True, False):
        desk = await open_desk(with_limits(eager_starts=allowed))
        await desk.call(start(request_eager_execution=True))
        assert asked(desk).request.request_eager_execution is allowed
