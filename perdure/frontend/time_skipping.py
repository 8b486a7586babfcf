"""Time skipping of executions: what a request may ask for, and waiting for a fast-forward."""

from typing import Any

from temporalio.api.common.v1 import TimeSkippingConfig
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionTimeSkippingRequest,
    PollWorkflowExecutionTimeSkippingResponse,
)

from perdure.base.clock import from_duration
from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import check_execution
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services
from perdure.workflow.time_skipping_requests import PollForward

_NO_ID = "Time skipping config invalid: fast_forward_id must be set"


def fill_time_skipping(request: Any, limits: Limits) -> None:
    """Check a request's (or an options message's) `time_skipping_config`, if it has one, and fill in what is left out.
    Raises Unimplemented where it is not switched on, InvalidArgument.
    """
    if not request.HasField("time_skipping_config"):
        return
    _require(limits)
    config: TimeSkippingConfig = request.time_skipping_config
    if config.max_session_skip_count <= 0:
        config.max_session_skip_count = limits.time_skips_max
    if not config.HasField("fast_forward_config"):
        return
    if from_duration(config.fast_forward_config.duration) <= 0:
        raise InvalidArgument("Time skipping config invalid: fast_forward duration must be positive")
    if not config.fast_forward_config.id.strip():
        raise InvalidArgument(_NO_ID)
    if not config.enabled:
        raise InvalidArgument("time_skipping_config: cannot set fast_forward when enabled is false")


def _require(limits: Limits) -> None:
    if not limits.time_skipping:
        raise Unimplemented("The Time-Skipping feature is not enabled for namespace.")


class TimeSkippingCalls:
    """The RPCs about a run's time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._limits = services.options.limits

    @rpc(PollWorkflowExecutionTimeSkippingRequest)
    async def PollWorkflowExecutionTimeSkipping(
        self, request: PollWorkflowExecutionTimeSkippingRequest, namespace: Namespace, call: Call
    ) -> PollWorkflowExecutionTimeSkippingResponse:
        check_execution(request, "workflow_execution")
        _require(self._limits.of(namespace.name))
        if not request.fast_forward_id.strip():
            raise InvalidArgument(_NO_ID)
        key = ChainKey(namespace.id, request.workflow_execution.workflow_id)

        async def ask(call: Call) -> PollWorkflowExecutionTimeSkippingResponse:
            reply: PollWorkflowExecutionTimeSkippingResponse = await self._services.routing.transact(
                key, PollForward(request), call, repeatable=True
            )
            return reply

        return await self._services.polls.wait_for(call, ask)
