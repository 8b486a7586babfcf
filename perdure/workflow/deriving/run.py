"""What a run as a whole and its workflow task want from the world, and what happens when their timers are due."""

from collections.abc import Iterable, Iterator

from temporalio.api.enums.v1 import ParentClosePolicy, RetryState, TimeoutType
from temporalio.api.history.v1 import WorkflowExecutionTimedOutEventAttributes

from perdure.base.clock import SECOND_NS
from perdure.base.slots import ChainKey
from perdure.workflow.close import close_from_outside
from perdure.workflow.decide import Work
from perdure.workflow.deciders.fire_timer import fires
from perdure.workflow.draft import Draft
from perdure.workflow.failures import timeout_failure
from perdure.workflow.lost_task import time_out
from perdure.workflow.outstanding import derives
from perdure.workflow.priorities import rank
from perdure.workflow.state import Run, WorkflowTask
from perdure.workflow.successor import after_failure, last_result, repeat
from perdure.workflow.tasks import Effect, EffectKind, Offer, QueueKey, QueueKind, Task, Timer, TimerKind, lane_of
from perdure.workflow.workflow_task import awaits_first_task, schedule, wake

_ABANDON = ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
# A child asks its parent itself if it was not woken by then: long after its parent's errand should have been done.
_CLAIM_NS = 2 * SECOND_NS


@derives("run")
def run_tasks(run: Run, key: None) -> Iterator[Task]:
    """Its row in lists; while open its timeouts and its delayed start, once closed its errands, then its deletion."""
    durable = run.durable
    chain = ChainKey(durable.namespace_id, durable.workflow_id)
    yield Effect(chain, durable.run_id, EffectKind.VISIBILITY, durable.visibility_version)
    if not run.is_open:
        owed = last_errands(run)
        yield from owed
        if not owed:
            due_ns = run.facts.close_time_ns + durable.retention_ns
            yield Timer(due_ns, chain, durable.run_id, TimerKind.RETENTION)
        return
    if 0 < durable.run_expiration_ns < (durable.execution_expiration_ns or 2**63):
        yield Timer(durable.run_expiration_ns, chain, durable.run_id, TimerKind.RUN_TIMEOUT)
    if durable.execution_expiration_ns:
        yield Timer(durable.execution_expiration_ns, chain, durable.run_id, TimerKind.EXECUTION_TIMEOUT)
    skipping = run.facts.time_skipping
    if skipping is not None and skipping.enabled and skipping.forward_to_ns and not skipping.forwarded:
        yield Timer(skipping.forward_to_ns, chain, durable.run_id, TimerKind.FAST_FORWARD)
    if durable.unclaimed is not None:
        yield Timer(durable.unclaimed.since_ns + _CLAIM_NS, chain, durable.run_id, TimerKind.CHILD_UNCLAIMED)
    elif awaits_first_task(run) and not durable.paused:
        yield Timer(durable.execution_time_ns, chain, durable.run_id, TimerKind.WORKFLOW_TASK_BACKOFF)


def last_errands(run: Run) -> list[Timer]:
    """What a closed run owes to others: its end to its parent, unless another run goes on in its place, and its parent
    close policies to its children, unless the run that it was reset to has them.
    """
    facts, durable = run.facts, run.durable
    kinds = []
    if facts.parent and not (facts.successor_run_id or durable.was_reset or durable.parent_told):
        kinds.append(TimerKind.PARENT_REPORT)
    kept = durable.children_closed or (durable.was_reset and durable.reset_run_id)
    if not kept and any(child.parent_close_policy != _ABANDON for child in facts.children.values()):
        kinds.append(TimerKind.CHILDREN_CLOSE)
    chain = ChainKey(durable.namespace_id, durable.workflow_id)
    return [Timer(facts.close_time_ns, chain, durable.run_id, kind) for kind in kinds]


@derives("workflow_task")
def workflow_task_tasks(run: Run, key: None) -> Iterable[Task]:
    """A poller for it while it is scheduled; its timeouts."""
    task = run.durable.workflow_task
    return () if task is None else _wanted(run, task)


@derives("speculative_task")
def speculative_task_tasks(run: Run, key: None) -> Iterable[Task]:
    """The same for a task that is nowhere but in memory."""
    task = run.ephemeral.speculative_task
    return () if task is None else _wanted(run, task)


def _wanted(run: Run, task: WorkflowTask) -> Iterator[Task]:
    durable = run.durable
    chain = ChainKey(durable.namespace_id, durable.workflow_id)
    ids = (task.scheduled_event_id, task.attempt, task.stamp)
    if task.started_event_id:
        due_ns = task.started_time_ns + task.timeout_ns
        yield Timer(due_ns, chain, durable.run_id, TimerKind.WORKFLOW_TASK_START_TO_CLOSE, *ids)
        return
    priority, fairness_key, fairness_weight = rank(run.facts.priority)
    lane = lane_of(fairness_key) if task.fair else ""
    yield Offer(
        key=chain,
        run_id=durable.run_id,
        queue=QueueKey(durable.namespace_id, run.facts.task_queue, QueueKind.WORKFLOW, lane),
        scheduled_event_id=task.scheduled_event_id,
        attempt=task.attempt,
        stamp=task.stamp,
        scheduled_time_ns=task.scheduled_time_ns,
        sticky=task.queue if task.sticky else "",
        priority=priority,
        fairness_key=fairness_key,
        fairness_weight=fairness_weight,
        schedule_to_start_ns=task.schedule_to_start_ns,
    )
    if task.schedule_to_start_ns:
        due_ns = task.scheduled_time_ns + task.schedule_to_start_ns
        yield Timer(due_ns, chain, durable.run_id, TimerKind.WORKFLOW_TASK_SCHEDULE_TO_START, *ids)


@fires(TimerKind.WORKFLOW_TASK_START_TO_CLOSE)
def task_not_answered(work: Work, draft: Draft, timer: Timer) -> None:
    """The worker did not answer: another attempt."""
    time_out(draft, TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE)
    wake(draft)


@fires(TimerKind.WORKFLOW_TASK_SCHEDULE_TO_START)
def task_not_fetched(work: Work, draft: Draft, timer: Timer) -> None:
    """The worker that has the run in its cache did not come: the normal queue gets it."""
    time_out(draft, TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START)
    wake(draft)


@fires(TimerKind.WORKFLOW_TASK_BACKOFF)
def delay_over(work: Work, draft: Draft, timer: Timer) -> None:
    """The delayed first task begins: the one that carries an update, if there is one."""
    draft.settle_task()
    if draft.run.workflow_task is None:
        schedule(draft)


@fires(TimerKind.RUN_TIMEOUT)
def run_timed_out(work: Work, draft: Draft, timer: Timer) -> None:
    """The run took too long. It is tried again or its schedule goes on, unless the execution is over too."""
    state, succession = RetryState.RETRY_STATE_TIMEOUT, None
    failure = timeout_failure("workflow timeout", TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE)
    if not 0 < draft.run.durable.execution_expiration_ns <= draft.context.now_ns:
        state, succession = after_failure(draft.run, draft.context, failure)
    attributes = WorkflowExecutionTimedOutEventAttributes(retry_state=state)
    if succession is not None:
        attributes.new_execution_run_id = succession.run_id
    close_from_outside(work, draft, attributes)
    if succession is not None:
        repeat(work, draft.run, succession, result=last_result(draft.run), failure=failure)


@fires(TimerKind.EXECUTION_TIMEOUT)
def execution_timed_out(work: Work, draft: Draft, timer: Timer) -> None:
    """The whole chain of runs took too long."""
    state = RetryState.RETRY_STATE_TIMEOUT
    close_from_outside(work, draft, WorkflowExecutionTimedOutEventAttributes(retry_state=state))
