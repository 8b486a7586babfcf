"""Transcripts of runs that follow runs: continued as new, tried again, begun again by a schedule."""

from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import (
    Header,
    Link,
    Memo,
    Payload,
    Priority,
    RetryPolicy,
    SearchAttributes,
    WorkflowExecution,
)
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import TerminateWorkflowExecutionRequest

from perdure.workflow.requests import DeleteRun, Terminate
from tests.transcripts.activity_scenarios import Note, activity, begin, details, failure, seconds, timer
from tests.transcripts.scenarios import cancel, command, done, scenario, signal, start, terminate
from tests.transcripts.stage import Stage


def continue_as_new(**attributes: Any) -> Command:
    """ContinueAsNewWorkflowExecution."""
    return command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION", **attributes)


def fail(message: str = "broken", **info: Any) -> Command:
    """The workflow fails."""
    return command("FAIL_WORKFLOW_EXECUTION", failure=failure(message, **info))


def policy(initial: float = 1, **fields: Any) -> RetryPolicy:
    """A complete policy whose interval doubles."""
    return RetryPolicy(
        initial_interval=seconds(initial), backoff_coefficient=2, maximum_interval=seconds(100), **fields
    )


def rest(stage: Stage) -> None:
    """The current run's first task is polled as soon as it is there."""
    if not stage.offers():
        stage.now_ns = stage.run.durable.execution_time_ns
        stage.advance(0)
    stage.poll()


@scenario
def continuing_as_new(stage: Stage, note: Note) -> None:
    link = Link(batch_job=Link.BatchJob(job_id="job"))
    stage.decide(start(links=[link], workflow_execution_timeout=seconds(100), priority=Priority(priority_key=2)))
    stage.poll()
    stage.complete(activity(), timer("t", 50))
    stage.decide(signal())
    stage.advance(3)
    stage.poll()
    first = stage.run.run_id
    note("what was pending ends with its run, and all of this is one record")
    stage.complete(continue_as_new(input=details("in")))
    note("the run before is closed, the chain's end stays what it was")
    stage.decide(signal("late", run_id=first))
    stage.decide(signal())
    stage.decide(start())
    stage.decide(start("other", workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL))
    stage.poll()
    stage.advance(100)


@scenario
def continuing_as_new_with_everything(stage: Stage, note: Note) -> None:
    payload = Payload(data=b'"x"')
    begin(
        stage,
        continue_as_new(
            workflow_type={"name": "next"},
            task_queue={"name": "elsewhere"},
            input=details("in"),
            workflow_run_timeout=seconds(30),
            workflow_task_timeout=seconds(5),
            backoff_start_interval=seconds(7),
            failure=Failure(message="before"),
            last_completion_result=details("result"),
            cron_schedule="@every 10s",
            retry_policy=RetryPolicy(maximum_attempts=3),
            header=Header(fields={"h": payload}),
            memo=Memo(fields={"m": payload, "unset": Payload()}),
        ),
    )
    note("the policy of the new run")
    rest(stage)
    stage.complete(fail())
    rest(stage)
    note("and its schedule")
    stage.complete(done())
    stage.decide(DeleteRun(stage.run.facts.first_run_id))


@scenario
def continuing_as_new_at_once(stage: Stage, note: Note) -> None:
    begin(stage, continue_as_new())
    note("a signal does not end the pause, a wish to end does")
    stage.decide(signal())
    stage.advance(1)
    stage.poll()
    stage.complete(continue_as_new())
    stage.decide(cancel())
    stage.poll()
    stage.complete(command("CANCEL_WORKFLOW_EXECUTION"))


@scenario
def continuing_as_new_is_refused(stage: Stage, note: Note) -> None:
    for number, attributes in enumerate(
        (
            {"workflow_run_timeout": seconds(-1)},
            {"task_queue": {"name": "/_sys/x"}},
            {"retry_policy": RetryPolicy(backoff_coefficient=0.5)},
            {"search_attributes": SearchAttributes(indexed_fields={"Unknown": Payload(data=b'"x"')})},
        )
    ):
        begin(stage, continue_as_new(**attributes), request_id=f"start {number}")
        stage.decide(terminate())
    stage.decide(start())
    stage.poll()
    note("a signal that the worker has not seen")
    stage.decide(signal())
    stage.complete(continue_as_new())


@scenario
def a_workflow_is_tried_again(stage: Stage, note: Note) -> None:
    stage.decide(
        start(
            input=details("in"),
            retry_policy=policy(maximum_attempts=3),
            memo=Memo(fields={"m": Payload(data=b"1")}),
            workflow_start_delay=seconds(5),
        )
    )
    rest(stage)
    stage.complete(fail("first"))
    note("signals wait for the second attempt")
    stage.decide(signal())
    rest(stage)
    stage.complete(fail("second", next_retry_delay=seconds(9)))
    rest(stage)
    note("three are enough")
    stage.complete(fail("third"))


@scenario
def failures_that_are_not_tried_again(stage: Stage, note: Note) -> None:
    begin(stage, fail("once", type="Fatal"), retry_policy=policy(non_retryable_error_types=["Fatal"]))
    begin(stage, fail("once", non_retryable=True), request_id="second", retry_policy=policy())
    note("no time is left for another attempt")
    begin(stage, fail(), retry_policy=policy(20), workflow_execution_timeout=seconds(10), request_id="third")


@scenario
def a_run_times_out_and_is_tried_again(stage: Stage, note: Note) -> None:
    limits = {"workflow_run_timeout": seconds(4), "workflow_execution_timeout": seconds(7)}
    stage.decide(start(retry_policy=policy(), **limits))
    stage.poll()
    stage.advance(4)
    note("the second attempt has the rest of the execution's time")
    rest(stage)
    stage.advance(4)


@scenario
def a_schedule_goes_on(stage: Stage, note: Note) -> None:
    stage.decide(start(cron_schedule="* * * * *", retry_policy=policy(maximum_attempts=2), input=details("in")))
    rest(stage)
    stage.complete(done())
    note("a failed run is tried again first, then the schedule goes on with the last result")
    rest(stage)
    stage.complete(fail("first"))
    rest(stage)
    stage.advance(70)
    stage.complete(fail("second"))
    rest(stage)
    note("a cancelled run is the last one")
    stage.decide(cancel())
    stage.complete()
    stage.poll()
    stage.complete(command("CANCEL_WORKFLOW_EXECUTION"))


@scenario
def a_schedule_ends_with_its_execution(stage: Stage, note: Note) -> None:
    limits = {"workflow_run_timeout": seconds(4), "workflow_execution_timeout": seconds(15)}
    stage.decide(start(cron_schedule="@every 10s", last_completion_result=details("before"), **limits))
    rest(stage)
    stage.advance(4)
    note("the next run never begins")
    stage.advance(20)


@scenario
def a_chain_is_terminated(stage: Stage, note: Note) -> None:
    begin(stage, continue_as_new())
    first = stage.run.facts.first_run_id
    execution = WorkflowExecution(workflow_id="wf", run_id=first)
    note("by a run that is closed, by another chain, by the first run of this one")
    stage.decide(Terminate(TerminateWorkflowExecutionRequest(workflow_execution=execution)))
    for first_id in ("another", first):
        request = TerminateWorkflowExecutionRequest(workflow_execution=execution, first_execution_run_id=first_id)
        stage.decide(Terminate(request))


@scenario
def a_chain_makes_room(stage: Stage, note: Note) -> None:
    begin(stage, fail(), retry_policy=policy(5))
    note("the next attempt waits, and counts as running")
    stage.decide(start("second"))
    terminating = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    stage.decide(start("third", workflow_id_conflict_policy=terminating))
