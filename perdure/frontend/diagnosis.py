"""Why a workflow doesn't move: from what is known of it to reasons, the most pressing first, each with what to do.

Pure. Invariant: whatever is known or isn't, there is at least one reason, and none says more than the facts do. Refuses
to know how facts are come by.
"""

from collections.abc import Iterator

import msgspec
from temporalio.api.enums.v1 import (
    CallbackState,
    PendingActivityState,
    PendingWorkflowTaskState,
    WorkflowExecutionStatus,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflow.v1 import CallbackInfo, PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from perdure.base.clock import SECOND_NS, from_timestamp
from perdure.cluster.shard_host import ShardState
from perdure.frontend.admin_fields import time_text
from perdure.workflow.tasks import QueueKind

ACTIVITIES_MAX = 20
OTHERS_MAX = 10
# A worker that has polled within this time is there: a poll takes a minute at most.
_POLLER_NS = 75 * SECOND_NS
_TEXT_MAX = 300
_RUNNING, _PAUSED = (
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING,
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED,
)
_TASK_STARTED = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
_STARTED = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
_CANCELS = PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
_WAITS = ("waits_for_child", "waits_for_signal_sent", "waits_for_cancel_sent", "waits_for_timer", "update_waits")


class Reason(msgspec.Struct, frozen=True):
    """`kind`: for programs. `text`: what is. `todo`: what to do about it, "" if nothing is wrong. `blocks`: the
    workflow doesn't go on before it is over or mended.
    """

    kind: str
    text: str
    todo: str = ""
    blocks: bool = True


class ShardFacts(msgspec.Struct, frozen=True):
    """The shard of the workflow's id. `host`: who should have it, for people; `state` "" if that host doesn't know the
    shard; `error`: the host doesn't answer.
    """

    shard: str
    host: str = ""
    state: str = ""
    reason: str = ""
    error: str = ""


class QueueFacts(msgspec.Struct, frozen=True):
    """A task queue of one kind. `pollers`: identity -> when it polled last, in ns. `rate`: in tasks a second, None = no
    limit. `error`: nobody says.
    """

    pollers: dict[str, int] = {}
    backlog: int = 0
    rate: float | None = None
    held_back: bool = False
    error: str = ""


class Sent(msgspec.Struct, frozen=True):
    """What is on its way to another workflow: `signal` "" = a request to cancel it."""

    workflow_id: str
    signal: str = ""


class Tail(msgspec.Struct, frozen=True):
    """What the end of a history says. `sticky`: the queue of the newest workflow task if it is a worker's own.
    `failed_cause`, `failure`: of a workflow task after which none was completed. `timers`: id -> when it is due, in ns.
    `updates`: ids that were accepted and not completed. `sent`: what has no outcome yet. `is_whole`: it is all of the
    history. `has_begun`: there was a workflow task, or nobody can say.
    """

    sticky: str = ""
    failed_cause: int = 0
    failure: str = ""
    timers: dict[str, int] = {}
    updates: tuple[str, ...] = ()
    sent: tuple[Sent, ...] = ()
    is_whole: bool = True
    has_begun: bool = True


class Facts(msgspec.Struct, frozen=True):
    """`described` None: it could not be had, `error` says why; `is_missing`: there is no such workflow."""

    now_ns: int
    shard: ShardFacts
    described: DescribeWorkflowExecutionResponse | None = None
    error: str = ""
    is_missing: bool = False
    queues: dict[tuple[str, QueueKind], QueueFacts] = {}
    tail: Tail = Tail()


def diagnose(facts: Facts) -> list[Reason]:
    """The reasons; those that block come first."""
    if facts.is_missing:
        return [Reason("not_found", facts.error, "Look for its id: `temporal workflow list`. Closed runs are removed "
                       "after the namespace's retention.")]  # fmt: skip
    found = list(_of_shard(facts))
    if facts.described is None:
        if not found:
            found.append(Reason("unknown", f"The workflow can't be read: {facts.error}", "Ask again."))
        return found
    # It could be read, so that somebody serves it.
    found = [msgspec.structs.replace(reason, blocks=False) for reason in found]
    info = facts.described.workflow_execution_info
    if info.status not in (_RUNNING, _PAUSED):
        return [*found, *_of_closed(facts)]
    found += _of_pause(facts)
    found += _of_workflow_task(facts)
    for activity in facts.described.pending_activities[:ACTIVITIES_MAX]:
        found += _of_activity(facts, activity)
    more = len(facts.described.pending_activities) - ACTIVITIES_MAX
    if more > 0:
        found.append(Reason("activities", f"{more} more activities are pending.", blocks=False))
    found += _of_waits(facts)
    if not any(reason.blocks for reason in found):
        found += _of_idle(facts, found)
    return sorted(found, key=lambda reason: not reason.blocks)


def _of_shard(facts: Facts) -> Iterator[Reason]:
    shard = facts.shard
    if not shard.shard:
        yield Reason("shard_unknown", "The map of shards is not known.", "Look at the store: is it reachable?")
    elif not shard.host:
        yield Reason("no_history_host", f"No history host serves: nobody has shard {shard.shard}.",
                     "Start a history host: `perdure admin ring`.")  # fmt: skip
    elif shard.error:
        yield Reason("host_unreachable", f"Host {shard.host} should have shard {shard.shard}, and can't be reached: "
                     f"{shard.error}.", "If it is dead, others take its shards within seconds; else look at the "
                     "network between the frontends and that host.")  # fmt: skip
    elif shard.state == ShardState.STUCK:
        yield Reason("shard_stuck", f"Shard {shard.shard} can't be taken by {shard.host}: {shard.reason}",
                     "Its log can't be read. Look at the host's log, mend the store, and restart the "
                     "host.")  # fmt: skip
    elif shard.state in (ShardState.TAKING, ""):
        why = f": {shard.reason}" if shard.reason else ""
        yield Reason("shard_in_recovery", f"Shard {shard.shard} is being taken by {shard.host}{why}",
                     "It takes seconds. If it lasts, look at that host's log: `perdure admin shard list`.")  # fmt: skip
    elif shard.state == ShardState.LEAVING:
        yield Reason("shard_moving", f"Shard {shard.shard} is leaving {shard.host}.", "It takes seconds.")


def _of_closed(facts: Facts) -> Iterator[Reason]:
    assert facts.described is not None
    info = facts.described.workflow_execution_info
    status = WorkflowExecutionStatus.Name(info.status).removeprefix("WORKFLOW_EXECUTION_STATUS_").lower()
    closed = _ago(facts, from_timestamp(info.close_time))
    yield Reason("closed", f"It is closed ({status}) {closed}.", blocks=False)
    if not _polled(facts, info.task_queue, QueueKind.WORKFLOW):
        yield Reason("queries_unanswered", f"No worker polls workflow queue {info.task_queue}: queries of it time out.",
                     "Start a worker there, if it is to be queried.", blocks=False)  # fmt: skip
    for callback in facts.described.callbacks[:OTHERS_MAX]:
        yield from _of_callback(callback)


def _of_callback(callback: CallbackInfo) -> Iterator[Reason]:
    """Who is called when it ends, and isn't yet."""
    target = f"Callback {callback.callback.nexus.url}"
    failed = callback.HasField("last_attempt_failure")
    last = f" The last failure: {_message(callback.last_attempt_failure)}" if failed else ""
    match callback.state:
        case CallbackState.CALLBACK_STATE_SCHEDULED:
            yield Reason("callback_waits", f"{target} is being called, attempt {callback.attempt + 1}.{last}",
                         "If that lasts, look at whom it calls.", blocks=False)  # fmt: skip
        case CallbackState.CALLBACK_STATE_BACKING_OFF:
            due = time_text(from_timestamp(callback.next_attempt_schedule_time))
            yield Reason("callback_backoff", f"{target}, attempt {callback.attempt} failed, is in backoff until "
                         f"{due}.{last}", "Mend whom it calls; it is tried again by itself.", blocks=False)  # fmt: skip
        case CallbackState.CALLBACK_STATE_FAILED:
            yield Reason("callback_failed", f"{target} failed at attempt {callback.attempt}, and is not tried "
                         f"again.{last}", "Tell whom it calls by hand.", blocks=False)  # fmt: skip


def _of_pause(facts: Facts) -> Iterator[Reason]:
    assert facts.described is not None
    extended = facts.described.workflow_extended_info
    if extended.HasField("pause_info"):
        pause = extended.pause_info
        who = f" by {pause.identity}" if pause.identity else ""
        why = f": {pause.reason}" if pause.reason else ""
        yield Reason("paused", f"The workflow is paused{who} {_ago(facts, from_timestamp(pause.paused_time))}{why}.",
                     "Unpause it: `temporal workflow unpause`.")  # fmt: skip


def _of_workflow_task(facts: Facts) -> Iterator[Reason]:
    assert facts.described is not None
    described = facts.described
    queue = described.workflow_execution_info.task_queue
    if not described.HasField("pending_workflow_task"):
        # A first task that is held back isn't there before its time: a start or a run's successor has set that.
        due_ns = from_timestamp(described.workflow_execution_info.execution_time)
        if due_ns > facts.now_ns and not facts.tail.has_begun:
            yield Reason("workflow_task_backoff", f"Its first workflow task is held back until {time_text(due_ns)}.",
                         "It is a delayed start, a cron, or the backoff of a run that is tried again.")  # fmt: skip
        if not _polled(facts, queue, QueueKind.WORKFLOW):
            yield Reason("no_poller", f"No worker polls workflow queue {queue}: its next task, queries and updates "
                         "will wait.", "Start a worker for that queue, in this namespace.", blocks=False)  # fmt: skip
        return
    task, tail = described.pending_workflow_task, facts.tail
    if task.attempt > 1 or tail.failed_cause or tail.failure:
        cause = WorkflowTaskFailedCause.Name(tail.failed_cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_").lower()  # type: ignore[arg-type]  # a number that came with an event
        why = f" ({cause})" if tail.failed_cause else ""
        message = f": {_cut(tail.failure)}" if tail.failure else ""
        yield Reason("workflow_task_failing", f"Its workflow task fails{why}, now at attempt {task.attempt}{message}",
                     "Mend the workflow's code or its worker and deploy it; the task is tried again by itself. A "
                     "non-deterministic change has to be undone or patched, or reset the workflow.")  # fmt: skip
    if task.state == _TASK_STARTED:
        yield Reason("workflow_task_started", "Its workflow task was started "
                     f"{_ago(facts, from_timestamp(task.started_time))} and is not answered.",
                     "If that lasts, the worker is busy, blocked or gone: look at it. The task times out and is given "
                     "to another.")  # fmt: skip
        return
    yield from _of_waiting_task(facts, queue)


def _of_waiting_task(facts: Facts, queue: str) -> Iterator[Reason]:
    assert facts.described is not None
    due_ns = from_timestamp(facts.described.pending_workflow_task.scheduled_time)
    if due_ns > facts.now_ns:
        yield Reason("workflow_task_backoff", f"Its workflow task is held back until {time_text(due_ns)}.",
                     "It is the backoff of a retry, a cron or a delayed start, or of a failing task.")  # fmt: skip
        return
    since, sticky = _since(facts, due_ns), facts.tail.sticky
    if sticky and _known(facts, sticky) and not _polled(facts, sticky, QueueKind.WORKFLOW):
        yield Reason("no_sticky_poller", f"Its workflow task waits {since} in the worker's own (sticky) queue "
                     f"{sticky}, which nobody polls.",
                     "It goes to the normal queue after its time-out, some seconds.")  # fmt: skip
    yield from _of_queue(facts, queue, QueueKind.WORKFLOW, f"Its workflow task waits {since}")


def _of_queue(facts: Facts, queue: str, kind: QueueKind, waits: str) -> Iterator[Reason]:
    """Why a task that is ready waits in its queue."""
    label, known = kind.name.lower(), facts.queues.get((queue, kind), QueueFacts())
    if known.error:
        yield Reason("queue_unreachable", f"{waits}; {label} queue {queue} can't be looked at: {known.error}",
                     "Look at the matching hosts: `perdure admin ring`.")  # fmt: skip
    elif not _polled(facts, queue, kind):
        last = max(known.pollers.values(), default=0)
        seen = f"; the last poll was {_ago(facts, last)}" if last else ""
        yield Reason("no_poller", f"{waits}: no worker polls {label} queue {queue}{seen}.",
                     f"Start a worker with {label} tasks for that queue, in this namespace; is the name the "
                     "same?")  # fmt: skip
    elif known.held_back and known.rate is not None:
        yield Reason("rate_limited", f"{waits}: {label} queue {queue} is limited to {known.rate:g} tasks a second; "
                     f"{known.backlog} wait.",
                     "Raise the limit: of the workers, or `temporal task-queue config set`.")  # fmt: skip
    else:
        yield Reason("task_waits", f"{waits} in {label} queue {queue}, in which {known.backlog} wait; "
                     f"{len(known.pollers)} pollers.",
                     "If that lasts, the workers are too few or all busy: add some.")  # fmt: skip


def _of_activity(facts: Facts, activity: PendingActivityInfo) -> Iterator[Reason]:
    name = f"Activity {activity.activity_id} ({activity.activity_type.name}), attempt {activity.attempt}"
    last = f" The last failure: {_message(activity.last_failure)}" if activity.HasField("last_failure") else ""
    if activity.state in (_STARTED, _CANCELS) and activity.HasField("last_started_time"):
        beat = from_timestamp(activity.last_heartbeat_time)
        heard = f", last heartbeat {_ago(facts, beat)}" if beat else ", no heartbeat yet"
        asked = " It was asked to cancel." if activity.state == _CANCELS else ""
        by = f" by {activity.last_worker_identity}" if activity.last_worker_identity else ""
        started = _ago(facts, from_timestamp(activity.last_started_time))
        yield Reason("activity_running", f"{name} is running{by}, started {started}{heard}.{asked}{last}",
                     "If that is too long, look at the worker; without a heartbeat time-out a dead worker shows "
                     "only at the activity's own time-out.")  # fmt: skip
        return
    if activity.paused:
        why = f": {activity.pause_info.manual.reason}" if activity.pause_info.manual.reason else ""
        yield Reason("activity_paused", f"{name} is paused{why}.{last}",
                     "Unpause it: `temporal activity unpause`.")  # fmt: skip
        return
    due_ns = from_timestamp(activity.scheduled_time)
    if activity.HasField("next_attempt_schedule_time"):
        due_ns = max(due_ns, from_timestamp(activity.next_attempt_schedule_time))
    if due_ns > facts.now_ns:
        most = f" of {activity.maximum_attempts}" if activity.maximum_attempts else ""
        yield Reason("activity_backoff", f"{name}{most}, is in backoff until {time_text(due_ns)}.{last}",
                     "Mend what fails; it is tried again by itself, or at once after "
                     "`temporal activity reset`.")  # fmt: skip
        return
    queue = activity.activity_options.task_queue.name
    for reason in _of_queue(facts, queue, QueueKind.ACTIVITY, f"{name} waits {_since(facts, due_ns)}"):
        yield msgspec.structs.replace(reason, text=reason.text + last)


def _of_waits(facts: Facts) -> Iterator[Reason]:
    """What it waits for that isn't a task."""
    assert facts.described is not None
    for child in facts.described.pending_children[:OTHERS_MAX]:
        state = "runs" if child.run_id else "is being started"
        yield Reason("waits_for_child", f"It waits for child workflow {child.workflow_id} "
                     f"({child.workflow_type_name}), which {state}.",
                     f"`perdure admin diagnose {child.workflow_id}`", blocks=False)  # fmt: skip
    for sent in facts.tail.sent[:OTHERS_MAX]:
        what = f"signal {sent.signal} to" if sent.signal else "request to cancel"
        kind = "waits_for_signal_sent" if sent.signal else "waits_for_cancel_sent"
        yield Reason(kind, f"Its {what} workflow {sent.workflow_id} has no outcome yet.",
                     f"It takes moments. If it lasts, look at the other workflow's shard: "
                     f"`perdure admin diagnose {sent.workflow_id}`", blocks=False)  # fmt: skip
    for update in facts.tail.updates[:OTHERS_MAX]:
        yield Reason("update_waits", f"Update {update} was accepted and is not completed: its handler still waits.",
                     "Look at what the handler waits for.", blocks=False)  # fmt: skip
    for timer, due_ns in sorted(facts.tail.timers.items(), key=lambda each: each[1])[:OTHERS_MAX]:
        yield Reason("waits_for_timer", f"It waits for timer {timer}, due {time_text(due_ns)}.", blocks=False)


def _of_idle(facts: Facts, found: list[Reason]) -> Iterator[Reason]:
    if any(reason.kind in _WAITS for reason in found):
        return
    more = "" if facts.tail.is_whole else ", or for something that is older than the events looked at"
    yield Reason("idle", f"Nothing is pending: it waits for a signal or an update{more}.",
                 "Send what it waits for: `temporal workflow signal`. Its stack: `temporal workflow stack`.",
                 blocks=False)  # fmt: skip


def _known(facts: Facts, queue: str) -> bool:
    known = facts.queues.get((queue, QueueKind.WORKFLOW))
    return known is not None and not known.error


def _polled(facts: Facts, queue: str, kind: QueueKind) -> bool:
    """Whether a worker is there, or nobody can say."""
    known = facts.queues.get((queue, kind), QueueFacts())
    return bool(known.error) or any(facts.now_ns - last < _POLLER_NS for last in known.pollers.values())


def _message(failure: Failure) -> str:
    return _cut(failure.message or failure.source or "unknown")


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_MAX else text[:_TEXT_MAX] + "…"


def _since(facts: Facts, time_ns: int) -> str:
    seconds = max(0, facts.now_ns - time_ns) // SECOND_NS
    if seconds < 120:
        return f"for {seconds} s" if time_ns else "for an unknown time"
    return f"since {time_text(time_ns)}"


def _ago(facts: Facts, time_ns: int) -> str:
    seconds = max(0, facts.now_ns - time_ns) // SECOND_NS
    if seconds < 120:
        return f"{seconds} s ago" if time_ns else "at an unknown time"
    return f"at {time_text(time_ns)}"
