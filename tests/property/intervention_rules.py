"""Rules about operators: runs are paused, go on, and get other options."""

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from perdure.workflow.core import visibility_row
from perdure.workflow.intervention_requests import PauseWorkflow, UnpauseWorkflow, UpdateOptions
from perdure.workflow.outstanding import outstanding
from perdure.workflow.tasks import Offer
from tests.property.rules import Draw, rule
from tests.transcripts.stage import Stage

_PATHS = ["priority", "priority.priority_key", "priority.fairness_key", "versioning_override"]


@rule
def pauses(stage: Stage, draw: Draw) -> None:
    stage.decide(PauseWorkflow(PauseWorkflowExecutionRequest(request_id=draw.of(["a", "b", ""]))))
    for run in stage.chain.runs.values():
        if run.is_open and run.durable.paused:
            assert not [task for task in outstanding(run) if isinstance(task, Offer)]
            task = run.workflow_task
            assert task is None or task.started_event_id
            assert task is not None or not run.durable.buffered
            assert "TemporalPauseInfo" in visibility_row(run).search_attributes


@rule
def unpauses(stage: Stage, draw: Draw) -> None:
    stage.decide(UnpauseWorkflow(UnpauseWorkflowExecutionRequest()))


@rule
def changes_options(stage: Stage, draw: Draw) -> None:
    options = WorkflowExecutionOptions(
        priority=Priority(priority_key=draw.of([0, 1, 5]), fairness_key=draw.of(["", "k"]))
    )
    if draw.of([False, True]):
        options.versioning_override.CopyFrom(VersioningOverride(auto_upgrade=draw.of([True, True, False])))
    request = UpdateWorkflowExecutionOptionsRequest(
        workflow_execution=WorkflowExecution(workflow_id="wf"),
        workflow_execution_options=options,
        update_mask=FieldMask(paths=draw.several(_PATHS, 3)),
    )
    stage.decide(UpdateOptions(request))
