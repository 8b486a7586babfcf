"""Which run of a chain a request is for: what has to be loaded before it is decided."""

from collections.abc import Callable
from typing import Any

from perdure.workflow.activity_requests import PauseActivity, ResetActivity, UnpauseActivity, UpdateActivityOptions
from perdure.workflow.intervention_requests import PauseWorkflow, UnpauseWorkflow, UpdateOptions
from perdure.workflow.requests import (
    AbandonQuery,
    BeginQuery,
    CancelActivity,
    CompleteActivity,
    CompleteWorkflowTask,
    DeleteRun,
    Describe,
    ErrandDone,
    FailActivity,
    FailWorkflowTask,
    FireTimer,
    HeartbeatActivity,
    Look,
    PlanErrand,
    RecordCallback,
    RecordChildClosed,
    RecordChildNotStarted,
    RecordChildStarted,
    RecordExternal,
    RequestCancel,
    ResetSticky,
    SignalWithStart,
    SignalWorkflow,
    StartActivityTask,
    StartChild,
    StartWorkflow,
    StartWorkflowTask,
    Terminate,
    WakeChild,
)
from perdure.workflow.reset_requests import PlanReset, Reset
from perdure.workflow.time_skipping_requests import PollForward
from perdure.workflow.update_requests import AdmitUpdate, FindUpdate, StartWithUpdate


def _named(request: Any) -> str:
    return str(request.run_id)


def _offered(request: Any) -> str:
    return str(request.offer.run_id)


def _by_token(request: Any) -> str:
    return str(request.token.run_id)


def _by_ref(request: Any) -> str:
    ref = request.ref
    return str(ref.token.run_id if ref.token is not None else ref.run_id)


def _by_execution(request: Any) -> str:
    return str(request.request.workflow_execution.run_id)


def _described(request: Any) -> str:
    return str(request.request.execution.run_id)


TARGETS: dict[type, Callable[[Any], str]] = {
    StartWorkflow: lambda _: "",
    SignalWithStart: lambda _: "",
    SignalWorkflow: _by_execution,
    RequestCancel: _by_execution,
    Terminate: _by_execution,
    PlanReset: _by_execution,
    Reset: _by_execution,
    Describe: _described,
    PauseWorkflow: lambda request: str(request.request.run_id),
    UpdateOptions: _by_execution,
    UnpauseWorkflow: lambda request: str(request.request.run_id),
    PollForward: _by_execution,
    Look: _named,
    StartWorkflowTask: _offered,
    CompleteWorkflowTask: _by_token,
    FailWorkflowTask: _by_token,
    ResetSticky: _named,
    StartActivityTask: _offered,
    CompleteActivity: _by_ref,
    FailActivity: _by_ref,
    CancelActivity: _by_ref,
    HeartbeatActivity: _by_ref,
    PauseActivity: _described,
    UnpauseActivity: _described,
    ResetActivity: _described,
    UpdateActivityOptions: _described,
    FireTimer: lambda request: str(request.timer.run_id),
    PlanErrand: lambda request: str(request.timer.run_id),
    RecordExternal: lambda request: str(request.timer.run_id),
    ErrandDone: lambda request: str(request.timer.run_id),
    RecordCallback: lambda request: str(request.timer.run_id),
    StartChild: lambda request: str(request.origin.run_id),
    RecordChildStarted: _named,
    RecordChildNotStarted: _named,
    RecordChildClosed: _named,
    WakeChild: _named,
    AdmitUpdate: _by_execution,
    FindUpdate: _named,
    StartWithUpdate: lambda _: "",
    BeginQuery: _named,
    AbandonQuery: _named,
    DeleteRun: _named,
}

# Requests that make new work. Under back-pressure they are refused; whatever finishes work passes.
NEW_WORK = frozenset({StartWorkflow, SignalWithStart, StartWithUpdate, SignalWorkflow, StartChild, Reset})


def runs_of(request: Any) -> tuple[str, ...]:
    """The runs, besides the current one, that have to be loaded: the one that a request names, earlier ones that may
    have taken what another workflow repeats, later ones that a parent was reset to, and the last that was read for a
    reset, which alone may have been open then.
    """
    run_id = TARGETS[type(request)](request)
    named = (run_id,) if run_id else ()
    if isinstance(request, SignalWorkflow | RequestCancel) and request.external is not None:
        return (*named, *request.external.seen)
    if isinstance(request, RecordChildStarted | RecordChildClosed):
        return (*named, *request.seen)
    if isinstance(request, Reset):
        return (*named, request.read.run_id, request.read.last_run_id)
    return named
