"""What a completion callback wants of the world: to be called once its chain of runs ended, until that succeeded or
failed for good.

It has one errand, due at the close and after a failed call when the backoff is over. A callback does not keep its run:
what is not delivered when the retention ends goes with it, as in the reference.
"""

from collections.abc import Iterable

from temporalio.api.common.v1 import Callback
from temporalio.api.enums.v1 import CallbackState
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import CallbackInfo

from perdure.base.clock import to_timestamp
from perdure.base.slots import ChainKey
from perdure.workflow.branches import spans
from perdure.workflow.deciders.plan_errand import plans
from perdure.workflow.outstanding import derives
from perdure.workflow.requests import CallbackPlan
from perdure.workflow.state import Run
from perdure.workflow.tasks import Task, Timer, TimerKind

_STANDBY = CallbackState.CALLBACK_STATE_STANDBY
_SCHEDULED = CallbackState.CALLBACK_STATE_SCHEDULED
_BACKING_OFF = CallbackState.CALLBACK_STATE_BACKING_OFF


@derives("callback")
def tasks_of_callback(run: Run, number: int) -> Iterable[Task]:
    """One errand, from the close on."""
    facts, durable = run.facts, run.durable
    if not facts.callbacks_due or number not in facts.callbacks:
        return ()
    calls = durable.callback_attempts.get(number)
    if calls is not None and calls.state != _BACKING_OFF:
        return ()
    due_ns, attempt = (facts.close_time_ns, 0) if calls is None else (calls.next_time_ns, calls.attempt)
    key = ChainKey(durable.namespace_id, durable.workflow_id)
    return (Timer(due_ns, key, durable.run_id, TimerKind.CALLBACK, number, attempt),)


@plans(TimerKind.CALLBACK)
def plan_callback(run: Run, timer: Timer) -> CallbackPlan:
    """Whom to call, and where the outcome is told."""
    facts, attached = run.facts, run.facts.callbacks[timer.event_id]
    return CallbackPlan(
        callback=attached.callback,
        request_id=attached.request_id,
        attempt=timer.attempt + 1,
        start_time_ns=facts.start_time_ns,
        close_time_ns=facts.close_time_ns,
        close_event_id=facts.close_event_id,
        segments=spans(run.durable.segments),
    )


def callback_infos(run: Run, now_ns: int) -> Iterable[CallbackInfo]:
    """What Describe shows of the run's callbacks, in the order of their coming."""
    for number, attached in run.facts.callbacks.items():
        info = CallbackInfo(
            callback=Callback.FromString(attached.callback),
            registration_time=to_timestamp(attached.registered_time_ns),
            state=_SCHEDULED if run.facts.callbacks_due else _STANDBY,
        )
        info.trigger.workflow_closed.SetInParent()
        calls = run.durable.callback_attempts.get(number)
        if calls is not None:
            info.attempt = calls.attempt
            info.last_attempt_complete_time.CopyFrom(to_timestamp(calls.complete_time_ns))
            if calls.failure:
                info.last_attempt_failure.CopyFrom(Failure.FromString(calls.failure))
            if calls.state != _BACKING_OFF:
                info.state = calls.state  # type: ignore[assignment]  # the enum's int is stored plain
            elif calls.next_time_ns > now_ns:
                info.state = _BACKING_OFF
                info.next_attempt_schedule_time.CopyFrom(to_timestamp(calls.next_time_ns))
        yield info
