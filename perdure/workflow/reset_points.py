"""Auto-reset points: where a chain of runs could be reset to, one for each build that worked on it."""

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import ResetPointInfo, ResetPoints
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.base.clock import from_timestamp, to_timestamp
from perdure.workflow.draft import Draft
from perdure.workflow.state import Run

_POINTS_MAX = 20


def note_reset_point(draft: Draft, event: HistoryEvent, answer: RespondWorkflowTaskCompletedRequest) -> None:
    """Add a point for the first completion by the build that `answer` names; `event` is the completion."""
    points = ResetPoints.FromString(draft.run.durable.auto_reset_points)
    attributes = event.workflow_task_completed_event_attributes
    build_id = attributes.deployment_version.build_id or answer.worker_version_stamp.build_id
    if add_point(points, event, draft.run.run_id, answer.binary_checksum, build_id):
        draft.assign("auto_reset_points", points.SerializeToString())


def add_point(points: ResetPoints, event: HistoryEvent, run_id: str, checksum: str, build_id: str) -> bool:
    """Add a point of a run for a completion, unless that build has one; True if it had none."""
    if any(point.binary_checksum == checksum and point.build_id == build_id for point in points.points):
        return False
    points.points.append(
        ResetPointInfo(
            binary_checksum=checksum,
            build_id=build_id,
            run_id=run_id,
            first_workflow_task_completed_id=event.event_id,
            create_time=event.event_time,
            resettable=True,
        )
    )
    del points.points[:-_POINTS_MAX]
    return True


def handed_on(run: Run, retention_ns: int) -> bytes:
    """The points (encoded ResetPoints) that a closed run leaves to its successor: each while its run is kept."""
    points = ResetPoints()
    closed_ns = run.facts.close_time_ns - run.ahead_ns  # runs are kept for real time
    for point in ResetPoints.FromString(run.durable.auto_reset_points).points:
        expires_ns = from_timestamp(point.expire_time)
        if expires_ns and expires_ns < closed_ns:
            continue
        if point.run_id == run.run_id:
            point.expire_time.CopyFrom(to_timestamp(closed_ns + retention_ns))
        points.points.append(point)
    return points.SerializeToString()
