"""Transcripts of runs whose time is skipped: what is written, and that timers are asked for in the shard's time."""

from typing import Any

from temporalio.api.common.v1 import FastForwardConfig, TimeSkippingConfig, WorkflowExecution
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionOptionsRequest

from perdure.workflow.intervention_requests import UpdateOptions
from tests.transcripts.activity_scenarios import Note, seconds, timer
from tests.transcripts.scenarios import command, done, scenario, signal, start
from tests.transcripts.stage import Stage


def config(**fields: Any) -> TimeSkippingConfig:
    """One that is on."""
    return TimeSkippingConfig(**{"enabled": True, "max_session_skip_count": 200, **fields})


@scenario
def skipping_a_timer(stage: Stage, note: Note) -> None:
    stage.decide(start(time_skipping_config=config(), workflow_run_timeout=seconds(1000)))
    stage.poll()
    stage.advance(2)
    note("the timer of 100 s is due now, and the timeout sooner by as much")
    stage.complete(timer("t", 100), timer("u", 500))
    stage.advance(0)
    stage.poll()
    note("while a task is started nothing is skipped; the other timer follows with its end")
    stage.advance(1)
    stage.decide(signal())
    stage.complete()
    stage.poll()
    stage.complete()
    stage.advance(0)
    stage.poll()
    stage.complete(command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION"))
    note("the next run is as far ahead")
    stage.poll()
    stage.complete(done())


@scenario
def skipping_by_options(stage: Stage, note: Note) -> None:
    stage.decide(start())
    stage.poll()
    request = UpdateWorkflowExecutionOptionsRequest(
        workflow_execution=WorkflowExecution(workflow_id="wf"),
        workflow_execution_options=WorkflowExecutionOptions(
            time_skipping_config=config(fast_forward_config=FastForwardConfig(id="ff", duration=seconds(30)))
        ),
        identity="operator",
    )
    request.update_mask.paths.append("time_skipping_config")
    note("buffered, and effective at once: the fast-forward has its timer")
    stage.decide(UpdateOptions(request))
    stage.advance(5)
    stage.complete(timer("t", 100))
    stage.poll()
    note("its end is 25 s away, and the timer that follows keeps the rest of its time")
    stage.complete()
    stage.advance(75)
