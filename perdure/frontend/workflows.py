"""Workflows: start, signal, cancel, terminate, describe, query.

The order of checks is the reference's, because a request may have more than one fault.
"""

from collections.abc import Awaitable

from temporalio.api.enums.v1 import QueryRejectCondition, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DeleteWorkflowExecutionResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
)

from perdure.base.entropy import new_id
from perdure.base.errors import DeadlineExceeded, InvalidArgument, QueryFailed
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.callbacks import check_callbacks, check_links_of_start, refuse_internal
from perdure.frontend.checks import (
    check_blob,
    check_duration,
    check_execution,
    check_links,
    check_priority,
    check_workflow_id,
    fill_queue,
    fill_retry_policy,
    too_long,
)
from perdure.frontend.methods import rpc
from perdure.frontend.search_attributes import fill_search_attributes
from perdure.frontend.services import Services
from perdure.frontend.time_skipping import fill_time_skipping
from perdure.workflow import cron
from perdure.workflow.failures import cut
from perdure.workflow.requests import (
    DeleteRun,
    Describe,
    RequestCancel,
    SignalWithStart,
    SignalWorkflow,
    StartWorkflow,
    Terminate,
)
from perdure.workflow.versioning import check_override

_Conflict = WorkflowIdConflictPolicy
_Reuse = WorkflowIdReusePolicy
QUERY_FAILURE_BYTES_MAX = 1_500
_TERMINATE_REASON = "terminated by user via frontend"
_TERMINATE_IDENTITY = "frontend-service"


class Workflows:
    """The RPCs of one workflow."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits

    @rpc(StartWorkflowExecutionRequest, begins=True)
    async def StartWorkflowExecution(
        self, request: StartWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> StartWorkflowExecutionResponse:
        self.check_start(request, namespace)
        if not self._limits.of(namespace.name).eager_starts:
            request.request_eager_execution = False
        key = ChainKey(namespace.id, request.workflow_id)
        reply: StartWorkflowExecutionResponse = await self._services.routing.transact(
            key, StartWorkflow(request), call, repeatable=True
        )
        return reply

    def check_start(self, request: StartWorkflowExecutionRequest, namespace: Namespace) -> None:
        """What makes a start impossible in any state; what it leaves out is filled in. Raises Refused."""
        limits = self._limits.of(namespace.name)
        _default_policies(request, _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL)
        check_workflow_id(request.workflow_id, limits)
        fill_retry_policy(request, limits)
        _check_delay(request)
        _check_cron(request.cron_schedule)
        if not request.workflow_type.name:
            raise InvalidArgument("WorkflowType is not set on request.")
        if too_long(request.workflow_type.name, limits.id_bytes_max):
            raise InvalidArgument("WorkflowType length exceeds limit.")
        fill_queue(request, limits, user_defined=True)
        _check_timeouts(request)
        self._fill_request_id(request)
        if too_long(request.request_id, limits.id_bytes_max):
            raise InvalidArgument("RequestId length exceeds limit.")
        _check_policies(request)
        if request.HasField("search_attributes"):
            fill_search_attributes(request.search_attributes, namespace, limits)
        if request.HasField("priority"):
            check_priority(request.priority)
        options = request.on_conflict_options
        if options.attach_completion_callbacks and not options.attach_request_id:
            raise InvalidArgument("attaching request ID is required for attaching completion callbacks")
        if request.completion_callbacks:
            check_callbacks(request.completion_callbacks, limits)
            check_links_of_start(request, limits)
            refuse_internal(request.completion_callbacks)
        elif request.links:
            check_links(request.links, limits)
        if request.HasField("versioning_override"):
            check_override(request.versioning_override, request.task_queue.name)
        fill_time_skipping(request, limits)

    @rpc(SignalWithStartWorkflowExecutionRequest, begins=True)
    async def SignalWithStartWorkflowExecution(
        self, request: SignalWithStartWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> SignalWithStartWorkflowExecutionResponse:
        self._check_signal_with_start(request, namespace)
        key = ChainKey(namespace.id, request.workflow_id)
        reply: SignalWithStartWorkflowExecutionResponse = await self._services.routing.transact(
            key, SignalWithStart(request), call, repeatable=True
        )
        return reply

    def _check_signal_with_start(self, request: SignalWithStartWorkflowExecutionRequest, namespace: Namespace) -> None:
        limits, longest = self._limits.of(namespace.name), self._limits.of(namespace.name).id_bytes_max
        _check_cron(request.cron_schedule)
        check_workflow_id(request.workflow_id, limits)
        if not request.signal_name:
            raise InvalidArgument("signal not set")
        _check_length("signal name", request.signal_name, longest)
        if not request.workflow_type.name:
            raise InvalidArgument("workflow type not set")
        _check_length("workflow type name", request.workflow_type.name, longest)
        fill_queue(request, limits, user_defined=True)
        self._fill_request_id(request)
        _check_length("Request ID", request.request_id, longest)
        _check_timeouts(request)
        fill_retry_policy(request, limits)
        _check_delay(request)
        _check_policies(request)
        if request.workflow_id_conflict_policy == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_FAIL:
            raise InvalidArgument(
                "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL "
                "is not supported for this operation."
            )
        _default_policies(request, _Conflict.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING)
        if request.HasField("search_attributes"):
            fill_search_attributes(request.search_attributes, namespace, limits)
        if request.HasField("priority"):
            check_priority(request.priority)
        if request.links:
            check_links(request.links, limits)
        if request.HasField("versioning_override"):
            check_override(request.versioning_override, request.task_queue.name)
        fill_time_skipping(request, limits)

    @rpc(SignalWorkflowExecutionRequest)
    async def SignalWorkflowExecution(
        self, request: SignalWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> SignalWorkflowExecutionResponse:
        limits = self._limits.of(namespace.name)
        check_execution(request, "workflow_execution")
        if not request.signal_name:
            raise InvalidArgument("SignalName is not set on request.")
        if too_long(request.signal_name, limits.id_bytes_max):
            raise InvalidArgument("SignalName length exceeds limit.")
        if too_long(request.request_id, limits.id_bytes_max):
            raise InvalidArgument("RequestId length exceeds limit.")
        if request.links:
            check_links(request.links, limits)
        check_blob(request.input, limits)
        key = ChainKey(namespace.id, request.workflow_execution.workflow_id)
        repeatable = bool(request.request_id)
        reply: SignalWorkflowExecutionResponse = await self._services.routing.transact(
            key, SignalWorkflow(request), call, repeatable=repeatable
        )
        return reply

    @rpc(RequestCancelWorkflowExecutionRequest)
    async def RequestCancelWorkflowExecution(
        self, request: RequestCancelWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> RequestCancelWorkflowExecutionResponse:
        check_execution(request, "workflow_execution")
        if request.links:
            check_links(request.links, self._limits.of(namespace.name))
        key = ChainKey(namespace.id, request.workflow_execution.workflow_id)
        repeatable = bool(request.request_id)
        reply: RequestCancelWorkflowExecutionResponse = await self._services.routing.transact(
            key, RequestCancel(request), call, repeatable=repeatable
        )
        return reply

    @rpc(TerminateWorkflowExecutionRequest)
    async def TerminateWorkflowExecution(
        self, request: TerminateWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> TerminateWorkflowExecutionResponse:
        check_execution(request, "workflow_execution")
        if request.links:
            check_links(request.links, self._limits.of(namespace.name))
        request.reason = request.reason or _TERMINATE_REASON
        request.identity = request.identity or _TERMINATE_IDENTITY
        key = ChainKey(namespace.id, request.workflow_execution.workflow_id)
        reply: TerminateWorkflowExecutionResponse = await self._services.routing.transact(
            key, Terminate(request), call, repeatable=False
        )
        return reply

    @rpc(DeleteWorkflowExecutionRequest)
    async def DeleteWorkflowExecution(
        self, request: DeleteWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> DeleteWorkflowExecutionResponse:
        check_execution(request, "workflow_execution")
        execution = request.workflow_execution
        key = ChainKey(namespace.id, execution.workflow_id)
        # Without a run id a repeated call might mean another run.
        repeatable = bool(execution.run_id)
        await self._services.routing.transact(key, DeleteRun(execution.run_id), call, repeatable=repeatable)
        return DeleteWorkflowExecutionResponse()

    @rpc(DescribeWorkflowExecutionRequest)
    async def DescribeWorkflowExecution(
        self, request: DescribeWorkflowExecutionRequest, namespace: Namespace, call: Call
    ) -> DescribeWorkflowExecutionResponse:
        check_execution(request, "execution")
        key = ChainKey(namespace.id, request.execution.workflow_id)
        reply: DescribeWorkflowExecutionResponse = await self._services.routing.transact(
            key, Describe(request), call, repeatable=True
        )
        return reply

    @rpc(QueryWorkflowRequest)
    async def QueryWorkflow(
        self, request: QueryWorkflowRequest, namespace: Namespace, call: Call
    ) -> QueryWorkflowResponse:
        check_execution(request, "execution")
        if not request.HasField("query"):
            raise InvalidArgument("WorkflowQuery is not set on request.")
        if not request.query.query_type:
            raise InvalidArgument("QueryType is not set on request.")
        if not request.query_reject_condition:
            request.query_reject_condition = QueryRejectCondition.QUERY_REJECT_CONDITION_NONE
        check_blob(request.query.query_args, self._limits.of(namespace.name))
        key = ChainKey(namespace.id, request.execution.workflow_id)

        def ask() -> Awaitable[QueryWorkflowResponse]:
            return self._services.routing.on_history(
                key, lambda role, rest: role.query(key, request, rest), call, repeatable=True
            )

        try:
            return await self._services.polls.unless_stopping(ask)
        except DeadlineExceeded as error:
            raise DeadlineExceeded("query timed out before a worker could process it") from error
        except QueryFailed as error:
            # It travels beside the message of the error, where there is little room.
            if error.failure is None or error.failure.ByteSize() <= QUERY_FAILURE_BYTES_MAX:
                raise
            raise QueryFailed(error.message, cut(error.failure, QUERY_FAILURE_BYTES_MAX)) from error

    def _fill_request_id(
        self, request: StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest
    ) -> None:
        """SDKs send one, so that their own retries start once; for everybody else each call is a new one."""
        if not request.request_id:
            request.request_id = new_id(self._services.entropy)


_Start = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest


def _default_policies(request: _Start, conflict: WorkflowIdConflictPolicy.ValueType) -> None:
    if not request.workflow_id_conflict_policy:
        if request.workflow_id_reuse_policy == _Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING:
            request.workflow_id_conflict_policy = _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
            request.workflow_id_reuse_policy = _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
        else:
            request.workflow_id_conflict_policy = conflict
    if not request.workflow_id_reuse_policy:
        request.workflow_id_reuse_policy = _Reuse.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE


def _check_policies(request: _Start) -> None:
    reuse, conflict = request.workflow_id_reuse_policy, request.workflow_id_conflict_policy
    if conflict and reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING:
        raise InvalidArgument(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING "
            "cannot be used together with a WorkflowIDConflictPolicy"
        )
    if (
        conflict == _Conflict.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
        and reuse == _Reuse.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    ):
        raise InvalidArgument(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with "
            "WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING"
        )


def _check_timeouts(request: _Start) -> None:
    for field, name in (
        ("workflow_execution_timeout", "WorkflowExecutionTimeoutSeconds"),
        ("workflow_run_timeout", "WorkflowRunTimeoutSeconds"),
        ("workflow_task_timeout", "WorkflowTaskTimeoutSeconds"),
    ):
        check_duration(getattr(request, field), f"An invalid {name} is set on request.")


def _check_delay(request: _Start) -> None:
    if not request.HasField("workflow_start_delay"):
        return
    if request.cron_schedule:
        raise InvalidArgument("CronSchedule and WorkflowStartDelay may not be used together.")
    check_duration(request.workflow_start_delay, "An invalid WorkflowStartDelaySeconds is set on request.")


def _check_cron(schedule: str) -> None:
    if not schedule:
        return
    times = cron.read(schedule)
    if times is None:
        raise InvalidArgument("invalid CronSchedule.")
    if times.next_ns(0, 0) is None:
        raise InvalidArgument("invalid CronSchedule, no time can be found to satisfy the schedule")


def _check_length(what: str, text: str, longest: int) -> None:
    if too_long(text, longest):
        raise InvalidArgument(f"{what} exceeds maximum allowed length ({len(text.encode())}/{longest})")
