"""The errands of signals and requests to other workflows: each is wanted while it is pending and the run is open.

A run that closes over them wants them no more, also one that closes in the same completion: as in the reference.
"""

from collections.abc import Iterable, Mapping

from perdure.base.slots import ChainKey
from perdure.workflow.branches import spans
from perdure.workflow.deciders.plan_errand import plans
from perdure.workflow.errand_ids import errand_id
from perdure.workflow.outstanding import derives
from perdure.workflow.requests import ExternalPlan
from perdure.workflow.state import PendingExternal, Run
from perdure.workflow.tasks import Task, Timer, TimerKind


@derives("external_signal")
def tasks_of_signal(run: Run, initiated_event_id: int) -> Iterable[Task]:
    """The errand that sends the signal."""
    return _errand(run, run.facts.external_signals, initiated_event_id, TimerKind.EXTERNAL_SIGNAL)


@derives("external_cancel")
def tasks_of_cancel(run: Run, initiated_event_id: int) -> Iterable[Task]:
    """The errand that sends the request."""
    return _errand(run, run.facts.external_cancels, initiated_event_id, TimerKind.EXTERNAL_CANCEL)


@plans(TimerKind.EXTERNAL_SIGNAL)
def plan_signal(run: Run, timer: Timer) -> ExternalPlan:
    """Whom to signal."""
    return _plan(run, run.facts.external_signals[timer.event_id], "signal")


@plans(TimerKind.EXTERNAL_CANCEL)
def plan_cancel(run: Run, timer: Timer) -> ExternalPlan:
    """Whom to ask."""
    return _plan(run, run.facts.external_cancels[timer.event_id], "cancel")


def _errand(
    run: Run, pending: Mapping[int, PendingExternal], initiated_event_id: int, kind: TimerKind
) -> Iterable[Task]:
    entry = pending.get(initiated_event_id)
    if entry is None or not run.is_open:
        return ()
    key = ChainKey(run.durable.namespace_id, run.durable.workflow_id)
    return (Timer(entry.initiated_time_ns, key, run.durable.run_id, kind, initiated_event_id),)


def _plan(run: Run, pending: PendingExternal, purpose: str) -> ExternalPlan:
    segments = spans(run.durable.segments)
    request_id = errand_id(run.run_id, purpose, pending.initiated_event_id)
    return ExternalPlan(pending, request_id, segments, run.writers)
