"""A start that uses the run that is there attaches itself to it: once, with an event, and with its links."""

from typing import Any

from temporalio.api.common.v1 import Link, WorkflowType
from temporalio.api.enums.v1 import EventType, WorkflowIdConflictPolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import OnConflictOptions
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.errors import FailedPrecondition
from perdure.workflow.deciders.start import ATTACHED_MAX
from perdure.workflow.requests import StartWorkflow
from perdure.workflow.state import RequestRecord
from perdure.workflow.steps import encode_record
from tests.unit.workflow.bench import Bench

UPDATED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
LINK = Link(batch_job=Link.BatchJob(job_id="job"))


def start(request_id: str, **options: bool) -> StartWorkflow:
    """A start that uses the run that is there, and attaches what `options` say."""
    return StartWorkflow(
        StartWorkflowExecutionRequest(
            workflow_id="wf",
            workflow_type=WorkflowType(name="flow"),
            task_queue=TaskQueue(name="queue"),
            request_id=request_id,
            workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING,
            on_conflict_options=OnConflictOptions(**options),
            links=[LINK],
        )
    )


def updates(bench: Bench) -> list[Any]:
    return [event for event in bench.events if event.event_type == UPDATED]


def test_a_request_id_is_attached_once_and_found_again() -> None:
    bench = Bench()
    first = bench.do(start("late", attach_request_id=True))
    again = bench.do(start("late", attach_request_id=True))
    assert first == again
    assert not first.started
    assert first.link.workflow_event.request_id_ref.request_id == "late"
    (event,) = updates(bench)
    assert event.worker_may_ignore
    assert not event.links
    assert bench.run.durable.request_ids == {"late": RequestRecord(UPDATED, event.event_id)}


def test_links_are_attached_without_a_request_id() -> None:
    bench = Bench()
    reply = bench.do(start("late", attach_links=True))
    assert reply.link.workflow_event.event_ref.event_id == 1
    (event,) = updates(bench)
    assert list(event.links) == [LINK]
    assert not bench.run.durable.request_ids


def test_what_attaches_during_a_task_gets_its_number_afterwards() -> None:
    bench = Bench()
    bench.task_is_started()
    bench.do(start("late", attach_request_id=True))
    assert bench.run.durable.request_ids == {"late": RequestRecord(UPDATED, 0)}
    bench.command()
    (event,) = updates(bench)
    assert bench.run.durable.request_ids == {"late": RequestRecord(UPDATED, event.event_id)}


def test_only_so_many_attach_themselves_and_no_record_carries_them_all() -> None:
    bench = Bench()
    bench.run.durable.request_ids = {f"late-{number}": RequestRecord(UPDATED, 9) for number in range(ATTACHED_MAX)}
    last = bench.decide(start("last", attach_request_id=True))
    assert last.record is not None
    assert len(encode_record(last.record)) < 1_000
    bench.chain = last.chain
    refused = bench.decide(start("one more", attach_request_id=True))
    assert isinstance(refused.refusal, FailedPrecondition)
    assert bench.do(start("late-0", attach_request_id=True)).run_id == "run"
