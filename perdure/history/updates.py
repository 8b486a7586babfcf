"""Updates: who waits for one, until it is as far as they want it or their time is over.

An update is admitted, or found, by a decision; what becomes of it later decisions say by notices (`UpdateMoved`), which
are delivered once they are durable. Invariants: whoever waits hears of everything that was decided after its own
decision, and of nothing before it; so a rejected update's notice never reaches a caller who asked for one of the same
id after that. A waiter that goes away leaves nothing behind. A lost shard tells all of its waiters at once.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
from temporalio.api.common.v1 import Link, WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResourceExhaustedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.update.v1 import Outcome, UpdateRef, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    StartWorkflowExecutionResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import (
    Aborted,
    DeadlineExceeded,
    NotFound,
    OperationAborted,
    OperationsFailed,
    PerdureError,
    ResourceExhausted,
    ShardElsewhere,
    ShardLost,
    Unavailable,
)
from perdure.base.slots import ChainKey, SlotRange
from perdure.cluster.roles import Call
from perdure.history.chains import ShardChains
from perdure.history.reading import Reading
from perdure.history.transacting import Transacting
from perdure.workflow.decide import Notice, UpdateMoved
from perdure.workflow.update_requests import AdmitUpdate, FindUpdate, StartedWithUpdate, StartWithUpdate, UpdateSeen
from perdure.workflow.updates import ABORTED_BY_CLOSE, ACCEPTED, ADMITTED, COMPLETED

# A waiter costs about a KiB; what it waits for holds more.
WAITERS_MAX = 10_000
_UPDATE_ACCEPTED = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
_CONCURRENT = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT


class Waiter:
    """Somebody who waits for the update of a run, of a chain in `slot`. `reached`: how far it is known to be."""

    __slots__ = ("moved", "reached", "seen", "slot", "update_id", "wanted")

    def __init__(self, slot: int, update_id: str, wanted: int) -> None:
        self.slot = slot
        self.update_id = update_id
        self.wanted = wanted
        self.reached = 0
        self.seen: UpdateSeen | None = None
        self.moved: asyncio.Future[UpdateMoved] = asyncio.get_running_loop().create_future()

    def hear(self, notice: UpdateMoved) -> None:
        """The update moved, and that is durable."""
        if self.moved.done():
            return
        if notice.error is not None or notice.stage >= self.wanted:
            self.moved.set_result(notice)
        else:
            self.reached = max(self.reached, notice.stage)


class Reached(msgspec.Struct, frozen=True):
    """How far an update of the run is; `outcome` where it is completed."""

    run_id: str
    stage: int
    outcome: Outcome | None = None


class Addressed(msgspec.Struct, frozen=True):
    """A notice, and those who waited when it was decided."""

    notice: UpdateMoved
    waiters: tuple[Waiter, ...]

    def deliver(self) -> None:
        """The decision is durable."""
        for waiter in self.waiters:
            waiter.hear(self.notice)


class Updates:
    """The updates that this process waits for."""

    def __init__(self, service: Transacting, reading: Reading, clock: Clock) -> None:
        self._service = service
        self._reading = reading
        self._clock = clock
        self._waiting: dict[tuple[str, str], list[Waiter]] = {}  # by run id and update id
        self._count = 0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def address(self, notices: Iterable[Notice]) -> list[Addressed]:
        """What a decision that was just made says of updates, to those who wait now."""
        return [
            Addressed(notice, tuple(self._waiting.get((notice.run_id, notice.update_id), ())))
            for notice in notices
            if isinstance(notice, UpdateMoved)
        ]

    def lost(self, slots: SlotRange, error: ShardLost) -> None:
        """The shard of these slots is gone, and the updates that no workflow had accepted."""
        for (run_id, update_id), waiters in self._waiting.items():
            for waiter in waiters:
                if waiter.slot in slots:
                    waiter.hear(UpdateMoved(run_id, update_id, ADMITTED, error=error))

    async def update(
        self, key: ChainKey, request: UpdateWorkflowExecutionRequest, call: Call
    ) -> UpdateWorkflowExecutionResponse:
        """Admit an update and wait for its stage. Raises NotFound, WorkflowNotReady, ResourceExhausted,
        FailedPrecondition, DeadlineExceeded, Unavailable.
        """
        wanted = _wanted(request.wait_policy)
        watch = _Watch(key, AdmitUpdate(request), request.request.meta.update_id, wanted, call)
        return _response(request, key, await self._until(watch))

    async def poll(
        self, key: ChainKey, request: PollWorkflowExecutionUpdateRequest, call: Call
    ) -> PollWorkflowExecutionUpdateResponse:
        """Wait for the stage of an update that is there. Raises NotFound, DeadlineExceeded, Unavailable."""
        ref = request.update_ref
        find = FindUpdate(ref.workflow_execution.run_id, ref.update_id)
        reached = await self._until(_Watch(key, find, ref.update_id, _wanted(request.wait_policy), call))
        return PollWorkflowExecutionUpdateResponse(
            outcome=reached.outcome,
            stage=reached.stage,  # type: ignore[arg-type]  # an enum's number
            update_ref=_ref(key, reached.run_id, ref.update_id),
        )

    async def start(self, key: ChainKey, request: StartWithUpdate, call: Call) -> ExecuteMultiOperationResponse:
        """Start a workflow, or use the one that runs, and wait for the stage of its update. Raises OperationsFailed,
        DeadlineExceeded, Unavailable.

        A workflow that was used, and closes before it has seen the update, is no obstacle: another one is started,
        once.
        """
        asked = request.update
        watch = _Watch(key, request, asked.request.meta.update_id, _wanted(asked.wait_policy), call)
        longest_ns = call.longest_ns((await self._service.limits(key)).long_poll_ns)
        ends_ns = self._ends_ns(call, longest_ns)
        begun: StartWorkflowExecutionResponse | None = None
        repeated = False
        begin = None
        while True:
            begin = await (self._begin(watch) if begin is None else self._again(watch))
            assert isinstance(begin.reply, StartedWithUpdate)
            started = begun or begin.reply.start
            try:
                reached = await self._finish(watch, begin, ends_ns, longest_ns)
            except _Released:
                if self._clock.monotonic_ns() >= ends_ns:
                    raise
                begun = started if started.started else None  # the workflow goes on, as another run
                continue
            except (DeadlineExceeded, Unavailable):
                raise
            except PerdureError as error:
                is_closed = _is_closed(error) and not started.started
                if is_closed and not repeated:
                    repeated = True
                    continue
                fault = Aborted(error.message) if is_closed else error
                raise OperationsFailed([None if started.started else OperationAborted(), fault]) from error
            return _both(key, asked, started, reached)

    async def _until(self, watch: "_Watch") -> Reached:
        """Wait for the stage; where the workflow goes on as another run, in that one."""
        longest_ns = watch.call.longest_ns((await self._service.limits(watch.key)).long_poll_ns)
        ends_ns = self._ends_ns(watch.call, longest_ns)
        begin = None
        while True:
            begin = await (self._begin(watch) if begin is None else self._again(watch))
            try:
                return await self._finish(watch, begin, ends_ns, longest_ns)
            except _Released:
                if self._clock.monotonic_ns() >= ends_ns:
                    raise

    def _ends_ns(self, call: Call, longest: int) -> int:
        """When the answer is due, by the monotonic clock."""
        return self._clock.monotonic_ns() + (min(longest, call.timeout_ns) if call.timeout_ns else longest)

    async def _begin(self, watch: "_Watch") -> "_Begun":
        """Make the decision, and wait from that very moment on for what it has not reached."""
        if self._count >= WAITERS_MAX:
            raise ResourceExhausted("too many callers wait for updates", _CONCURRENT)
        waiter = Waiter(watch.key.slot, watch.update_id, watch.wanted)

        def decided(reply: Any) -> None:
            waiter.seen = seen = _seen_in(reply)
            if seen.stage < watch.wanted:
                self._waiting.setdefault((seen.run_id, watch.update_id), []).append(waiter)
                self._count += 1

        try:
            reply, chains = await self._service.observe(watch.key, watch.request, watch.call, decided)
        except BaseException:
            self._forget(waiter)
            raise
        return _Begun(waiter, reply, chains)

    async def _again(self, watch: "_Watch") -> "_Begun":
        """Begin once more. If the shard has gone, its caller begins anew, but not because nothing was done."""
        try:
            return await self._begin(watch)
        except ShardElsewhere as elsewhere:
            if type(watch.request) is FindUpdate:
                raise
            raise Unavailable(elsewhere.message) from elsewhere

    async def _finish(self, watch: "_Watch", begun: "_Begun", ends_ns: int, longest_ns: int) -> Reached:
        waiter, seen = begun.waiter, _seen_in(begun.reply)
        if seen.stage >= watch.wanted:
            return await self._reached(watch.key, begun.chains, seen)
        try:
            left_ns = max(0, ends_ns - self._clock.monotonic_ns())
            async with asyncio.timeout(left_ns / SECOND_NS):
                notice = await waiter.moved
        except TimeoutError as error:
            if 0 < watch.call.timeout_ns < longest_ns:
                raise DeadlineExceeded("context deadline exceeded") from error
            return Reached(seen.run_id, max(seen.stage, waiter.reached))
        finally:
            self._forget(waiter)
        if isinstance(notice.error, Unavailable) and not isinstance(notice.error, ShardLost):
            raise _Released(notice.error.message)
        if notice.error is not None:
            raise notice.error
        outcome = Outcome.FromString(notice.outcome) if notice.stage == COMPLETED else None
        return Reached(seen.run_id, notice.stage, outcome)

    async def _reached(self, key: ChainKey, chains: ShardChains, seen: UpdateSeen) -> Reached:
        """What was there already; the outcome of a completed update is in history."""
        outcome = None
        if seen.completed_event_id:
            event = await self._reading.event(chains, key, seen.segments, seen.completed_event_id)
            outcome = event.workflow_execution_update_completed_event_attributes.outcome
        elif seen.failure:
            outcome = Outcome(failure=Failure.FromString(seen.failure))
        return Reached(seen.run_id, seen.stage, outcome)

    def _forget(self, waiter: Waiter) -> None:
        if waiter.seen is None:
            return
        place = waiter.seen.run_id, waiter.update_id
        waiters = self._waiting.get(place, [])
        if waiter in waiters:
            waiters.remove(waiter)
            self._count -= 1
            if not waiters:
                del self._waiting[place]


class _Released(Unavailable):
    """The run does not want the update, but the one that follows it may: ask again."""


class _Watch(msgspec.Struct, frozen=True):
    """What is asked, about which update, and up to which stage its caller waits."""

    key: ChainKey
    request: AdmitUpdate | FindUpdate | StartWithUpdate
    update_id: str
    wanted: int
    call: Call


class _Begun(msgspec.Struct, frozen=True):
    """A decision that is durable, its reply, and who waits since."""

    waiter: Waiter
    reply: Any
    chains: ShardChains


def _wanted(policy: WaitPolicy) -> int:
    """The stage that a caller waits for, 0 for none; nobody waits for one that there isn't."""
    return policy.lifecycle_stage if policy.lifecycle_stage in (ACCEPTED, COMPLETED) else 0


def _seen_in(reply: UpdateSeen | StartedWithUpdate) -> UpdateSeen:
    return reply.update if isinstance(reply, StartedWithUpdate) else reply


def _is_closed(error: PerdureError) -> bool:
    """The workflow closed, and had not seen the update."""
    return isinstance(error, NotFound) and error.message == ABORTED_BY_CLOSE


def _ref(key: ChainKey, run_id: str, update_id: str) -> UpdateRef:
    execution = WorkflowExecution(workflow_id=key.workflow_id, run_id=run_id)
    return UpdateRef(workflow_execution=execution, update_id=update_id)


def _response(
    asked: UpdateWorkflowExecutionRequest, key: ChainKey, reached: Reached, *, linked: bool = True
) -> UpdateWorkflowExecutionResponse:
    response = UpdateWorkflowExecutionResponse(
        update_ref=_ref(key, reached.run_id, asked.request.meta.update_id),
        outcome=reached.outcome,
        stage=reached.stage,  # type: ignore[arg-type]  # an enum's number
    )
    if not linked or reached.stage < ACCEPTED:
        return response
    link: Link.Workflow | Link.WorkflowEvent
    if reached.outcome is not None and reached.outcome.HasField("failure"):
        # The reference says so of every failure, for a rejected update has no event to lead to.
        link = response.link.workflow
        link.reason = "Update rejected"
    else:
        link = response.link.workflow_event
        link.request_id_ref.request_id = asked.request.request_id
        link.request_id_ref.event_type = _UPDATE_ACCEPTED
    link.namespace, link.workflow_id, link.run_id = asked.namespace, key.workflow_id, reached.run_id
    return response


def _both(
    key: ChainKey, asked: UpdateWorkflowExecutionRequest, started: StartWorkflowExecutionResponse, reached: Reached
) -> ExecuteMultiOperationResponse:
    # Where the answer to the start has no link, the update was completed before, and has none either.
    update = _response(asked, key, reached, linked=started.HasField("link"))
    response = ExecuteMultiOperationResponse.Response
    return ExecuteMultiOperationResponse(responses=[response(start_workflow=started), response(update_workflow=update)])
