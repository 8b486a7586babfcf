"""How many calls of other hosts a history or matching host takes a second: `history.rps`, `matching.rps`.

By the grades of the frontend: what a client or a worker asks is refused when calls are too many, what matters least
first. What roles do for one another (offers, starts of tasks, errands) takes tokens too, but is never refused: it is
work that was accepted already, and would come again. Shards' moves, leases and health are not counted. Invariants: a
refused call has done nothing, and a limit of 0 costs nothing. Refuses to know calls within one process.

Source: `service/history/configs/quotas.go`, `service/matching/configs/quotas.go`, whose callers' types these are.
"""

from collections.abc import Callable, Sequence
from typing import Any

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope

from perdure.base.clock import Clock
from perdure.base.errors import ResourceExhausted
from perdure.base.limits import Limits, LimitsSource
from perdure.cluster.measured import OPERATIONS
from perdure.cluster.roles import HistoryRead
from perdure.frontend.grades import GRADE, LOWEST
from perdure.frontend.rates import GradedBuckets
from perdure.rpc.role_handlers import Admit

_RPS = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
_SYSTEM = ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM
# The method of a role -> the RPC that it is for. Others are between roles, and `transact` is as what it brings.
_HISTORY = {
    "complete_workflow_task": "RespondWorkflowTaskCompleted",
    "read_history": "GetWorkflowExecutionHistory",
    "query": "QueryWorkflow",
    "update": "UpdateWorkflowExecution",
    "poll_update": "PollWorkflowExecutionUpdate",
    "start_with_update": "ExecuteMultiOperation",
}
_MATCHING = {
    "poll": "PollWorkflowTaskQueue",
    "configure": "UpdateTaskQueueConfig",
    "record_workers": "RecordWorkerHeartbeat",
    "find_workers": "ListWorkers",
}
GradeOf = Callable[[str, Sequence[Any]], int | None]


def history_grade(method: str, arguments: Sequence[Any]) -> int | None:
    """The grade of a call of `HistoryRole`; None: it is between roles."""
    if method == "transact":
        request = arguments[1]
        if getattr(request, "external", None) is not None:
            return None  # one workflow to another
        name = type(request).__name__
        return GRADE.get(OPERATIONS.get(name, name))
    if method == "read_history" and any(type(each) is HistoryRead and each.wait_new_event for each in arguments):
        return LOWEST
    return GRADE.get(_HISTORY.get(method, ""))


def matching_grade(method: str, _arguments: Sequence[Any]) -> int | None:
    """The grade of a call of `MatchingRole`; None: it is between roles."""
    return GRADE.get(_MATCHING.get(method, ""))


def history_rates(limits: LimitsSource, clock: Clock) -> Admit:
    """`history.rps` for the calls of other hosts."""
    return _Rates(limits, clock, lambda found: found.history_rps, history_grade).admit


def matching_rates(limits: LimitsSource, clock: Clock) -> Admit:
    """`matching.rps` for the calls of other hosts."""
    return _Rates(limits, clock, lambda found: found.matching_rps, matching_grade).admit


class _Rates:
    """The bucket of one role. `rate_of`: calls a second, 0 = any number."""

    def __init__(self, limits: LimitsSource, clock: Clock, rate_of: Callable[[Limits], int], grade_of: GradeOf) -> None:
        self._limits = limits
        self._clock = clock
        self._rate_of = rate_of
        self._grade_of = grade_of
        self._buckets = GradedBuckets()
        self._sized: Limits | None = None

    def admit(self, method: str, arguments: Sequence[Any]) -> None:
        """Charge a call that has arrived. Raises ResourceExhausted."""
        limits = self._limits.of()
        rate = self._rate_of(limits)
        if not rate:
            return
        if limits is not self._sized:
            self._buckets.resize(rate, rate * limits.burst_ratio)
            self._sized = limits
        grade = self._grade_of(method, arguments)
        if not self._buckets.take(grade or 0, self._clock.monotonic_ns()) and grade is not None:
            raise ResourceExhausted("service rate limit exceeded", _RPS, _SYSTEM)
