"""Options that an operator changes: what they act on, and what changes nothing."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Priority, WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
)

from perdure.base.errors import FailedPrecondition, InvalidArgument
from perdure.workflow.core import visibility_row
from perdure.workflow.intervention_requests import UpdateOptions
from perdure.workflow.outstanding import outstanding
from perdure.workflow.requests import Describe
from perdure.workflow.tasks import Offer
from tests.transcripts.activity_scenarios import activity
from tests.transcripts.scenarios import start
from tests.transcripts.stage import Stage

_AUTO = VersioningOverride(auto_upgrade=True)
_PINNED = VersioningOverride(
    pinned=VersioningOverride.PinnedOverride(
        behavior=VersioningOverride.PINNED_OVERRIDE_BEHAVIOR_PINNED,
        version=WorkerDeploymentVersion(deployment_name="ship", build_id="one"),
    )
)
_EXECUTION = WorkflowExecution(workflow_id="wf")


def _update(*paths: str, **options: Any) -> UpdateOptions:
    return UpdateOptions(
        UpdateWorkflowExecutionOptionsRequest(
            workflow_execution=_EXECUTION,
            workflow_execution_options=WorkflowExecutionOptions(**options),
            update_mask=FieldMask(paths=paths),
        )
    )


def _began(**fields: Any) -> Stage:
    stage = Stage()
    stage.do(start(**fields))
    return stage


def test_what_waits_in_a_queue_gets_the_new_priority() -> None:
    stage = _began(priority=Priority(priority_key=4, fairness_key="k"))
    stage.poll()
    stage.complete(activity())
    reply: UpdateWorkflowExecutionOptionsResponse = stage.do(
        _update("priority.priority_key", priority=Priority(priority_key=1, fairness_key="not in the mask"))
    )
    assert reply.workflow_execution_options.priority == Priority(priority_key=1, fairness_key="k")
    offers = [task for task in outstanding(stage.run) if isinstance(task, Offer)]
    assert [(offer.priority, offer.fairness_key) for offer in offers] == [(1, "k")]


@pytest.mark.parametrize(
    "request_", [_update(), _update("priority", priority=Priority(priority_key=4)), _update("versioning_override")]
)
def test_what_changes_nothing_writes_nothing(request_: UpdateOptions) -> None:
    stage = _began(priority=Priority(priority_key=4))
    decision = stage.decide(request_)
    assert decision.record is None
    assert decision.reply.workflow_execution_options.priority.priority_key == 4


def test_an_override_comes_and_goes() -> None:
    stage = _began()
    ask = Describe(DescribeWorkflowExecutionRequest(execution=_EXECUTION))
    assert not stage.do(ask).workflow_execution_info.HasField("versioning_info")
    old = VersioningOverride(behavior=VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE)
    stage.do(_update("versioning_override", versioning_override=old))
    attributes = stage.history[-1].workflow_execution_options_updated_event_attributes
    assert attributes.versioning_override == _AUTO, "in the newest words, whatever the caller's were"
    assert stage.decide(_update("versioning_override", versioning_override=_AUTO)).record is None
    row = visibility_row(stage.run)
    assert (row.version, set(row.search_attributes)) == (2, {"TemporalWorkflowVersioningBehavior"})
    stage.poll()
    stage.complete()
    assert "BuildIds" not in stage.run.facts.search_attributes
    stage.do(_update("versioning_override"))
    assert stage.history[-1].workflow_execution_options_updated_event_attributes.unset_versioning_override
    info = stage.do(ask).workflow_execution_info
    assert info.HasField("versioning_info")
    assert not info.versioning_info.HasField("versioning_override")
    assert set(info.search_attributes.indexed_fields) == {"BuildIds"}


def test_no_run_is_pinned_to_a_version_that_does_not_exist() -> None:
    stage = _began()
    with pytest.raises(FailedPrecondition, match="Pinned version 'ship:one' is not present in task queue 'queue'"):
        stage.do(_update("versioning_override", versioning_override=_PINNED))
    nothing = VersioningOverride(pinned=VersioningOverride.PinnedOverride(behavior=_PINNED.pinned.behavior))
    with pytest.raises(FailedPrecondition, match="has behavior Unspecified and is not yet pinned"):
        stage.do(_update("versioning_override", versioning_override=nothing))


@pytest.mark.parametrize("path", ["behavior", "deployment", "auto_upgrade"])
def test_an_override_is_changed_as_a_whole(path: str) -> None:
    stage = _began()
    with pytest.raises(InvalidArgument, match=r"^error applying update_options: versioning_override "):
        stage.do(_update(f"versioning_override.{path}", versioning_override=_AUTO))
