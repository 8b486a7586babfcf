"""The run that follows a run: continued as new by its own command, tried again, or begun again by its schedule.

One decision writes the close event of the one and the Started event of the other, so exactly one follows, each names
the other, and no crash can come between. What the chain has in common is handed on: its first run's id, the time when
it ends, its parent and root, its reset points. Source: the reference (`service/history/workflow/retry.go`). Refuses to
know what closed the run.
"""

import msgspec
from temporalio.api.common.v1 import Link, Payloads, RetryPolicy, WorkflowExecution
from temporalio.api.enums.v1 import ContinueAsNewInitiator, RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.clock import to_duration
from perdure.workflow import cron
from perdure.workflow.context import Context
from perdure.workflow.decide import Work
from perdure.workflow.durations import capped_ns
from perdure.workflow.new_run import Origin, Parent, create_run
from perdure.workflow.reset_points import handed_on
from perdure.workflow.retry_policy import is_retryable, next_attempt, requested_delay_ns
from perdure.workflow.state import Run
from perdure.workflow.time_skipping import for_next_run
from perdure.workflow.workflow_task import wake

_RETRY = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY
_CRON = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
_WORKFLOW = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_WORKFLOW
_REPEATED = (
    "workflow_type",
    "task_queue",
    "input",
    "workflow_execution_timeout",
    "workflow_run_timeout",
    "workflow_task_timeout",
    "retry_policy",
    "header",
    "memo",
    "search_attributes",
    "priority",
)
_CONTINUED = (
    "workflow_type",
    "task_queue",
    "input",
    "workflow_run_timeout",
    "workflow_task_timeout",
    "header",
    "memo",
    "search_attributes",
    "last_completion_result",
)


class Succession(msgspec.Struct, frozen=True):
    """That a run like the one that closes follows it: which, because of what (ContinueAsNewInitiator), and how long
    after.
    """

    run_id: str
    initiator: ContinueAsNewInitiator.ValueType
    backoff_ns: int | None  # None: at once, and the Started event does not say 0

    @property
    def is_retry(self) -> bool:
        """True for another attempt."""
        return self.initiator == _RETRY


def after_completion(run: Run, context: Context) -> Succession | None:
    """What follows a run that ends now and does not need another attempt: its schedule's next time, if it has one."""
    backoff_ns = cron.backoff_ns(run.facts.cron_schedule, run.durable.execution_time_ns, context.now_ns)
    return None if backoff_ns is None else Succession(new_run_id(context), _CRON, backoff_ns)


def after_failure(run: Run, context: Context, failure: Failure) -> tuple[RetryState.ValueType, Succession | None]:
    """(the retry state of the close event, what follows a run that ends now with `failure`): another attempt, or its
    schedule's next time.
    """
    state, backoff_ns = _retry(run, context, failure)
    if state == RetryState.RETRY_STATE_IN_PROGRESS:
        return state, Succession(new_run_id(context), _RETRY, backoff_ns)
    return state, after_completion(run, context)


def new_run_id(context: Context) -> str:
    """The id of the run that this decision creates as a successor."""
    return context.new_run_id()


def repeat(
    work: Work, run: Run, succession: Succession, *, result: Payloads | None = None, failure: Failure | None = None
) -> None:
    """Begin the run that was decided on, as `run`, which is closed, was begun. `result`: of the last completed run."""
    started = WorkflowExecutionStartedEventAttributes.FromString(run.facts.blueprint)
    request = _request(work, run)
    for field in _REPEATED:
        if started.HasField(field):  # type: ignore[arg-type]  # the stubs list the names
            getattr(request, field).CopyFrom(getattr(started, field))
    request.cron_schedule = started.cron_schedule
    if result is not None:
        request.last_completion_result.CopyFrom(result)
    if failure is not None:
        request.continued_failure.CopyFrom(failure)
    if succession.is_retry:
        hand_on_callbacks(run, request)
    attempt = run.facts.attempt + 1 if succession.is_retry else 1
    backoff_ns = _throttled_ns(run, work.context.ahead(run.ahead_ns), succession.backoff_ns)
    _follow(work, run, request, msgspec.structs.replace(succession, backoff_ns=backoff_ns), attempt)


def last_result(run: Run) -> Payloads | None:
    """The result of the last completed run of a schedule, as `run` was begun with it."""
    started = WorkflowExecutionStartedEventAttributes.FromString(run.facts.blueprint)
    return started.last_completion_result if started.HasField("last_completion_result") else None


def continue_as_new(
    work: Work,
    run: Run,
    event: WorkflowExecutionContinuedAsNewEventAttributes,
    *,
    retry_policy: RetryPolicy | None,
    cron_schedule: str,
) -> None:
    """Begin the run that `event`, which closed `run`, names. Policy and schedule are not in the event."""
    request = _request(work, run)
    for field in _CONTINUED:
        if event.HasField(field):  # type: ignore[arg-type]  # the stubs list the names
            getattr(request, field).CopyFrom(getattr(event, field))
    if event.HasField("failure"):
        request.continued_failure.CopyFrom(event.failure)
    if run.facts.execution_timeout_ns:
        request.workflow_execution_timeout.CopyFrom(to_duration(run.facts.execution_timeout_ns))
    if run.facts.priority:
        request.priority.ParseFromString(run.facts.priority)
    if retry_policy is not None:
        request.retry_policy.CopyFrom(retry_policy)
    request.cron_schedule = cron_schedule
    hand_on_callbacks(run, request)
    asked_ns = capped_ns(event.backoff_start_interval) if event.HasField("backoff_start_interval") else None
    backoff_ns = _throttled_ns(run, work.context.ahead(run.ahead_ns), asked_ns)
    initiator = event.initiator or _WORKFLOW
    succession = Succession(event.new_execution_run_id, initiator, backoff_ns)
    _follow(work, run, request, succession, run.facts.attempt + 1 if initiator == _RETRY else 1)


def _retry(run: Run, context: Context, failure: Failure) -> tuple[RetryState.ValueType, int]:
    if not run.facts.retry_policy:
        return RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET, 0
    policy = RetryPolicy.FromString(run.facts.retry_policy)
    if not is_retryable(failure, policy):
        return RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE, 0
    expiration_ns = run.durable.execution_expiration_ns
    return next_attempt(policy, run.facts.attempt, context.now_ns, expiration_ns, requested_delay_ns(failure))


def _throttled_ns(run: Run, context: Context, asked_ns: int | None) -> int | None:
    """The backoff that was asked for, and at least what keeps a chain from doing nothing else than turn over: a run
    timeout and a retry policy of a microsecond need no worker for that.

    A run that was woken before its delay was over has lived since its start.
    """
    now_ns, execution_ns = context.now_ns, run.durable.execution_time_ns
    lifetime_ns = now_ns - (execution_ns if execution_ns <= now_ns else run.start_time_ns)
    least_ns = context.limits.continue_as_new_interval_ns
    if lifetime_ns + (asked_ns or 0) < least_ns:
        return least_ns - lifetime_ns
    return asked_ns


def hand_on_callbacks(run: Run, request: StartWorkflowExecutionRequest) -> None:
    """The run that goes on for `run` tells whom that was to tell."""
    for attached in run.facts.callbacks.values():
        request.completion_callbacks.add().ParseFromString(attached.callback)


def _request(work: Work, run: Run) -> StartWorkflowExecutionRequest:
    return StartWorkflowExecutionRequest(
        workflow_id=work.chain.key.workflow_id,
        request_id=work.context.new_id("request"),
        links=[Link.FromString(link) for link in run.facts.start_links],
    )


def _follow(work: Work, run: Run, request: StartWorkflowExecutionRequest, succession: Succession, attempt: int) -> None:
    facts, context = run.facts, work.context
    points = handed_on(run, context.namespace.retention_ns)
    if points != run.durable.auto_reset_points:
        work.draft(run.run_id).assign("auto_reset_points", points)
    parent = WorkflowExecution.FromString(facts.parent) if facts.parent else None
    skipping = None
    if facts.time_skipping is not None:
        config, skipping = for_next_run(facts.time_skipping)
        if config is not None:
            request.time_skipping_config.CopyFrom(config)
    origin = Origin(
        run_id=succession.run_id,
        parent=None if parent is None else _parent(run, parent),
        root=WorkflowExecution.FromString(facts.root) if facts.root else None,
        first_run_id=facts.first_run_id,
        continued_run_id=run.run_id,
        initiator=succession.initiator,
        attempt=attempt,
        backoff_ns=succession.backoff_ns,
        execution_expiration_ns=run.durable.execution_expiration_ns,
        auto_reset_points=points,
        time_skipping=skipping,
    )
    draft = create_run(work, request, origin)
    if run.durable.unclaimed is not None:
        draft.assign("unclaimed", run.durable.unclaimed)  # it timed out in its sleep; this one sleeps on
    wake(draft)


def _parent(run: Run, parent: WorkflowExecution) -> Parent:
    return Parent(
        namespace_id=run.facts.parent_namespace_id,
        namespace=run.facts.parent_namespace,
        workflow_id=parent.workflow_id,
        run_id=parent.run_id,
        initiated_event_id=run.facts.parent_initiated_event_id,
    )
