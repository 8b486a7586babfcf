"""The timeouts of an activity, made complete from those that were given.

Used where an activity is scheduled and where its options are changed. Source: the reference
(`chasm/lib/activity/validator.go`).
"""

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import ScheduleActivityTaskCommandAttributes

from perdure.base.clock import to_duration
from perdure.base.errors import InvalidArgument
from perdure.workflow.durations import capped_ns, duration_fault


def timeouts(attributes: ScheduleActivityTaskCommandAttributes, run_timeout_ns: int) -> list[Duration]:
    """[schedule to close, schedule to start, start to close, heartbeat]. Raises InvalidArgument.

    Schedule-to-close stands in for the two others that are missing and bounds them; without it start-to-close is
    needed, and the run's timeout (0 = none) stands in for the rest. None exceeds the run's.
    """
    for name, timeout in (
        ("ScheduleToCloseTimeout", attributes.schedule_to_close_timeout),
        ("ScheduleToStartTimeout", attributes.schedule_to_start_timeout),
        ("StartToCloseTimeout", attributes.start_to_close_timeout),
        ("HeartbeatTimeout", attributes.heartbeat_timeout),
    ):
        if fault := duration_fault(timeout):
            raise InvalidArgument(f"invalid {name}: {fault}")
    schedule_to_close = capped_ns(attributes.schedule_to_close_timeout)
    schedule_to_start = capped_ns(attributes.schedule_to_start_timeout)
    start_to_close = capped_ns(attributes.start_to_close_timeout)
    if schedule_to_close:
        schedule_to_start = min(schedule_to_start or schedule_to_close, schedule_to_close)
        start_to_close = min(start_to_close or schedule_to_close, schedule_to_close)
    elif start_to_close:
        schedule_to_close = run_timeout_ns
        schedule_to_start = schedule_to_start or run_timeout_ns
    else:
        raise InvalidArgument(
            "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. "
            f"ActivityId={attributes.activity_id} ActivityType={attributes.activity_type.name}"
        )
    bound = run_timeout_ns or max(schedule_to_close, schedule_to_start, start_to_close)
    start_to_close = min(start_to_close, bound)
    heartbeat = min(capped_ns(attributes.heartbeat_timeout), start_to_close)
    return [
        to_duration(timeout_ns)
        for timeout_ns in (
            min(schedule_to_close, bound),
            min(schedule_to_start, bound),
            start_to_close,
            heartbeat,
        )
    ]
