"""What a start becomes, for every pair of policies and every outcome of the former run, of both kinds of start."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import (
    ParentClosePolicy,
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest, SignalWithStartWorkflowExecutionRequest

from perdure.base.errors import WorkflowAlreadyStarted
from perdure.workflow.evolve import attributes_of
from perdure.workflow.intervention_requests import PauseWorkflow
from perdure.workflow.new_run import Origin
from perdure.workflow.requests import SignalWithStart, StartChild
from tests.transcripts.scenarios import command, done, start, terminate
from tests.transcripts.stage import Stage

_NEW, _OLD, _REFUSED, _REPLACED = "new", "old", "refused", "replaced"
_OPEN = ("running", "paused", "continued")
_UNSUCCESSFUL = ("failed", "canceled", "terminated", "timed out")
# Over an open run the conflict policy decides, over a closed one the reuse policy; "-" is the kind's own default.
_OVER_OPEN = {"FAIL": _REFUSED, "USE_EXISTING": _OLD, "TERMINATE_EXISTING": _REPLACED}
_OVER_COMPLETED = {"ALLOW_DUPLICATE": _NEW, "ALLOW_DUPLICATE_FAILED_ONLY": _REFUSED, "REJECT_DUPLICATE": _REFUSED}
_OVER_UNSUCCESSFUL = {**_OVER_COMPLETED, "ALLOW_DUPLICATE_FAILED_ONLY": _NEW}
_REUSES = ("-", "ALLOW_DUPLICATE", "ALLOW_DUPLICATE_FAILED_ONLY", "REJECT_DUPLICATE", "TERMINATE_IF_RUNNING")
_CONFLICTS = ("-", "FAIL", "USE_EXISTING", "TERMINATE_EXISTING")
# Refused before the core is asked.
_SENSELESS = {("TERMINATE_IF_RUNNING", conflict) for conflict in _CONFLICTS[1:]}
_SENSELESS |= {("REJECT_DUPLICATE", "TERMINATE_EXISTING")}


def _expected(outcome: str, reuse: str, conflict: str, *, signals: bool) -> str:
    if reuse == "TERMINATE_IF_RUNNING":
        reuse, conflict = "ALLOW_DUPLICATE", "TERMINATE_EXISTING"
    if outcome in _OPEN:
        return _OVER_OPEN["USE_EXISTING" if conflict == "-" and signals else conflict.replace("-", "FAIL")]
    table = _OVER_UNSUCCESSFUL if outcome in _UNSUCCESSFUL else _OVER_COMPLETED
    return _NEW if outcome == "never" else table[reuse.replace("-", "ALLOW_DUPLICATE")]


def _begin(outcome: str) -> Stage:
    stage = Stage()
    if outcome == "never":
        return stage
    stage.do(start("first", workflow_run_timeout=Duration(seconds=60)))
    ends: dict[str, Any] = {
        "completed": done(),
        "failed": command("FAIL_WORKFLOW_EXECUTION", failure=Failure(message="no")),
        "canceled": command("CANCEL_WORKFLOW_EXECUTION"),
        "continued": command("CONTINUE_AS_NEW_WORKFLOW_EXECUTION"),
    }
    if outcome in ends:
        stage.poll()
        stage.complete(ends[outcome])
    elif outcome == "terminated":
        stage.do(terminate())
    elif outcome == "timed out":
        stage.advance(61)
    elif outcome == "paused":
        stage.do(PauseWorkflow(PauseWorkflowExecutionRequest(workflow_id="wf")))
    return stage


def _request(reuse: str, conflict: str, *, signals: bool) -> Any:
    policies: dict[str, Any] = {
        "workflow_id_reuse_policy": (
            0 if reuse == "-" else WorkflowIdReusePolicy.Value(f"WORKFLOW_ID_REUSE_POLICY_{reuse}")
        ),
        "workflow_id_conflict_policy": (
            0 if conflict == "-" else WorkflowIdConflictPolicy.Value(f"WORKFLOW_ID_CONFLICT_POLICY_{conflict}")
        ),
    }
    if not signals:
        return start("second", **policies)
    fields: dict[str, Any] = {"workflow_id": "wf", "request_id": "second", "signal_name": "go", **policies}
    fields |= {"workflow_type": WorkflowType(name="flow"), "task_queue": TaskQueue(name="queue")}
    return SignalWithStart(SignalWithStartWorkflowExecutionRequest(**fields))


def _outcome(stage: Stage, request: Any) -> str:
    former = stage.chain.current
    try:
        reply = stage.do(request)
    except WorkflowAlreadyStarted:
        return _REFUSED
    if not reply.started:
        assert former is not None
        assert reply.run_id == former.run_id
        return _OLD
    assert former is None or reply.run_id != former.run_id
    if former is None or former.status != WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING:
        return _NEW
    assert stage.chain.runs[former.run_id].facts.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED
    return _REPLACED


@pytest.mark.parametrize("signals", [False, True])
@pytest.mark.parametrize("outcome", ["never", "completed", *_OPEN, *_UNSUCCESSFUL])
def test_every_pair_of_policies(outcome: str, signals: bool) -> None:
    pairs = [(reuse, conflict) for reuse in _REUSES for conflict in _CONFLICTS if (reuse, conflict) not in _SENSELESS]
    assert len(pairs) == 16
    found = {}
    for reuse, conflict in pairs:
        stage = _begin(outcome)
        found[reuse, conflict] = _outcome(stage, _request(reuse, conflict, signals=signals))
        if found[reuse, conflict] != _REFUSED:
            assert stage.run.facts.signal_count == signals
    assert found == {pair: _expected(outcome, *pair, signals=signals) for pair in pairs}


def test_a_run_that_a_child_replaces_says_by_which() -> None:
    stage = _begin("running")
    old = stage.run.run_id
    request = _request("TERMINATE_IF_RUNNING", "-", signals=False).request
    stage.do(StartChild(request, Origin(run_id="child-run"), ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON))
    terminated = attributes_of(stage.histories[old][-1])
    assert terminated.details.payloads[0].data == b'"terminated by new runID: child-run"'
    assert stage.run.run_id == "child-run"


def test_a_repeated_start_is_told_that_its_run_is_paused() -> None:
    reply = _begin("paused").do(start("first"))
    assert reply.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED
