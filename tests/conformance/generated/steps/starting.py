"""Steps that begin runs: start, and signal with start, with every option that shapes a run."""

from __future__ import annotations

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.sdk.v1 import user_metadata_pb2 as metadata
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.case import Case, Fields, Flow, action
from tests.conformance.harness.payloads import (
    duration,
    header,
    memo,
    payload,
    payloads,
    retry_policy,
    search_attributes,
)
from tests.conformance.harness.session import CLIENT, NAMESPACE

TOPS = ("a", "b", "c")
HOUR = 3600.0
SHORT_TASK_SECONDS = 2
TASK_SECONDS = 100


def run_options(case: Case) -> Fields:
    """Options of a run that a start and others share; seldom short ones, and very seldom bad ones."""
    fields = {**case.fields(_LASTING), **case.fields(_LASTING)}
    return fields if not case.rarely(4) else {**fields, **case.fields(_SHORT if not case.rarely(5) else _BAD)}


_LASTING: list[Fields] = [
    {},
    {"memo": memo(note="n")},
    {"search_attributes": search_attributes(CustomKeywordField="word")},
    {"retry_policy": retry_policy(0.2, attempts=2)},
    {"header": header(trace="t")},
    {"input": payloads("in")},
    {"workflow_run_timeout": duration(HOUR)},
    {"workflow_execution_timeout": duration(2 * HOUR)},
    {"retry_policy": retry_policy(HOUR)},
    {"priority": common.Priority(priority_key=2, fairness_key="fair")},
    {"user_metadata": metadata.UserMetadata(summary=payload("summary"))},
    {"workflow_task_timeout": duration(HOUR)},
    {},
]
_SHORT: list[Fields] = [
    {"workflow_task_timeout": duration(SHORT_TASK_SECONDS)},
    {"workflow_run_timeout": duration(1.5)},
    {"workflow_start_delay": duration(0.5)},
    {"workflow_task_timeout": duration(SHORT_TASK_SECONDS)},
    {"retry_policy": retry_policy(0.2, attempts=3), "workflow_run_timeout": duration(1)},
    {"workflow_start_delay": duration(HOUR)},
    {"workflow_execution_timeout": duration(1.5)},
]
_BAD: list[Fields] = [
    {"retry_policy": retry_policy(-1)},
    {"search_attributes": search_attributes(Unknown="word")},
    {"workflow_run_timeout": duration(-1)},
    {"workflow_start_delay": duration(-1)},
    {"workflow_task_timeout": duration(-1)},
]


def _policies(case: Case) -> Fields:
    return case.of(
        [
            {},
            {"workflow_id_reuse_policy": 1},
            {"workflow_id_reuse_policy": 2},
            {"workflow_id_conflict_policy": 2},
            {"workflow_id_conflict_policy": 3},
            {"workflow_id_reuse_policy": 3},
            {"workflow_id_reuse_policy": 4},
            {"workflow_id_reuse_policy": 2, "workflow_id_conflict_policy": 2},
            {"workflow_id_reuse_policy": 3, "workflow_id_conflict_policy": 3},
            {"workflow_id_reuse_policy": 4, "workflow_id_conflict_policy": 2},
        ]
    )


def _top(case: Case) -> Flow:
    return case.flow(case.of(TOPS))


def _request_id(case: Case, flow: Flow, verb: str, again: bool) -> str:
    """One never used, or rarely, if it may be used again, that of the former call; the verbs share none."""
    if flow.starts == 0 or not again or not case.rarely(6):
        flow.starts += 1
    return case.session.unique(f"{verb}-{flow.name}-{flow.starts}")


def _plain(case: Case, flow: Flow, fields: Fields) -> Fields:
    flow.tight = flow.tight or fields.get("workflow_task_timeout", duration(HOUR)).seconds == SHORT_TASK_SECONDS
    return {
        "namespace": NAMESPACE,
        "workflow_id": case.session.unique(flow.name),
        "workflow_type": common.WorkflowType(name="flow"),
        "task_queue": case.queue(flow.name),
        "identity": CLIENT,
        # So long that a task that is held over a few steps is not lost on a busy machine.
        "workflow_task_timeout": duration(TASK_SECONDS),
        **fields,
    }


@action(weight=3)
async def start(case: Case, flow: Flow) -> None:
    """Starts a workflow id, whether or not it has a run."""
    flow = _top(case)
    state, info = await case.state(flow)
    case.saw("start", state)
    # See AVOIDED in intended.py.
    again = (
        info is not None and info.workflow_execution_info.execution.run_id == info.workflow_execution_info.first_run_id
    )
    fields = {**run_options(case), **_policies(case)}
    before = flow.starts
    request_id = _request_id(case, flow, "start", again)
    request = ws.StartWorkflowExecutionRequest(**_plain(case, flow, fields), request_id=request_id)
    brief = any(name.endswith("_timeout") and value.seconds < HOUR / 60 for name, value in fields.items())
    # See AVOIDED in intended.py about a start that asks for its task when it is repeated only.
    if case.rarely(8) and not brief and (flow.starts > before or flow.is_eager):
        request.request_eager_execution = True
    flow.is_eager = request.request_eager_execution
    reply = await case.session.attempt(request)
    if reply is not None and reply.eager_workflow_task.task_token:
        flow.task = reply.eager_workflow_task


@action(weight=2)
async def signal_with_start(case: Case, flow: Flow) -> None:
    """Signals a workflow id with start."""
    flow = _top(case)
    state, _ = await case.state(flow)
    case.saw("signal_with_start", state)
    fields = {**_policies(case), **run_options(case)}
    # See AVOIDED in intended.py.
    again = state not in ("closed", "none") and not any(name.startswith("workflow_id_") for name in fields)
    await case.session.attempt(
        ws.SignalWithStartWorkflowExecutionRequest(
            **_plain(case, flow, fields),
            request_id=_request_id(case, flow, "both", again),
            signal_name="hello",
            signal_input=payloads("with start"),
        )
    )
