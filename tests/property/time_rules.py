"""Rules about the time of runs: it is skipped or not, forwarded, and left as it is."""

from temporalio.api.common.v1 import FastForwardConfig, TimeSkippingConfig, WorkflowExecution
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionTimeSkippingRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from perdure.base.clock import SECOND_NS, to_duration
from perdure.workflow.intervention_requests import UpdateOptions
from perdure.workflow.time_skipping_requests import PollForward
from tests.property.rules import Draw, rule
from tests.transcripts.scenarios import start
from tests.transcripts.stage import Stage

_WF = WorkflowExecution(workflow_id="wf")


def configuration(draw: Draw) -> TimeSkippingConfig:
    """Any legal one."""
    config = TimeSkippingConfig(
        enabled=draw.of([True, True, True, False]),
        max_session_skip_count=draw.of([1, 2, 200]),
        disable_propagation=draw.of([False, True]),
    )
    seconds = draw.of([0, 0, 3, 40])
    if config.enabled and seconds:
        config.fast_forward_config.CopyFrom(FastForwardConfig(id="ff", duration=to_duration(seconds * SECOND_NS)))
    return config


@rule
def starts_ahead_of_time(stage: Stage, draw: Draw) -> None:
    stage.decide(start(draw.of(["a", "b", "c"]), time_skipping_config=configuration(draw)))


@rule
def changes_how_time_goes(stage: Stage, draw: Draw) -> None:
    options = WorkflowExecutionOptions()
    if draw.of([True, True, True, False]):
        options.time_skipping_config.CopyFrom(configuration(draw))
    request = UpdateWorkflowExecutionOptionsRequest(workflow_execution=_WF, workflow_execution_options=options)
    request.update_mask.paths.append("time_skipping_config")
    stage.decide(UpdateOptions(request))


@rule
def asks_for_the_forward(stage: Stage, draw: Draw) -> None:
    stage.decide(PollForward(PollWorkflowExecutionTimeSkippingRequest(workflow_execution=_WF, fast_forward_id="ff")))
