"""The names by which requests and replies of `HistoryRole.transact` travel.

Invariant: whatever may be asked of a chain, and whatever it may answer, has exactly one name: that of its class, or of
its message. A name is never used for anything else: what hosts of the last release mean by it, this one does too.
Refuses to know how values are written.
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionResponse,
    PauseActivityResponse,
    PauseWorkflowExecutionResponse,
    PollWorkflowExecutionTimeSkippingResponse,
    RequestCancelWorkflowExecutionResponse,
    ResetActivityResponse,
    ResetStickyTaskQueueResponse,
    ResetWorkflowExecutionResponse,
    RespondWorkflowTaskFailedResponse,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionResponse,
    UnpauseActivityResponse,
    UnpauseWorkflowExecutionResponse,
    UpdateActivityOptionsResponse,
    UpdateWorkflowExecutionOptionsResponse,
)

from perdure.base.errors import Bug
from perdure.workflow import activity_requests as activities
from perdure.workflow import intervention_requests as interventions
from perdure.workflow import requests
from perdure.workflow import reset_requests as resets
from perdure.workflow import time_skipping_requests as skipping
from perdure.workflow import update_requests as updates

_REQUESTS: tuple[type, ...] = (
    requests.StartWorkflow,
    requests.SignalWorkflow,
    requests.SignalWithStart,
    requests.RequestCancel,
    requests.Terminate,
    requests.Describe,
    requests.Look,
    requests.StartWorkflowTask,
    requests.CompleteWorkflowTask,
    requests.FailWorkflowTask,
    requests.ResetSticky,
    requests.StartActivityTask,
    requests.CompleteActivity,
    requests.FailActivity,
    requests.CancelActivity,
    requests.HeartbeatActivity,
    requests.FireTimer,
    requests.PlanErrand,
    requests.RecordExternal,
    requests.RecordCallback,
    requests.ErrandDone,
    requests.StartChild,
    requests.RecordChildStarted,
    requests.RecordChildNotStarted,
    requests.RecordChildClosed,
    requests.WakeChild,
    requests.BeginQuery,
    requests.AbandonQuery,
    requests.DeleteRun,
    updates.AdmitUpdate,
    updates.FindUpdate,
    updates.StartWithUpdate,
    resets.ResetWorkflow,
    resets.PlanReset,
    resets.Reset,
    activities.PauseActivity,
    activities.UnpauseActivity,
    activities.ResetActivity,
    activities.UpdateActivityOptions,
    interventions.PauseWorkflow,
    interventions.UnpauseWorkflow,
    interventions.UpdateOptions,
    skipping.PollForward,
)
_REPLIES: tuple[type, ...] = (
    requests.EarlierRun,
    requests.Seen,
    requests.WorkflowTaskStarted,
    requests.WorkflowTaskCompleted,
    requests.ActivityTaskStarted,
    requests.StartedEagerly,
    requests.HeartbeatRecorded,
    requests.ExternalPlan,
    requests.CallbackPlan,
    requests.Claim,
    requests.QueryPlan,
    updates.UpdateSeen,
    updates.StartedWithUpdate,
    resets.ResetPlan,
    resets.ResetOutdated,
    skipping.ForwardSeen,
    DescribeWorkflowExecutionResponse,
    PauseActivityResponse,
    PauseWorkflowExecutionResponse,
    PollWorkflowExecutionTimeSkippingResponse,
    RequestCancelWorkflowExecutionResponse,
    ResetActivityResponse,
    ResetStickyTaskQueueResponse,
    ResetWorkflowExecutionResponse,
    RespondWorkflowTaskFailedResponse,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionResponse,
    UnpauseActivityResponse,
    UnpauseWorkflowExecutionResponse,
    UpdateActivityOptionsResponse,
    UpdateWorkflowExecutionOptionsResponse,
)


def _names(types: Iterable[type]) -> dict[type, str]:
    names: dict[type, str] = {type(None): ""}
    for type_ in types:
        names[type_] = type_.DESCRIPTOR.full_name if issubclass(type_, Message) else type_.__name__
    return names


_NAMES = _names((*_REQUESTS, *_REPLIES))
# name -> what it is the name of.
NAMED: dict[str, Any] = {name: type_ for type_, name in _NAMES.items()}


def name_of(value: Any) -> str:
    """The name of a value's type. Raises Bug for what has none."""
    name = _NAMES.get(type(value))
    if name is None:
        raise Bug(f"{type(value).__name__} has no name between hosts")
    return name
