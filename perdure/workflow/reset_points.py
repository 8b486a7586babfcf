"""Auto-reset points: where a run could be reset to, one for each build that worked on it."""

from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import ResetPointInfo, ResetPoints
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.workflow.draft import Draft

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
