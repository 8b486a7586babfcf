"""When a run skips time: at the end of a decision that changed it, while it waits for nothing but time.

It jumps to the nearest of its timers, activities' next attempts, delayed first task and timeouts, and no farther than
its fast-forward. The event of it follows what the decision wrote. Source: the reference
(`service/history/workflow/timeskipping.go`), from which this differs in one thing: a timer that is due and has not
fired yet is waited for, so that none is passed.
"""

from collections.abc import Iterator
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.history.v1 import WorkflowExecutionTimeSkippingTransitionedEventAttributes

from perdure.base.clock import from_duration, to_timestamp
from perdure.workflow.decide import Work, guards
from perdure.workflow.deciders.fire_timer import fires
from perdure.workflow.draft import Draft
from perdure.workflow.state import Run
from perdure.workflow.tasks import Timer, TimerKind

# No run gets farther ahead, so that any duration from there on is a time that fits.
TIME_NS_MAX = 2**63 - 1 - from_duration(Duration(seconds=2**62))


@guards
def skip(work: Work, request: Any) -> None:
    """Let the runs that this decision changed skip what they may."""
    for draft in work.drafts.values():
        skipping = draft.run.facts.time_skipping
        if skipping is None or not skipping.enabled or not draft.changed or draft.deleted or not is_idle(draft.run):
            continue
        found = next_skip(draft.run, draft.context.now_ns)
        if found is not None:
            _transition(draft, *found)


def is_idle(run: Run) -> bool:
    """True while nothing is in progress for an open run: time is all that it can be waiting for."""
    facts, durable = run.facts, run.durable
    return (
        run.is_open
        and not durable.paused
        and durable.unclaimed is None
        and run.workflow_task is None
        and not (facts.children or facts.external_signals or facts.external_cancels)
        and all(attempt.waiting and not attempt.paused for attempt in durable.attempts.values())
    )


def next_skip(run: Run, now_ns: int) -> tuple[int, bool] | None:
    """(target in the run's time, 0 = none; whether that ends its fast-forward) of an idle run; None = no skip."""
    times = list(_times(run))
    skipping = run.facts.time_skipping
    assert skipping is not None
    if any(time_ns <= now_ns for time_ns in times):
        return None
    target_ns = min(times, default=0)
    ends = False
    if skipping.forward_to_ns and not skipping.forwarded:
        if skipping.forward_to_ns <= now_ns:
            return 0, True
        if not target_ns or skipping.forward_to_ns <= target_ns:
            target_ns, ends = skipping.forward_to_ns, True
    return (target_ns, ends) if 0 < target_ns <= TIME_NS_MAX else None


def _times(run: Run) -> Iterator[int]:
    """What the run waits for. Its timeouts count from its first workflow task on."""
    facts, durable = run.facts, run.durable
    for timer in facts.timers.values():
        yield timer.due_ns
    for attempt in durable.attempts.values():
        yield attempt.scheduled_time_ns
    if not facts.first_task_scheduled:
        if durable.execution_time_ns > facts.start_time_ns:
            yield durable.execution_time_ns
        return
    if durable.run_expiration_ns:
        yield durable.run_expiration_ns
    if durable.execution_expiration_ns:
        yield durable.execution_expiration_ns


def _transition(draft: Draft, target_ns: int, ends_forward: bool) -> None:
    attributes = WorkflowExecutionTimeSkippingTransitionedEventAttributes(
        disabled_after_fast_forward=ends_forward,
        wall_clock_time=to_timestamp(draft.context.now_ns - draft.run.ahead_ns),
    )
    if target_ns:
        attributes.target_time.CopyFrom(to_timestamp(target_ns))
    draft.add(attributes, worker_may_ignore=True)


@fires(TimerKind.FAST_FORWARD)
def forward_is_over(work: Work, draft: Draft, timer: Timer) -> None:
    """Its time has come by the clock, whatever is in progress."""
    _transition(draft, 0, ends_forward=True)
