"""User timers that are due fire, all of them in one decision, so that the workflow wakes once."""

from temporalio.api.history.v1 import TimerFiredEventAttributes

from perdure.workflow.decide import Work
from perdure.workflow.deciders.fire_timer import fires
from perdure.workflow.draft import Draft
from perdure.workflow.tasks import Timer, TimerKind
from perdure.workflow.workflow_task import wake


@fires(TimerKind.USER)
def fire_user_timers(work: Work, draft: Draft, timer: Timer) -> None:
    """Fire `timer` and every other one that is due, in the order they were due."""
    now_ns = draft.context.now_ns
    due = [pending for pending in draft.run.facts.timers.values() if pending.due_ns <= now_ns]
    due.sort(key=lambda pending: (pending.due_ns, pending.started_event_id))
    for pending in due:
        draft.add(TimerFiredEventAttributes(timer_id=pending.timer_id, started_event_id=pending.started_event_id))
    wake(draft)
