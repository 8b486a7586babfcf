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
    run = draft.run
    points = ResetPoints.FromString(run.durable.auto_reset_points)
    checksum = answer.binary_checksum
    attributes = event.workflow_task_completed_event_attributes
    build_id = attributes.deployment_version.build_id or answer.worker_version_stamp.build_id
    if any(point.binary_checksum == checksum and point.build_id == build_id for point in points.points):
        return
    point = ResetPointInfo(
        binary_checksum=checksum,
        build_id=build_id,
        run_id=run.run_id,
        first_workflow_task_completed_id=event.event_id,
        create_time=event.event_time,
        resettable=True,
    )
    kept = [*points.points, point][-_POINTS_MAX:]
    draft.assign("auto_reset_points", ResetPoints(points=kept).SerializeToString())


def handed_on(run: Run, retention_ns: int) -> bytes:
    """The points (encoded ResetPoints) that a closed run leaves to its successor: each while its run is kept."""
    points = ResetPoints()
    for point in ResetPoints.FromString(run.durable.auto_reset_points).points:
        expires_ns = from_timestamp(point.expire_time)
        if expires_ns and expires_ns < run.facts.close_time_ns:
            continue
        if point.run_id == run.run_id:
            point.expire_time.CopyFrom(to_timestamp(run.facts.close_time_ns + retention_ns))
        points.points.append(point)
    return points.SerializeToString()
