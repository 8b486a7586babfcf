"""UpdateWorkflowOptions: an operator changes priority, versioning override or time skipping of an open run.

What changes nothing writes nothing. The paths of the mask were checked against the API by the caller. Source: the
reference (`updateworkflowoptions/api.go`). Like there, a priority can be changed, and not be taken away.
"""

from typing import Literal

from temporalio.api.common.v1 import Priority
from temporalio.api.history.v1 import WorkflowExecutionOptionsUpdatedEventAttributes
from temporalio.api.workflow.v1 import WorkflowExecutionOptions, WorkflowExecutionVersioningInfo
from temporalio.api.workflowservice.v1 import (
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
)

from perdure.base.errors import FailedPrecondition, InvalidArgument
from perdure.workflow.close import show
from perdure.workflow.decide import Work, decides
from perdure.workflow.draft import Draft
from perdure.workflow.intervention_requests import UpdateOptions
from perdure.workflow.lookup import open_draft
from perdure.workflow.state import Run
from perdure.workflow.time_skipping import effective
from perdure.workflow.versioning import behavior_name, check_override, kept_override

_FAULT = "error applying update_options: {}"
_OLD_PARTS = ("versioning_override.behavior", "versioning_override.deployment")
_TIME: Literal["time_skipping_config"] = "time_skipping_config"
_PRIORITY_PARTS = ("priority_key", "fairness_key", "fairness_weight")


@decides(UpdateOptions)
def update_options(work: Work, request: UpdateOptions) -> UpdateWorkflowExecutionOptionsResponse:
    """Merge what the mask names into the run's options."""
    asked = request.request
    draft = open_draft(work, asked.workflow_execution.run_id)
    run = draft.run
    if asked.workflow_execution_options.HasField("versioning_override"):
        _check_override(run, asked)
    return UpdateWorkflowExecutionOptionsResponse(workflow_execution_options=change_options(draft, asked))


def change_options(draft: Draft, asked: UpdateWorkflowExecutionOptionsRequest) -> WorkflowExecutionOptions:
    """Merge them into those of an open run; what it has then. Raises InvalidArgument."""
    before = _options(draft.run)
    merged = _merged(before, asked)
    reconfigured = _reconfigures(before, merged, asked)
    if merged == before and not reconfigured:
        return merged
    attributes = WorkflowExecutionOptionsUpdatedEventAttributes(
        identity=asked.identity, unset_versioning_override=not merged.HasField("versioning_override")
    )
    if merged.HasField("versioning_override"):
        attributes.versioning_override.CopyFrom(kept_override(merged.versioning_override))
    if merged.HasField("priority"):
        attributes.priority.CopyFrom(merged.priority)
    if merged.HasField("time_skipping_config"):
        attributes.time_skipping_config.CopyFrom(merged.time_skipping_config)
    attributes.time_skipping_config_updated = reconfigured
    draft.add(attributes, worker_may_ignore=True)
    show(draft)
    return merged


def _check_override(run: Run, asked: UpdateWorkflowExecutionOptionsRequest) -> None:
    override = asked.workflow_execution_options.versioning_override
    if override.pinned.behavior and not override.pinned.HasField("version"):
        raise FailedPrecondition(
            f"must specify a specific pinned override version because workflow with id {run.durable.workflow_id} has "
            f"behavior {behavior_name(run.facts.versioning)} and is not yet pinned to any version"
        )
    check_override(override, run.facts.task_queue)


def _reconfigures(
    before: WorkflowExecutionOptions, merged: WorkflowExecutionOptions, asked: UpdateWorkflowExecutionOptionsRequest
) -> bool:
    """Whether time skipping begins anew: with another configuration, or with the same fast-forward from now on."""
    if _TIME not in asked.update_mask.paths:
        return False
    if asked.workflow_execution_options.time_skipping_config.HasField("fast_forward_config"):
        return True
    had, has = before.HasField(_TIME), merged.HasField(_TIME)
    return had != has or before.time_skipping_config != merged.time_skipping_config


def _options(run: Run) -> WorkflowExecutionOptions:
    """What the run has now."""
    options = WorkflowExecutionOptions()
    if run.facts.versioning:
        info = WorkflowExecutionVersioningInfo.FromString(run.facts.versioning)
        options.versioning_override.CopyFrom(info.versioning_override)
    if run.facts.priority:
        options.priority.CopyFrom(Priority.FromString(run.facts.priority))
    skipping = run.facts.time_skipping
    if skipping is not None and skipping.config is not None:
        options.time_skipping_config.CopyFrom(effective(skipping))
    return options


def _merged(before: WorkflowExecutionOptions, asked: UpdateWorkflowExecutionOptionsRequest) -> WorkflowExecutionOptions:
    given, paths = asked.workflow_execution_options, set(asked.update_mask.paths)
    merged = WorkflowExecutionOptions()
    merged.CopyFrom(before)
    old = [path in paths for path in _OLD_PARTS]
    if any(old) and not all(old):
        raise InvalidArgument(_FAULT.format("versioning_override fields must be updated together"))
    if any(path.startswith("versioning_override.") and path not in _OLD_PARTS for path in paths):
        raise InvalidArgument(_FAULT.format("versioning_override doesn't support partial updates"))
    if "versioning_override" in paths or any(old):
        merged.ClearField("versioning_override")
        if given.HasField("versioning_override"):
            merged.versioning_override.CopyFrom(given.versioning_override)
    if any(path.startswith(f"{_TIME}.") for path in paths):
        raise InvalidArgument(_FAULT.format("time_skipping_config doesn't support partial update"))
    if _TIME in paths:
        merged.ClearField(_TIME)
        if given.HasField(_TIME):
            merged.time_skipping_config.CopyFrom(given.time_skipping_config)
    if "priority" in paths:
        merged.ClearField("priority")
        if given.HasField("priority"):
            merged.priority.CopyFrom(given.priority)
    for part in _PRIORITY_PARTS:
        if f"priority.{part}" in paths:
            merged.priority.SetInParent()
            setattr(merged.priority, part, getattr(given.priority, part))
    return merged
