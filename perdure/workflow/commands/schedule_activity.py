"""The command that schedules an activity: validated, its timeouts and retry policy made complete, and offered.

Timeouts: schedule-to-close stands in for the two others that are missing and bounds them; without it start-to-close is
needed, and the run's timeout stands in for the rest. None exceeds the run's. An eager execution is a request, which may
be ignored. Source: the reference (`chasm/lib/activity/validator.go`, `command_attr_validator.go`).
"""

from temporalio.api.command.v1 import Command, ScheduleActivityTaskCommandAttributes
from temporalio.api.enums.v1 import CommandType, TaskQueueKind, WorkflowTaskFailedCause
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.workflow.activity_timeouts import timeouts
from perdure.workflow.commands import BadCommand, Completion, commands, marks
from perdure.workflow.priorities import priority_fault
from perdure.workflow.retry_policy import check, filled
from perdure.workflow.state import ActivityAttempt
from perdure.workflow.task_queue_names import check_task_queue

_NORMAL = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
_DUPLICATE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_SCHEDULE_ACTIVITY_DUPLICATE_ID
_TOO_MANY = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_ACTIVITIES_LIMIT_EXCEEDED


@commands(CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
def schedule_activity(
    completion: Completion, command: Command, attributes: ScheduleActivityTaskCommandAttributes
) -> None:
    """The activity is scheduled and offered. Raises BadCommand."""
    if not command.HasField("schedule_activity_task_command_attributes"):
        raise BadCommand(_BAD, "ScheduleActivityTaskCommandAttributes is not set on ScheduleActivityTaskCommand.")
    draft = completion.draft
    run, limits = draft.run, draft.context.limits
    try:
        event = _event(attributes, run.facts.run_timeout_ns, run.facts.task_queue, limits)
    except InvalidArgument as fault:
        raise BadCommand(_BAD, fault.message) from fault
    if attributes.use_workflow_build_id and attributes.task_queue.name != run.facts.task_queue:
        raise BadCommand(_BAD, "Activity with UseCompatibleVersion cannot run on different task queue.")
    if attributes.input.ByteSize() > limits.blob_bytes_max:
        message = "ScheduleActivityTaskCommandAttributes.Input exceeds size limit."
        raise BadCommand(_BAD, message, terminate=True)
    pending = len(run.facts.activities)
    if pending >= limits.pending_activities_max:
        limit = limits.pending_activities_max
        message = f"the number of pending activities, {pending}, has reached the per-workflow limit of {limit}"
        raise BadCommand(_TOO_MANY, message)
    if attributes.activity_id in run.facts.activity_ids:
        action = "add-activitytask-scheduled-event"
        details = f"{action}, ActivityID: {attributes.activity_id}"
        raise BadCommand(_DUPLICATE, f"invalid history builder state for action: {details}")
    event.workflow_task_completed_event_id = completion.completed_event_id
    scheduled_event_id = draft.add(event, **marks(command)).event_id
    now_ns = draft.context.now_ns
    fair = draft.context.limits.is_fair(run.facts.activities[scheduled_event_id].task_queue, "Activity")
    attempt = ActivityAttempt(scheduled_time_ns=now_ns, first_scheduled_time_ns=now_ns, fair=fair)
    draft.put("attempts", scheduled_event_id, attempt)
    if attributes.request_eager_execution:
        completion.eager_activities.append(scheduled_event_id)


def _event(
    attributes: ScheduleActivityTaskCommandAttributes, run_timeout_ns: int, workflow_queue: str, limits: Limits
) -> ActivityTaskScheduledEventAttributes:
    """The event's attributes with everything filled in, checked in the reference's order. Raises InvalidArgument."""
    if not attributes.HasField("task_queue"):
        raise InvalidArgument("taskQueue is not set")
    check_task_queue(attributes.task_queue.name, limits.id_bytes_max, parent=workflow_queue)
    if not attributes.activity_id:
        raise InvalidArgument("activityId is not set")
    if not attributes.activity_type.name:
        raise InvalidArgument("activityType is not set")
    policy = filled(attributes.retry_policy, limits, activity=True)
    check(policy)
    for name, text in (("activityId", attributes.activity_id), ("activityType", attributes.activity_type.name)):
        if (length := len(text.encode())) > limits.id_bytes_max:
            raise InvalidArgument(f"{name} exceeds length limit. Length={length} Limit={limits.id_bytes_max}")
    if fault := priority_fault(attributes.priority):
        raise InvalidArgument(f"invalid priorities: {fault}")
    schedule_to_close, schedule_to_start, start_to_close, heartbeat = timeouts(attributes, run_timeout_ns)
    return ActivityTaskScheduledEventAttributes(
        activity_id=attributes.activity_id,
        activity_type=attributes.activity_type,
        task_queue=_queue(attributes.task_queue),
        header=attributes.header if attributes.HasField("header") else None,
        input=attributes.input if attributes.HasField("input") else None,
        schedule_to_close_timeout=schedule_to_close,
        schedule_to_start_timeout=schedule_to_start,
        start_to_close_timeout=start_to_close,
        heartbeat_timeout=heartbeat,
        retry_policy=policy,
        use_workflow_build_id=attributes.use_workflow_build_id,
        priority=attributes.priority if attributes.HasField("priority") else None,
    )


def _queue(given: TaskQueue) -> TaskQueue:
    kind = given.kind or _NORMAL
    return TaskQueue(name=given.name, kind=kind, normal_name=given.normal_name)
