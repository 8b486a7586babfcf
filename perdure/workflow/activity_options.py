"""The options of an activity that are in force: those of its schedule, or what an operator set in their place.

History keeps what the workflow asked for; an override is part of the attempts' durable state, as a whole
`ActivityOptions`. Which failures are final is no option: it stays as scheduled. Source of rules: the reference
(`updateactivityoptions`, `MergeActivityOptions`).
"""

from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.command.v1 import ScheduleActivityTaskCommandAttributes
from temporalio.api.common.v1 import Priority, RetryPolicy
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.clock import from_duration, to_duration
from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow.activity_timeouts import timeouts
from perdure.workflow.durations import duration_fault
from perdure.workflow.retry_policy import check
from perdure.workflow.state import Activity, ActivityAttempt
from perdure.workflow.task_queue_names import check_task_queue

# Paths of a mask, as JSON spells them.
_TIMEOUTS = {
    "scheduleToCloseTimeout": "schedule_to_close_timeout",
    "scheduleToStartTimeout": "schedule_to_start_timeout",
    "startToCloseTimeout": "start_to_close_timeout",
    "heartbeatTimeout": "heartbeat_timeout",
}
_PRIORITY = {
    "priority.priorityKey": "priority_key",
    "priority.fairnessKey": "fairness_key",
    "priority.fairnessWeight": "fairness_weight",
}
_POLICY = {
    "retryPolicy.initialInterval": "initial_interval",
    "retryPolicy.backoffCoefficient": "backoff_coefficient",
    "retryPolicy.maximumInterval": "maximum_interval",
    "retryPolicy.maximumAttempts": "maximum_attempts",
}
_INTERVALS = (("InitialInterval", "initial_interval"), ("MaximumInterval", "maximum_interval"))
KNOWN_PATHS = frozenset({"taskQueue.name", *_TIMEOUTS, "priority", *_PRIORITY, "retryPolicy", *_POLICY, "startDelay"})


def in_force(activity: Activity, attempt: ActivityAttempt) -> Activity:
    """`activity` with the options that its attempts go by."""
    if not attempt.options:
        return activity
    options = ActivityOptions.FromString(attempt.options)
    policy = RetryPolicy()
    policy.CopyFrom(options.retry_policy)
    del policy.non_retryable_error_types[:]
    policy.non_retryable_error_types.extend(RetryPolicy.FromString(activity.retry_policy).non_retryable_error_types)
    return msgspec.structs.replace(
        activity,
        task_queue=options.task_queue.name,
        schedule_to_close_ns=from_duration(options.schedule_to_close_timeout),
        schedule_to_start_ns=from_duration(options.schedule_to_start_timeout),
        start_to_close_ns=from_duration(options.start_to_close_timeout),
        heartbeat_ns=from_duration(options.heartbeat_timeout),
        retry_policy=policy.SerializeToString(),
        priority=options.priority.SerializeToString() if options.HasField("priority") else b"",
    )


def options_of(activity: Activity) -> ActivityOptions:
    """The options that `activity` states, all of them; the queue by its name alone."""
    return ActivityOptions(
        task_queue=TaskQueue(name=activity.task_queue),
        schedule_to_close_timeout=to_duration(activity.schedule_to_close_ns),
        schedule_to_start_timeout=to_duration(activity.schedule_to_start_ns),
        start_to_close_timeout=to_duration(activity.start_to_close_ns),
        heartbeat_timeout=to_duration(activity.heartbeat_ns),
        retry_policy=RetryPolicy.FromString(activity.retry_policy),
        priority=Priority.FromString(activity.priority) if activity.priority else None,
    )


def updated(
    activity: Activity, given: ActivityOptions, paths: AbstractSet[str], workflow_queue: str, limits: Limits
) -> ActivityOptions:
    """The options of `activity` (those in force) with what `paths` name taken from `given`. Raises InvalidArgument.

    Unknown paths say nothing.
    """
    options = options_of(activity)
    del options.retry_policy.non_retryable_error_types[:]
    _take_queue(options, given, paths)
    for path, field in _TIMEOUTS.items():
        if path in paths:
            _take(options, given, field)
    if "startDelay" in paths:  # of an activity that belongs to no workflow: answered, and of no effect
        _take(options, given, "start_delay")
    _take_part(options, given, paths, "priority", "Priority", _PRIORITY)
    if "retryPolicy" in paths and not given.HasField("retry_policy"):
        raise InvalidArgument("RetryPolicy is not provided")
    _take_part(options, given, paths, "retry_policy", "RetryPolicy", _POLICY)
    if not paths.isdisjoint(_POLICY):
        check(options.retry_policy)
    elif "retryPolicy" in paths:
        _check_intervals(options.retry_policy)
    check_task_queue(options.task_queue.name, limits.id_bytes_max, parent=workflow_queue)
    options.task_queue.kind = options.task_queue.kind or TaskQueueKind.TASK_QUEUE_KIND_NORMAL
    _complete_timeouts(options, activity)
    return options


def camel_case(path: str) -> str:
    """A path of a mask as JSON spells it: `retry_policy.initial_interval` is `retryPolicy.initialInterval`."""
    return ".".join(_camel(part) for part in path.split("."))


def _camel(part: str) -> str:
    first, *rest = part.split("_")
    return first[:1].lower() + first[1:] + "".join(word[:1].upper() + word[1:].lower() for word in rest)


def _take_queue(options: ActivityOptions, given: ActivityOptions, paths: AbstractSet[str]) -> None:
    if "taskQueue.name" in paths:
        if not given.HasField("task_queue"):
            raise InvalidArgument("TaskQueue is not provided")
        options.task_queue.name = given.task_queue.name


def _take_part(
    options: ActivityOptions,
    given: ActivityOptions,
    paths: AbstractSet[str],
    part: str,
    name: str,
    fields: dict[str, str],
) -> None:
    if camel_case(part) in paths:
        _take(options, given, part)
    for path, field in fields.items():
        if path in paths:
            if not given.HasField(part):  # type: ignore[arg-type]  # the stub wants a literal
                raise InvalidArgument(f"{name} is not provided")
            _take(getattr(options, part), getattr(given, part), field)


def _take(target: Any, source: Any, field: str) -> None:
    """`field` of `source` in `target`; unset is a value too."""
    if target.DESCRIPTOR.fields_by_name[field].message_type is None:
        setattr(target, field, getattr(source, field))
        target.SetInParent()
    elif source.HasField(field):
        getattr(target, field).CopyFrom(getattr(source, field))
    else:
        target.ClearField(field)


def _check_intervals(policy: RetryPolicy) -> None:
    """A policy that is replaced as a whole may leave out what it likes, but time doesn't run backwards."""
    for name, field in _INTERVALS:
        if fault := duration_fault(getattr(policy, field)):
            raise InvalidArgument(f"invalid {name} set on retry policy: {fault}")


def _complete_timeouts(options: ActivityOptions, activity: Activity) -> None:
    given = ScheduleActivityTaskCommandAttributes(
        activity_id=activity.activity_id,
        schedule_to_close_timeout=options.schedule_to_close_timeout,
        schedule_to_start_timeout=options.schedule_to_start_timeout,
        start_to_close_timeout=options.start_to_close_timeout,
        heartbeat_timeout=options.heartbeat_timeout,
    )
    given.activity_type.name = activity.activity_type
    for field, timeout in zip(_TIMEOUTS.values(), timeouts(given, 0), strict=True):
        getattr(options, field).CopyFrom(timeout)
