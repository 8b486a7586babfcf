"""Task queues as operators see and set them."""

from typing import Any

import pytest
from temporalio.api.enums.v1 import DescribeTaskQueueMode, RateLimitSource, TaskQueueKind, TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue, TaskQueueConfig, TaskQueueVersionSelection
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    UpdateTaskQueueConfigRequest,
)

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.cluster.roles import PartitionView, PriorityView
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.frontend.fakes import HOME, open_desk

ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ENHANCED = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
NS = 1_000_000_000
CONFIG = TaskQueueConfig(fairness_weight_overrides={"a": 2})
VIEW = PartitionView(
    pollers=[PollerInfo(identity="w")],
    backlog_count=3,
    backlog_age_ns=7 * NS,
    add_rate=2.0,
    dispatch_rate=1.0,
    priorities={1: PriorityView(1, 7 * NS, 2.0, 1.0), 3: PriorityView(2, 5 * NS)},
    is_held_back=True,
    config=CONFIG.SerializeToString(),
)


def describe(**fields: Any) -> DescribeTaskQueueRequest:
    plain: dict[str, Any] = {"namespace": "default", "task_queue": TaskQueue(name="q")}
    return DescribeTaskQueueRequest(**(plain | fields))


def update(**fields: Any) -> UpdateTaskQueueConfigRequest:
    plain: dict[str, Any] = {"namespace": "default", "task_queue": "q", "task_queue_type": ACTIVITY}
    return UpdateTaskQueueConfigRequest(**(plain | fields))


def rate(value: float, reason: str = "") -> UpdateTaskQueueConfigRequest.RateLimitUpdate:
    found = UpdateTaskQueueConfigRequest.RateLimitUpdate(reason=reason)
    found.rate_limit.requests_per_second = value
    return found


async def test_a_description_has_what_was_asked_for() -> None:
    desk = await open_desk()
    desk.matching.view = VIEW
    plain = await desk.call(describe())
    assert [one.identity for one in plain.pollers] == ["w"]
    assert plain.effective_rate_limit.requests_per_second == 100_000
    assert plain.effective_rate_limit.rate_limit_source == RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM
    assert plain.versioning_info.current_version == "__unversioned__"
    assert not any(plain.HasField(field) for field in ("stats", "config", "task_queue_status"))
    full = await desk.call(
        describe(task_queue_type=ACTIVITY, report_stats=True, report_config=True, include_task_queue_status=True)
    )
    assert (full.stats.approximate_backlog_count, full.stats.approximate_backlog_age.seconds) == (3, 7)
    assert (full.stats.tasks_add_rate, full.stats.tasks_dispatch_rate) == (2, 1)
    assert full.stats.rate_limiting_active
    assert {key: one.approximate_backlog_count for key, one in full.stats_by_priority_key.items()} == {1: 1, 3: 2}
    assert full.config == CONFIG
    assert full.task_queue_status.backlog_count_hint == 3
    kinds = [QueueKind.WORKFLOW, QueueKind.ACTIVITY]
    assert desk.matching.described == [QueueKey(HOME.id, "q", kind) for kind in kinds]


async def test_the_older_form_tells_everything_of_no_version() -> None:
    desk = await open_desk()
    desk.matching.view = VIEW
    bare = await desk.call(describe(api_mode=ENHANCED, task_queue_types=[ACTIVITY]))
    (info,) = bare.versions_info.values()
    assert list(info.types_info) == [ACTIVITY]
    assert not info.types_info[ACTIVITY].pollers
    assert not info.types_info[ACTIVITY].HasField("stats")
    full = await desk.call(
        describe(api_mode=ENHANCED, report_pollers=True, report_stats=True, report_task_reachability=True)
    )
    (info,) = full.versions_info.values()
    assert sorted(info.types_info) == [WORKFLOW, ACTIVITY]
    assert info.types_info[WORKFLOW].stats.approximate_backlog_count == 3
    assert info.types_info[WORKFLOW].pollers[0].identity == "w"
    assert info.task_reachability == 1


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"task_queue": None}, InvalidArgument, "taskQueue is not set"),
        ({"task_queue": TaskQueue()}, InvalidArgument, "missing task queue name"),
        (
            {"task_queue": TaskQueue(name="/_sys/q/1")},
            InvalidArgument,
            "task queue name cannot start with reserved prefix /_sys/",
        ),
        ({"task_queue_type": 9}, InvalidArgument, "Unknown task queue type: 9."),
        (
            {"task_queue": TaskQueue(name="q", kind=STICKY), "report_stats": True},
            InvalidArgument,
            "DescribeTaskQueue stats are only supported for the root partition",
        ),
        (
            {"task_queue": TaskQueue(name="q", kind=STICKY), "api_mode": ENHANCED},
            InvalidArgument,
            "Enhanced DescribeTaskQueue is not valid for a sticky queue, use api_mode=UNSPECIFIED or a normal queue.",
        ),
        (
            {"api_mode": ENHANCED, "versions": TaskQueueVersionSelection(build_ids=["b"])},
            Unimplemented,
            "DescribeTaskQueueRequest.versions.build_ids is not supported yet",
        ),
    ],
    ids=[str(number) for number in range(7)],
)
async def test_what_can_t_be_described_is_refused(fields: dict[str, Any], error: type[Exception], message: str) -> None:
    desk = await open_desk()
    with pytest.raises(error) as refused:
        await desk.call(describe(**fields))
    assert str(refused.value) == message


async def test_a_queue_has_one_partition() -> None:
    desk = await open_desk()
    reply = await desk.call(ListTaskQueuePartitionsRequest(namespace="default", task_queue=TaskQueue(name="q")))
    assert [one.key for one in reply.workflow_task_queue_partitions] == ["q"]
    assert reply.workflow_task_queue_partitions == reply.activity_task_queue_partitions


async def test_a_limit_is_passed_on() -> None:
    desk = await open_desk()
    request = update(update_queue_rate_limit=rate(5, "because"))
    desk.matching.config = CONFIG.SerializeToString()
    assert (await desk.call(request)).config == CONFIG
    assert desk.matching.configured == [(QueueKey(HOME.id, "q", QueueKind.ACTIVITY), request)]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        (
            {"task_queue_type": WORKFLOW, "update_queue_rate_limit": rate(1)},
            InvalidArgument,
            "Setting rate limit on workflow task queues is not allowed.",
        ),
        (
            {"update_queue_rate_limit": rate(-1)},
            InvalidArgument,
            "RequestsPerSecond for UpdateQueueRateLimit rate limit must be non-negative.",
        ),
        (
            {"update_queue_rate_limit": rate(float("nan"))},
            InvalidArgument,
            "RequestsPerSecond for UpdateQueueRateLimit rate limit must be non-negative.",
        ),
        (
            {"update_queue_rate_limit": rate(1, "r" * 1001)},
            InvalidArgument,
            "UpdateQueueRateLimit.Reason field too long (max 1000 characters).",
        ),
        (
            {"update_queue_rate_limit": UpdateTaskQueueConfigRequest.RateLimitUpdate(reason="r" * 1001)},
            InvalidArgument,
            "UpdateQueueRateLimit.Reason field too long (max 1000 characters).",
        ),
        ({"identity": "i" * 1001}, InvalidArgument, "Identity field too long (max 1000 characters)."),
        ({"task_queue": ""}, InvalidArgument, "missing task queue name"),
        ({"task_queue": "q" * 1001}, InvalidArgument, "taskQueue length exceeds limit"),
        ({"task_queue_type": 0}, InvalidArgument, "Unknown task queue type: 0."),
        (
            {"set_fairness_weight_overrides": {"a": float("nan")}},
            InvalidArgument,
            'invalid fairness weight weight for key "a": must be greater than zero',
        ),
        (
            {"update_fairness_key_rate_limit_default": rate(1), "task_queue_type": WORKFLOW},
            InvalidArgument,
            "Setting fairness key rate limit on workflow task queues is not allowed.",
        ),
        (
            {"unset_fairness_weight_overrides": [str(n) for n in range(1001)]},
            InvalidArgument,
            "too many fairness weight overrides in request: got 1001, maximum 1000",
        ),
    ],
    ids=[str(number) for number in range(12)],
)
async def test_a_limit_that_makes_no_sense_is_refused(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    desk = await open_desk()
    with pytest.raises(error) as refused:
        await desk.call(update(**fields))
    assert str(refused.value) == message
    assert not desk.matching.configured
