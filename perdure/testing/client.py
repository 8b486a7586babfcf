"""A client that lives through one workflow: starts it, signals, asks, reads, perhaps cancels or terminates, and waits.

Invariant: it makes its calls one after the other, repeats with the same request id what may or may not have been done,
and gives up on nothing that it can still learn. Knows the public API and nothing behind it.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from temporalio.api.common.v1 import RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    HistoryEventFilterType,
    UpdateWorkflowExecutionLifecycleStage,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Outcome, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    ExecuteMultiOperationRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    ListWorkflowExecutionsRequest,
    QueryWorkflowRequest,
    RequestCancelWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

from perdure.base.clock import MS_NS, SECOND_NS, to_duration
from perdure.base.entropy import new_id
from perdure.base.errors import (
    FailedPrecondition,
    NotFound,
    OperationsFailed,
    PerdureError,
    Refused,
    ResourceExhausted,
    Unavailable,
)
from perdure.base.tasks import Background
from perdure.testing.checkers.evidence import STATUS_OF, digest_of, successor_of
from perdure.testing.cluster import SimCluster
from perdure.testing.oplog import Kind, Op
from perdure.testing.party import SDK, TOOL, Party, header, parsed, reading
from perdure.testing.programs import REJECTED, Program, program_input, program_of
from perdure.testing.receiver import HOST
from perdure.testing.worker import QUEUE

ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
_STAGES = {ACCEPTED: "accepted", COMPLETED: "completed"}
_CLOSE = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
_ATTEMPTS = 40
# Starts whose request id ends so want to hear how it ended.
_CALLED = "01234567"


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is to do. `asks`: how many queries, reads and so on in between. `ends_it`: "cancel", "terminate",
    "timeout" or "": how the run ends besides by itself. `starts`: how often the id is started, one after the other.
    `chatter`: signals that others send meanwhile, more than the program waits for. `updates`: how often somebody
    updates it meanwhile. `signals_with_start`: it starts with a signal, if the conflict policy allows that.
    `updates_with_start`: or with an update.
    """

    workflow_id: str
    program: Program
    asks: int = 2
    ends_it: str = ""
    starts: int = 1
    chatter: int = 0
    updates: int = 0
    signals_with_start: bool = False
    updates_with_start: bool = False
    reuse: int = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
    conflict: int = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL


def update_request(
    namespace: str,
    execution: WorkflowExecution,
    update_id: str,
    op: Op,
    stage: UpdateWorkflowExecutionLifecycleStage.ValueType,
) -> UpdateWorkflowExecutionRequest:
    """An update that waits for a stage."""
    return UpdateWorkflowExecutionRequest(
        namespace=namespace,
        workflow_execution=execution,
        wait_policy=WaitPolicy(lifecycle_stage=stage),
        request=Request(
            meta=Meta(update_id=update_id, identity=op.identity),
            input=Input(name="change", header=header(update_id)),
        ),
    )


class Caller(Party):
    """What clients of one workflow can do."""

    def __init__(self, name: str, namespace: str, cluster: SimCluster, errand: Errand) -> None:
        super().__init__(name, namespace, cluster)
        self.errand = errand

    def invoke(self, kind: Kind, run_id: str = "", **facts: Any) -> Op:
        """Log a call about the errand's workflow."""
        facts = {"namespace": self.namespace, "workflow_id": self.errand.workflow_id, "run_id": run_id} | facts
        return self.log.invoke(kind, self.name, **facts)

    def execution(self, run_id: str) -> WorkflowExecution:
        """The errand's workflow."""
        return WorkflowExecution(workflow_id=self.errand.workflow_id, run_id=run_id)

    async def persist(self, attempt: Callable[[], Awaitable[bool]]) -> bool:
        """Repeat `attempt` while its outcome is unknown, or the server has no room for it. False if it is refused."""
        for _ in range(_ATTEMPTS):
            try:
                return await attempt()
            except ResourceExhausted:  # as SDKs do: it is the server that is busy
                await self.pause(3.0)
            except Refused:
                return False
            except PerdureError:
                await self.pause(3.0)
        return False

    def told(self, op: Op, update_id: str, response: Any) -> None:
        """Log what an update came to so far."""
        outcome: Outcome = response.outcome
        op.run_id = response.update_ref.workflow_execution.run_id
        stage = _STAGES.get(response.stage, "admitted")
        if outcome.failure.message == REJECTED:
            stage = "rejected"
        facts = {"outcome": digest_of(outcome)} if response.HasField("outcome") else {}
        self.log.returned(op, update_id=update_id, stage=stage, **facts)

    async def signal(self, run_id: str) -> bool:
        """Send one signal; False if it was refused."""
        request_id = new_id(self.chance)

        async def attempt() -> bool:
            op = self.invoke(Kind.SIGNAL, run_id, request_id=request_id)
            request = SignalWorkflowExecutionRequest(
                namespace=self.namespace,
                workflow_execution=self.execution(run_id),
                signal_name="go",
                identity=op.identity,
                request_id=request_id,
                header=header(request_id),
            )
            await self.call(op, "SignalWorkflowExecution", request)
            self.log.returned(op)
            return True

        return await self.persist(attempt)


class Sender(Caller):
    """Sends signals to a run, one after the other, as long as they are taken."""

    async def run(self, run_id: str, count: int) -> None:
        """Send so many."""
        for _ in range(count):
            await self.pause(0.8)
            if not await self.signal(run_id):
                return


class Client(Caller):
    """One client with one errand. `is_done`: the errand was run to its end."""

    def __init__(self, name: str, namespace: str, cluster: SimCluster, errand: Errand) -> None:
        super().__init__(name, namespace, cluster, errand)
        self.is_done = False
        self._background = Background(self._unexpected)
        self._senders = 0

    def _unexpected(self, error: BaseException) -> None:
        self.cluster.alarms.append(f"{self.name}: {error!r}")

    async def run(self) -> None:
        """Run the errand."""
        await self.pause(4.0)
        for _ in range(self.errand.starts):
            run_id = await self._start()
            while run_id:
                run_id = await self._live(run_id)
        self.is_done = True

    async def _live(self, run_id: str) -> str:
        """Accompany a run until it is closed; returns the run that goes on in its place, "" if none does."""
        program = await self._program(run_id)
        asks = self.errand.asks
        if self.errand.chatter:
            self._senders += 1
            sender = Sender(f"{self.name}/{self._senders}", self.namespace, self.cluster, self.errand)
            self._background.spawn(sender.run(run_id, self.errand.chatter), sender.name)
        for sent in range(program.signals):
            await self.pause(1.5)
            if not await self.signal(run_id):
                break
            if sent == 0 and self.errand.ends_it in ("cancel", "terminate"):
                break
            if asks and self.chance.fraction() < 0.6:
                asks -= 1
                await self._ask(run_id)
        if self.errand.ends_it in ("cancel", "terminate"):
            await self.pause(2.0)
            await self._end(run_id)
        for _ in range(asks):
            await self.pause(1.0)
            await self._ask(run_id)
        following = await self._wait_for_close(run_id)
        await self._ask(run_id)
        return following

    async def _program(self, run_id: str) -> Program:
        """What the run was told to do: it may not be the one that this client began."""
        found: list[Program] = []

        async def attempt() -> bool:
            events = await self.read_events(self.errand.workflow_id, run_id)
            found.append(program_of(events[0].workflow_execution_started_event_attributes.input))
            return True

        await self.persist(attempt)
        return found[0] if found else Program(())

    async def _start(self) -> str:
        """The run id of the started (or found) run; "" if the start was refused."""
        request_id = new_id(self.chance)
        errand = self.errand
        found: list[str] = []

        async def attempt() -> bool:
            args = {"reuse": int(errand.reuse), "conflict": int(errand.conflict)}
            op = self.invoke(Kind.START, request_id=request_id, args=args)
            if errand.signals_with_start:
                response = await self._signal_with_start(op, request_id)
            elif errand.updates_with_start:
                response = await self._update_with_start(op, request_id)
            else:
                request = StartWorkflowExecutionRequest(**self._start_fields(op, request_id))
                url = f"http://{HOST}/{request_id}" if request_id[-1] in _CALLED else ""
                if url:
                    request.completion_callbacks.add().nexus.url = url
                response = await self.call(op, "StartWorkflowExecution", request)
                if url and response.started:
                    self.cluster.outside.owed.add(url)
            self.log.returned(op, run_id=response.run_id, started=response.started)
            found.append(response.run_id)
            return True

        await self.persist(attempt)
        return found[0] if found else ""

    def _start_fields(self, op: Op, request_id: str) -> dict[str, Any]:
        """What both forms of a start have in common."""
        errand = self.errand
        fields: dict[str, Any] = {
            "namespace": self.namespace,
            "workflow_id": errand.workflow_id,
            "workflow_type": WorkflowType(name="program"),
            "task_queue": TaskQueue(name=QUEUE),
            "input": program_input(errand.program),
            "identity": op.identity,
            "request_id": request_id,
            "workflow_id_reuse_policy": errand.reuse,
            "workflow_id_conflict_policy": errand.conflict,
            "header": header(request_id),
        }
        if errand.program.failures:
            fields["retry_policy"] = RetryPolicy(
                initial_interval=to_duration(400 * MS_NS), backoff_coefficient=1.5, maximum_attempts=3
            )
        if errand.ends_it == "timeout":
            fields["workflow_run_timeout"] = to_duration(3 * SECOND_NS)
        return fields

    async def _signal_with_start(self, start: Op, request_id: str) -> Any:
        """It is a signal as well, logged as one."""
        op = self.invoke(Kind.SIGNAL, request_id=request_id)
        request = SignalWithStartWorkflowExecutionRequest(**self._start_fields(start, request_id), signal_name="go")
        try:
            response = await self.call(start, "SignalWithStartWorkflowExecution", request)
        except PerdureError as error:
            self.log.failed(op, error)
            raise
        self.log.returned(op, run_id=response.run_id)
        return response

    async def _update_with_start(self, start: Op, request_id: str) -> Any:
        """It is an update as well, logged as one, whose id is that of the start."""
        op = self.invoke(Kind.UPDATE, request_id=request_id)
        operation = ExecuteMultiOperationRequest.Operation
        both = [
            operation(start_workflow=StartWorkflowExecutionRequest(**self._start_fields(start, request_id))),
            operation(update_workflow=update_request(self.namespace, self.execution(""), request_id, op, ACCEPTED)),
        ]
        request = ExecuteMultiOperationRequest(namespace=self.namespace, operations=both)
        try:
            response = await self.call(start, "ExecuteMultiOperation", request, timeout_s=8.0)
        except OperationsFailed as failed:
            raise self._culprit(failed, start, op) from failed
        except PerdureError as error:
            self.log.failed(op, error)
            raise
        self.told(op, request_id, response.responses[1].update_workflow)
        return response.responses[0].start_workflow

    def _culprit(self, failed: OperationsFailed, start: Op, update: Op) -> PerdureError:
        """What to make of both: refused only if the start was, or the workflow that it began has closed."""
        start_error, update_error = failed.errors
        if update_error is not None:
            self.log.failed(update, update_error)
        if isinstance(start_error, Refused):
            self.log.failed(start, start_error)
            return start_error
        return update_error if isinstance(update_error, NotFound) else Unavailable("neither was done, or one was")

    async def _end(self, run_id: str) -> None:
        request_id = new_id(self.chance)

        async def cancel() -> bool:
            op = self.invoke(Kind.CANCEL, run_id, request_id=request_id)
            request = RequestCancelWorkflowExecutionRequest(
                namespace=self.namespace,
                workflow_execution=self.execution(run_id),
                identity=op.identity,
                request_id=request_id,
            )
            await self.call(op, "RequestCancelWorkflowExecution", request)
            self.log.returned(op)
            return True

        async def terminate() -> bool:
            op = self.invoke(Kind.TERMINATE, run_id)
            request = TerminateWorkflowExecutionRequest(
                namespace=self.namespace, workflow_execution=self.execution(run_id), identity=op.identity
            )
            await self.call(op, "TerminateWorkflowExecution", request)
            self.log.returned(op)
            return True

        await self.persist(cancel if self.errand.ends_it == "cancel" else terminate)

    async def _ask(self, run_id: str) -> None:
        """One of the calls that change nothing."""
        asks = (self._query, self._query, self._history, self._tool_history, self._describe, self._list, self._count)
        try:
            await asks[self.chance.below(len(asks))](run_id)
        except PerdureError:
            return

    async def _query(self, run_id: str) -> None:
        op = self.invoke(Kind.QUERY, run_id)
        request = QueryWorkflowRequest(
            namespace=self.namespace, execution=self.execution(run_id), query=WorkflowQuery(query_type="signals")
        )
        response = await self.call(op, "QueryWorkflow", request, timeout_s=8.0)
        if response.HasField("query_rejected"):
            self.log.failed(op, FailedPrecondition("the workflow is paused"))
            return
        self.log.returned(op, run_id=run_id, signals=json.loads(response.query_result.payloads[0].data))

    async def _history(self, run_id: str) -> None:
        await self._read(run_id, SDK, 0)

    async def _tool_history(self, run_id: str) -> None:
        await self._read(run_id, TOOL, 1 + self.chance.below(3))

    async def _read(self, run_id: str, client_name: str, page: int) -> None:
        op = self.invoke(Kind.HISTORY, run_id, args={"tail": client_name == SDK})
        try:
            events = await self.read_events(self.errand.workflow_id, run_id, page=page, client_name=client_name)
        except PerdureError as error:
            self.log.failed(op, error)
            return
        self.log.returned(op, **reading(run_id, events))

    async def _describe(self, run_id: str) -> None:
        op = self.invoke(Kind.DESCRIBE, run_id)
        request = DescribeWorkflowExecutionRequest(namespace=self.namespace, execution=self.execution(run_id))
        response = await self.call(op, "DescribeWorkflowExecution", request)
        info = response.workflow_execution_info
        self.log.returned(op, run_id=info.execution.run_id, status=int(info.status), length=info.history_length)

    async def _list(self, _run_id: str) -> None:
        op = self.log.invoke(Kind.LIST, self.name, namespace=self.namespace)
        response = await self.call(
            op, "ListWorkflowExecutions", ListWorkflowExecutionsRequest(namespace=self.namespace)
        )
        rows = [(info.execution.workflow_id, info.execution.run_id, int(info.status)) for info in response.executions]
        self.log.returned(op, rows=rows)

    async def _count(self, _run_id: str) -> None:
        op = self.log.invoke(Kind.COUNT, self.name, namespace=self.namespace)
        request = CountWorkflowExecutionsRequest(namespace=self.namespace)
        response = await self.call(op, "CountWorkflowExecutions", request)
        self.log.returned(op, count=response.count)

    async def _wait_for_close(self, run_id: str) -> str:
        """Long-poll for the close event, as `result()` of an SDK does; returns the run that it names as its successor,
        "" if there is none.
        """
        while True:
            op = self.invoke(Kind.HISTORY, run_id, args={"tail": True})
            request = GetWorkflowExecutionHistoryRequest(
                namespace=self.namespace,
                execution=self.execution(run_id),
                wait_new_event=True,
                history_event_filter_type=_CLOSE,
            )
            try:
                body = await self.call(op, "GetWorkflowExecutionHistory", request, timeout_s=25.0)
            except NotFound:
                return ""
            except PerdureError:
                await self.pause(1.0)
                continue
            response = parsed(GetWorkflowExecutionHistoryResponse, body)
            self.log.returned(op, **(reading(run_id, response.history.events) | {"whole": False}))
            if response.history.events and response.history.events[-1].event_type in STATUS_OF:
                return successor_of(response.history.events[-1])
