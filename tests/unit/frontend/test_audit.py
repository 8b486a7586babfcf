"""What is recorded of which calls, and what never is."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ExecuteMultiOperationRequest,
    PollWorkflowTaskQueueRequest,
    RegisterNamespaceRequest,
    RespondActivityTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from perdure.base.errors import InvalidArgument, NotFound, Unauthorized
from perdure.base.metrics import Metrics
from perdure.base.slots import ChainKey
from perdure.base.tasks import Background
from perdure.cluster.roles import Call
from perdure.frontend.audit import TEXT_MAX, Audit
from perdure.frontend.authorization import Authorization
from perdure.frontend.guards import Guards
from perdure.frontend.measured import GuardMeter
from perdure.rpc.call import CallMeta
from perdure.workflow.tokens import TaskToken, encode_token
from tests.unit.frontend.fakes import HOME, Desk, open_desk
from tests.unit.frontend.test_authorization import CALLERS

SECRET = b"a payload that nobody may see"
EXECUTION = WorkflowExecution(workflow_id="wf", run_id="0a0a0a0a-0000-4000-8000-0000000000aa")


async def audited(*, workers: bool = True, guarded: bool = False) -> Desk:
    authorization = Authorization(CALLERS) if guarded else None
    desk = await open_desk(guards=Guards(authorization, Audit(GuardMeter(), workers=workers)))
    desk.history.reply = b""
    return desk


def terminate(**changes: Any) -> TerminateWorkflowExecutionRequest:
    return TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=EXECUTION, **changes)


async def test_a_call_that_changes_something_is_recorded_with_who_and_what() -> None:
    desk = await audited(guarded=True)
    details = Payloads(payloads=[Payload(data=SECRET)])
    with structlog.testing.capture_logs() as records:
        request = terminate(reason="because", details=details, identity="me@laptop")
        await desk.call(request, CallMeta(authorization="writer", client_name="temporal-cli"))
    assert records == [
        {
            "event": "audit",
            "log_level": "info",
            "logger": "perdure.audit",
            "operation": "TerminateWorkflowExecution",
            "outcome": "OK",
            "subject": "writer",
            "namespace": "default",
            "client": "temporal-cli",
            "workflow_id": "wf",
            "run_id": EXECUTION.run_id,
            "identity": "me@laptop",
        }
    ]


async def test_denied_calls_are_recorded_also_those_that_only_read() -> None:
    desk = await audited(workers=False, guarded=True)
    look = DescribeWorkflowExecutionRequest(namespace="away", execution=EXECUTION)
    poll = PollWorkflowTaskQueueRequest(namespace="away", task_queue=TaskQueue(name="queue"))
    with structlog.testing.capture_logs() as records:
        for request, caller in ((look, "reader"), (poll, "worker"), (look, "nobody"), (look, "forged")):
            with pytest.raises(Unauthorized):
                await desk.call(request, CallMeta(authorization=caller, certificate_names=("cn:shown",)))
        await desk.call(
            DescribeWorkflowExecutionRequest(namespace="default", execution=EXECUTION), CallMeta(authorization="reader")
        )
    shown = [(record["operation"], record["subject"], record["outcome"], record["namespace"]) for record in records]
    assert shown == [
        ("DescribeWorkflowExecution", "reader", "PERMISSION_DENIED", "away"),
        ("PollWorkflowTaskQueue", "worker", "PERMISSION_DENIED", "away"),
        ("DescribeWorkflowExecution", "cn:shown", "PERMISSION_DENIED", "away"),
        ("DescribeWorkflowExecution", "cn:shown", "PERMISSION_DENIED", "away"),
    ]


async def test_outcomes_are_those_of_the_call() -> None:
    desk = await audited()
    desk.history.reply = NotFound("workflow execution already completed")
    with structlog.testing.capture_logs() as records:
        with pytest.raises(NotFound):
            await desk.call(terminate())
        with pytest.raises(InvalidArgument):
            await desk.call(TerminateWorkflowExecutionRequest(namespace="default"))
        desk.history.transact = _broken  # type: ignore[method-assign]  # a fake with a mistake
        with pytest.raises(ZeroDivisionError):
            await desk.call(terminate())
        desk.history.transact = _forever  # type: ignore[method-assign]  # a fake that waits
        calls = Background(lambda error: None)
        task = calls.spawn(desk.call(terminate()))
        await _entered.wait()
        task.cancel()
        await asyncio.wait([task])
    assert [record["outcome"] for record in records] == ["NOT_FOUND", "INVALID_ARGUMENT", "INTERNAL", "CANCELLED"]


async def test_calls_of_workers_are_recorded_where_that_is_wanted() -> None:
    token = encode_token(TaskToken(HOME.id, "wf", "run", 5, 6, activity_id="activity"))
    completed = RespondActivityTaskCompletedRequest(task_token=token, identity="worker")
    for workers in (True, False):
        desk = await audited(workers=workers)
        with structlog.testing.capture_logs() as records:
            await desk.call(completed)
        found = [(one["workflow_id"], one["run_id"], one["activity_id"], one["namespace"]) for one in records]
        assert found == ([("wf", "run", "activity", "default")] if workers else [])


async def test_no_record_holds_a_payload_and_each_is_bounded() -> None:
    desk = await audited()
    payloads = Payloads(payloads=[Payload(data=SECRET)])
    requests = [
        StartWorkflowExecutionRequest(
            namespace="default",
            workflow_id="x" * 100_000,
            workflow_type=WorkflowType(name="type"),
            task_queue=TaskQueue(name="queue" * 10_000),
            input=payloads,
            identity="i" * 100_000,
        ),
        SignalWorkflowExecutionRequest(namespace="n" * 100_000, workflow_execution=EXECUTION, input=payloads),
        RespondWorkflowTaskCompletedRequest(namespace="default", task_token=SECRET),
        RegisterNamespaceRequest(namespace="newer", data={"secret": SECRET.decode()}, description=SECRET.decode()),
        ExecuteMultiOperationRequest(namespace="default"),
    ]
    with structlog.testing.capture_logs() as records:
        for request in requests:
            meta = CallMeta(authorization="Bearer " + SECRET.decode(), client_name="c" * 100_000)
            with pytest.raises(InvalidArgument):
                await desk.call(request, meta)
    assert len(records) == len(requests)
    for record in records:
        assert SECRET.decode() not in str(record)
        assert max(len(str(value)) for value in record.values()) <= TEXT_MAX


async def test_records_are_written_whatever_the_level_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.PrintLoggerFactory(),
    )
    try:
        desk = await audited()
        await desk.call(terminate())
    finally:
        structlog.configure(**before)
    assert '"operation": "TerminateWorkflowExecution"' in capsys.readouterr().out


async def test_a_record_that_cant_be_written_fails_no_call_and_is_counted(tmp_path: Path) -> None:
    before = structlog.get_config()
    with (tmp_path / "closed").open("w") as closed:
        structlog.configure(
            processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(closed)
        )
    metrics = Metrics()
    try:
        desk = await open_desk(guards=Guards(audit=Audit(GuardMeter(metrics), workers=True)))
        desk.history.reply = b""
        await desk.call(terminate())
    finally:
        structlog.configure(**before)
    assert 'audit_records{outcome="failure",service_name="frontend"} 1.0' in b"".join(metrics.page()).decode()


async def test_without_an_audit_nothing_is_recorded() -> None:
    desk = await open_desk()
    desk.history.reply = b""
    with structlog.testing.capture_logs() as records:
        await desk.call(terminate())
    assert records == []


_entered = asyncio.Event()


async def _broken(key: ChainKey, request: Any, call: Call) -> Any:
    raise ZeroDivisionError


async def _forever(key: ChainKey, request: Any, call: Call) -> Any:
    _entered.set()
    await asyncio.get_running_loop().create_future()
