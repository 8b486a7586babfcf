"""Task queues as operators see them: who polls, what waits, how fast it may go, and setting the last.

Source of messages and of what answers what: `service/frontend/workflow_handler.go` and the reference itself. All that
is known of a queue its root tells, besides who polls at its other partitions; what is asked for by the name of one of
those is refused.
"""

from collections.abc import Mapping

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import (
    BuildIdTaskReachability,
    DescribeTaskQueueMode,
    RateLimitSource,
    TaskQueueKind,
    TaskQueueType,
)
from temporalio.api.taskqueue.v1 import (
    TaskQueueConfig,
    TaskQueuePartitionMetadata,
    TaskQueueStats,
    TaskQueueStatus,
    TaskQueueTypeInfo,
    TaskQueueVersionInfo,
    TaskQueueVersioningInfo,
)
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    ListTaskQueuePartitionsRequest,
    ListTaskQueuePartitionsResponse,
    UpdateTaskQueueConfigRequest,
    UpdateTaskQueueConfigResponse,
)

from perdure.base.clock import to_duration
from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.base.limits import Limits
from perdure.cluster.branches import branch_of
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call, PartitionView, PriorityView
from perdure.cluster.routed import Timed
from perdure.frontend.checks import fill_queue, too_long
from perdure.frontend.methods import rpc
from perdure.frontend.queue_views import describe_partition, describe_queue
from perdure.frontend.services import Services
from perdure.workflow.priorities import fairness_key_fault
from perdure.workflow.task_queue_names import RESERVED_PREFIX
from perdure.workflow.tasks import QueueKey, QueueKind

# What is shown where there is no limit: as pollers show it that set none.
UNLIMITED_RPS = 100_000.0
FAIRNESS_CHANGES_MAX = 1_000
_ENHANCED = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_WORKFLOW, _ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
_KINDS = frozenset(QueueKind)
_UNVERSIONED = "__unversioned__"
_GO_ZERO_TIME = Timestamp(seconds=-62_135_596_800)  # versions were never set: the reference shows 0001-01-01


class Queues:
    """The RPCs about task queues."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._routing = services.routing
        self._limits = services.options.limits

    @rpc(DescribeTaskQueueRequest)
    async def DescribeTaskQueue(
        self, request: DescribeTaskQueueRequest, namespace: Namespace, call: Call
    ) -> DescribeTaskQueueResponse:
        fill_queue(request, self._limits.of(namespace.name), user_defined=False)
        if request.api_mode == _ENHANCED:
            return await self._by_version(request, namespace, call)
        is_sticky = request.task_queue.kind == _STICKY
        if is_sticky and request.report_stats:
            raise InvalidArgument("DescribeTaskQueue stats are only supported for the root partition")
        view = await self._view(request, namespace, request.task_queue_type or _WORKFLOW, call)
        rate = UNLIMITED_RPS if view.rate is None else view.rate
        response = DescribeTaskQueueResponse(pollers=view.pollers)
        response.effective_rate_limit.requests_per_second = rate
        response.effective_rate_limit.rate_limit_source = RateLimitSource.ValueType(view.rate_source)
        if not is_sticky:
            info = TaskQueueVersioningInfo(current_version=_UNVERSIONED, update_time=_GO_ZERO_TIME)
            response.versioning_info.CopyFrom(info)
        if request.report_stats:
            response.stats.CopyFrom(_total(view))
            for priority, one in view.priorities.items():
                response.stats_by_priority_key[priority].CopyFrom(_stats(one, view))
        if request.report_config and view.config:
            response.config.CopyFrom(TaskQueueConfig.FromString(view.config))
        if request.include_task_queue_status:
            status = TaskQueueStatus(backlog_count_hint=view.backlog_count, rate_per_second=rate)
            response.task_queue_status.CopyFrom(status)
        return response

    async def _by_version(
        self, request: DescribeTaskQueueRequest, namespace: Namespace, call: Call
    ) -> DescribeTaskQueueResponse:
        """The older form. Runs have no versions yet, so everything is of none, and what has none is reachable."""
        if request.task_queue.kind == _STICKY:
            raise InvalidArgument(
                "Enhanced DescribeTaskQueue is not valid for a sticky queue, "
                "use api_mode=UNSPECIFIED or a normal queue."
            )
        if any(request.versions.build_ids):
            raise Unimplemented("DescribeTaskQueueRequest.versions.build_ids is not supported yet")
        info = TaskQueueVersionInfo()
        timed = Timed(call)
        for kind in dict.fromkeys(request.task_queue_types) or (_WORKFLOW, _ACTIVITY):
            view = await self._view(request, namespace, kind, timed.call())
            shown = TaskQueueTypeInfo(pollers=view.pollers if request.report_pollers else ())
            if request.report_stats:
                shown.stats.CopyFrom(_total(view))
            info.types_info[kind].CopyFrom(shown)
        if request.report_task_reachability:
            info.task_reachability = BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_REACHABLE
        return DescribeTaskQueueResponse(versions_info={"": info})

    async def _view(
        self, request: DescribeTaskQueueRequest, namespace: Namespace, kind: TaskQueueType.ValueType, call: Call
    ) -> PartitionView:
        root = QueueKey(namespace.id, request.task_queue.name, _kind(kind))
        return await describe_queue(self._services, root, call.timeout_ns)

    @rpc(ListTaskQueuePartitionsRequest)
    async def ListTaskQueuePartitions(
        self, request: ListTaskQueuePartitionsRequest, namespace: Namespace, call: Call
    ) -> ListTaskQueuePartitionsResponse:
        """As many as the roots have decided on."""
        fill_queue(request, self._limits.of(), user_defined=False)
        name = request.task_queue.name
        return ListTaskQueuePartitionsResponse(
            activity_task_queue_partitions=await self._list(QueueKey(namespace.id, name, QueueKind.ACTIVITY), call),
            workflow_task_queue_partitions=await self._list(QueueKey(namespace.id, name, QueueKind.WORKFLOW), call),
        )

    async def _list(self, root: QueueKey, call: Call) -> list[TaskQueuePartitionMetadata]:
        count = (await describe_partition(self._services, root, call.timeout_ns)).partitions
        return [TaskQueuePartitionMetadata(key=branch_of(root, index).name) for index in range(count)]

    @rpc(UpdateTaskQueueConfigRequest)
    async def UpdateTaskQueueConfig(
        self, request: UpdateTaskQueueConfigRequest, namespace: Namespace, call: Call
    ) -> UpdateTaskQueueConfigResponse:
        _check_limits(request, self._limits.of(namespace.name))
        _check_fairness(request.set_fairness_weight_overrides, list(request.unset_fairness_weight_overrides))
        _check_name(request.task_queue, self._limits.of(namespace.name))
        partition = QueueKey(namespace.id, request.task_queue, _kind(request.task_queue_type))
        config = await self._routing.on_matching(
            partition, lambda role: role.configure(partition, request), call.timeout_ns
        )
        return UpdateTaskQueueConfigResponse(config=TaskQueueConfig.FromString(config))


def _kind(kind: int) -> QueueKind:
    if kind not in _KINDS:
        raise InvalidArgument(f"Unknown task queue type: {kind}.")
    return QueueKind(kind)


def _total(view: PartitionView) -> TaskQueueStats:
    whole = PriorityView(view.backlog_count, view.backlog_age_ns, view.add_rate, view.dispatch_rate)
    return _stats(whole, view)


def _stats(one: PriorityView, view: PartitionView) -> TaskQueueStats:
    return TaskQueueStats(
        approximate_backlog_count=one.backlog_count,
        approximate_backlog_age=to_duration(one.backlog_age_ns),
        tasks_add_rate=one.add_rate,
        tasks_dispatch_rate=one.dispatch_rate,
        rate_limiting_active=view.is_held_back,
    )


def _check_limits(request: UpdateTaskQueueConfigRequest, limits: Limits) -> None:
    for field, label, what in (
        ("update_queue_rate_limit", "UpdateQueueRateLimit", "rate limit"),
        ("update_fairness_key_rate_limit_default", "UpdateFairnessKeyRateLimitDefault", "fairness key rate limit"),
    ):
        update: UpdateTaskQueueConfigRequest.RateLimitUpdate = getattr(request, field)
        if not update.HasField("rate_limit"):
            _check_text(f"{label}.Reason", update.reason, limits)
            continue
        if request.task_queue_type == _WORKFLOW:
            raise InvalidArgument(f"Setting {what} on workflow task queues is not allowed.")
        if not update.rate_limit.requests_per_second >= 0:  # NaN is neither
            raise InvalidArgument(f"RequestsPerSecond for {label} rate limit must be non-negative.")
        _check_text(f"{label}.Reason", update.reason, limits)
    _check_text("Identity", request.identity, limits)


def _check_text(name: str, text: str, limits: Limits) -> None:
    if too_long(text, limits.id_bytes_max):
        raise InvalidArgument(f"{name} field too long (max {limits.id_bytes_max} characters).")


def _check_fairness(weights: Mapping[str, float], unset: list[str]) -> None:
    if (total := len(weights) + len(unset)) > FAIRNESS_CHANGES_MAX:
        raise InvalidArgument(
            f"too many fairness weight overrides in request: got {total}, maximum {FAIRNESS_CHANGES_MAX}"
        )
    for key in (*weights, *unset):
        if not key:
            raise InvalidArgument("fairness weight override key must not be empty")
        if fault := fairness_key_fault(key):
            raise InvalidArgument(fault)
        if key in weights and not weights[key] > 0:
            raise InvalidArgument(f'invalid fairness weight weight for key "{key}": must be greater than zero')
    for key in unset:
        if key in weights:
            raise InvalidArgument(f'fairness weight override key "{key}" present in both set and unset lists')


def _check_name(name: str, limits: Limits) -> None:
    if not name:
        raise InvalidArgument("missing task queue name")
    if too_long(name, limits.id_bytes_max):
        raise InvalidArgument("taskQueue length exceeds limit")
    if name.startswith(RESERVED_PREFIX):
        raise InvalidArgument(f"task queue family name cannot have prefix {RESERVED_PREFIX} {name}")
