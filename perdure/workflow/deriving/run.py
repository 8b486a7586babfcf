"""What a run as a whole and its workflow task want from the world, and what happens when their timers are due."""

from collections.abc import Iterator

from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.history.v1 import WorkflowExecutionTimedOutEventAttributes

from perdure.base.slots import ChainKey
from perdure.workflow.close import close_from_outside
from perdure.workflow.decide import Work
from perdure.workflow.deciders.fire_timer import fires
from perdure.workflow.draft import Draft
from perdure.workflow.lost_task import time_out
from perdure.workflow.outstanding import derives
from perdure.workflow.priorities import rank
from perdure.workflow.state import Run
from perdure.workflow.tasks import Effect, EffectKind, Offer, QueueKey, QueueKind, Task, Timer, TimerKind
from perdure.workflow.workflow_task import awaits_first_task, schedule, wake


@derives("run")
def run_tasks(run: Run, key: None) -> Iterator[Task]:
    """Its row in lists; while open its timeouts and its delayed start, once closed its deletion."""
    durable = run.durable
    chain = ChainKey(durable.namespace_id, durable.workflow_id)
    yield Effect(chain, durable.run_id, EffectKind.VISIBILITY, durable.visibility_version)
    if not run.is_open:
        due_ns = run.facts.close_time_ns + durable.retention_ns
        yield Timer(due_ns, chain, durable.run_id, TimerKind.RETENTION)
        return
    if 0 < durable.run_expiration_ns < (durable.execution_expiration_ns or 2**63):
        yield Timer(durable.run_expiration_ns, chain, durable.run_id, TimerKind.RUN_TIMEOUT)
    if durable.execution_expiration_ns:
        yield Timer(durable.execution_expiration_ns, chain, durable.run_id, TimerKind.EXECUTION_TIMEOUT)
    if awaits_first_task(run):
        yield Timer(durable.execution_time_ns, chain, durable.run_id, TimerKind.WORKFLOW_TASK_BACKOFF)


@derives("workflow_task")
def workflow_task_tasks(run: Run, key: None) -> Iterator[Task]:
    """A poller for it while it is scheduled; its timeouts."""
    task, durable = run.durable.workflow_task, run.durable
    if task is None or task.speculative:
        return
    chain = ChainKey(durable.namespace_id, durable.workflow_id)
    ids = (task.scheduled_event_id, task.attempt, task.stamp)
    if task.started_event_id:
        due_ns = task.started_time_ns + task.timeout_ns
        yield Timer(due_ns, chain, durable.run_id, TimerKind.WORKFLOW_TASK_START_TO_CLOSE, *ids)
        return
    priority, fairness_key, fairness_weight = rank(run.facts.priority)
    yield Offer(
        key=chain,
        run_id=durable.run_id,
        queue=QueueKey(durable.namespace_id, run.facts.task_queue, QueueKind.WORKFLOW),
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
    if task.sticky and task.schedule_to_start_ns:
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
    """The delayed first task begins."""
    if not draft.run.durable.paused:
        schedule(draft)


@fires(TimerKind.RUN_TIMEOUT)
def run_timed_out(work: Work, draft: Draft, timer: Timer) -> None:
    """The run took too long. The reason it is not retried: no policy, or no time left in the execution."""
    expired = 0 < draft.run.durable.execution_expiration_ns <= work.context.now_ns
    state = RetryState.RETRY_STATE_TIMEOUT if expired else RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET
    close_from_outside(work, draft, WorkflowExecutionTimedOutEventAttributes(retry_state=state))


@fires(TimerKind.EXECUTION_TIMEOUT)
def execution_timed_out(work: Work, draft: Draft, timer: Timer) -> None:
    """The whole chain of runs took too long."""
    state = RetryState.RETRY_STATE_TIMEOUT
    close_from_outside(work, draft, WorkflowExecutionTimedOutEventAttributes(retry_state=state))
