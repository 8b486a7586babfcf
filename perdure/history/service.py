"""The history role: `HistoryRole` over the shards this process owns.

Invariant (rules of the log, L10): every answer, also of reads and refusals, waits until the newest transition its
state saw is durable; if that is lost, the call answers Unavailable.
"""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import msgspec
import structlog
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from perdure.base.clock import Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import Bug, NamespaceNotFound, ResourceExhausted, ShardLost, Unavailable
from perdure.base.limits import Limits, LimitsSource
from perdure.base.slots import ChainKey, SlotRange
from perdure.base.tasks import Background
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.cluster.roles import Call, Directory, HistoryPage, HistoryRead, Pulled, QueryTask
from perdure.history import callback_errands, child_errands, external_errands
from perdure.history.answers import Answers
from perdure.history.callbacks import Callbacks
from perdure.history.chains import Entry, ShardChains, deletions
from perdure.history.errands import Errand, run_errand
from perdure.history.executions import HistoryExecutions
from perdure.history.forwards import await_forward
from perdure.history.other_namespaces import other_namespace
from perdure.history.queries import Queries
from perdure.history.reading import Reading
from perdure.history.resetting import reset
from perdure.history.speculative import Speculative
from perdure.history.targets import NEW_WORK, runs_of
from perdure.history.updates import Addressed, Updates
from perdure.shards.contract import Shard, Transition
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.core import Decision, decide
from perdure.workflow.decide import UpdateMoved
from perdure.workflow.requests import (
    ActivityTaskStarted,
    CompleteWorkflowTask,
    Describe,
    StartActivityTask,
    StartedEagerly,
    StartWorkflowTask,
    WorkflowTaskCompleted,
    WorkflowTaskStarted,
)
from perdure.workflow.reset_requests import ResetWorkflow
from perdure.workflow.state import Chain
from perdure.workflow.steps import encode_record
from perdure.workflow.tasks import Offer, QueueKey, Timer
from perdure.workflow.time_skipping_requests import ForwardSeen
from perdure.workflow.update_requests import FindUpdate, StartWithUpdate

log = structlog.get_logger(__name__)

# Their runners register themselves: one that is missing would leave its errands undone.
ERRAND_MODULES = (callback_errands, child_errands, external_errands)
_OVERLOADED = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED
_SYSTEM = ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM
_NONE: Mapping[str, str] = MappingProxyType({})
# Where a process can't tell whether it still owns the shard, it knows soon.
_LOOK_AGAIN_S = 0.2


class OwnedShards(Protocol):
    """The shards of this process."""

    def by_slot(self, slot: int) -> Shard:
        """The owned shard of a slot. Raises Unavailable."""
        ...

    def by_id(self, shard: str) -> Shard:
        """An owned shard. Raises Unavailable."""
        ...


class HistoryOptions(msgspec.Struct, frozen=True):
    """`query_timeout_ns`: how long a query waits where its caller has no deadline."""

    limits: LimitsSource = Limits()
    query_timeout_ns: int = 10_000_000_000


class HistoryService:
    """Decides and commits; answers when durable."""

    def __init__(
        self,
        shards: OwnedShards,
        executions: HistoryExecutions,
        namespaces: Namespaces,
        directory: Directory,
        clock: Clock,
        entropy: Entropy,
        options: HistoryOptions,
    ) -> None:
        self._shards = shards
        self._executions = executions
        self._namespaces = namespaces
        self._directory = directory
        self._entropy = entropy
        self._options = options
        self._views: dict[str, tuple[Namespace, NamespaceView]] = {}
        self._reading = Reading(executions.checkpoints)
        self._answers = Answers(self._reading)
        self._queries = Queries(self, directory, clock, entropy, options.query_timeout_ns)
        self._updates = Updates(self, self._reading, clock)
        self.callbacks = Callbacks(clock, options.limits, executions.outcomes)
        self._speculative = Speculative(self, executions)
        self._background = Background(lambda error: None)  # a lost shard, of which those who wait are told elsewhere
        executions.service = self
        executions.outcomes.limits = options.limits

    async def close(self) -> None:
        """End what runs in the background."""
        await self._speculative.close()
        await self._background.close()
        await self._queries.background.close()

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        """Decide, commit, answer."""
        if type(request) is ResetWorkflow:
            chains = self._executions.chains(self._shards.by_slot(key.slot))
            return await reset(self, chains, self._reading, key, request.request, await self.limits(key), call)
        reply, chains = await self._settle(self._shards.by_slot(key.slot), key, request, call)
        if type(reply) is StartedEagerly:
            return await self._answers.started_eagerly(chains, key, reply)
        if type(request) is Describe and reply.callbacks:
            self.callbacks.show_blocked(key.namespace_id, reply)
        if type(reply) is ForwardSeen:
            most_ns = call.longest_ns((await self.limits(key)).long_poll_ns)
            return await await_forward(self, chains, key, request, reply, call, most_ns)
        return reply

    async def observe(
        self, key: ChainKey, request: Any, call: Call, decided: Callable[[Any], None]
    ) -> tuple[Any, ShardChains]:
        """As `transact`; `decided` gets the reply before anything else can be decided. Raises ResourceExhausted."""
        shard = self._shards.by_slot(key.slot)
        if type(request) is not FindUpdate and not self._executions.has_room_for_updates():
            raise ResourceExhausted("Too many updates wait for workers.", _OVERLOADED, _SYSTEM)
        return await self._settle(shard, key, request, call, decided)

    async def transact_on(self, shard: Shard, key: ChainKey, request: Any, call: Call) -> Any:
        """`transact` on a shard that is known to own the key."""
        reply, _ = await self._settle(shard, key, request, call)
        return reply

    async def run_errand(self, shard: Shard, timer: Timer) -> None:
        """Do what a run of this shard wants at another workflow id, or outside. Raises Unavailable."""
        chains = self._executions.chains(shard)
        await run_errand(Errand(timer, chains, self, self._reading, self._directory, self._namespaces, self.callbacks))

    def lost(self, slots: SlotRange, error: ShardLost) -> None:
        """The shard of these slots is gone, and the queries and updates that waited there."""
        self._queries.lost(slots, error)
        self._updates.lost(slots, error)
        self._speculative.lost(slots)

    async def _settle(
        self, shard: Shard, key: ChainKey, request: Any, call: Call, decided: Callable[[Any], None] | None = None
    ) -> tuple[Any, ShardChains]:
        namespace = await self._namespaces.by_id(key.namespace_id, call.namespace_version)
        chains = self._executions.chains(shard)
        named = await self._named(request, namespace) if type(request) is CompleteWorkflowTask else _NONE
        entry = await chains.entry(key, runs_of(request))
        decision, letters = self._decide(chains, entry, request, namespace, call, named)
        if decided is not None:
            entry.asked_ns = shard.now_ns()
            if decision.refusal is None:
                decided(decision.reply)
        if decided is not None or letters:
            chains.weigh(entry)
        if self._executions.watcher is not None:
            self._executions.watcher(decision.chain)
        position = entry.position
        try:
            spans, commit = self._executions.spans, shard.durable(position)
            await (commit if spans is None else spans.follow("commit", "history", commit))
        except (asyncio.CancelledError, Unavailable):
            if decision.record is None:  # the caller gets no answer, but others wait for what it decided
                self._background.spawn(self._follow(chains, entry, decision, letters, position))
            raise
        if decision.record is None:
            self._act(chains, entry, decision, letters)
        if decision.refusal is not None:
            raise decision.refusal
        return decision.reply, chains

    async def _named(self, request: CompleteWorkflowTask, own: Namespace) -> Mapping[str, str]:
        """Name -> id of the other namespace that the commands name, if it exists."""
        name = other_namespace(request.request.commands, own.name)
        if not name:
            return _NONE
        try:
            return {name: (await self._namespaces.by_name(name)).id}
        except NamespaceNotFound:
            return _NONE

    def _decide(
        self,
        chains: ShardChains,
        entry: Entry,
        request: Any,
        namespace: Namespace,
        call: Call,
        named: Mapping[str, str],
    ) -> tuple[Decision, list[Addressed]]:
        """Decide on the newest state, put the record into the log and adopt the new state; nothing is awaited. With
        what is to be told to those who wait for updates now. Raises Bug, and whatever else a defect raises.
        """
        shard = chains.shard
        context = Context(
            now_ns=shard.now_ns(),
            seed=self._entropy.seed(),
            position=shard.next_position,
            namespace=self._view(namespace),
            limits=self._options.limits.of(namespace.name),
            caller=call.caller,
            search_attribute_types=namespace.search_attributes,
            namespace_ids=named,
            state_bytes=entry.sizes,
        )
        try:
            decision = decide(entry.chain, request, context)
            if isinstance(decision.refusal, Bug):
                raise decision.refusal
            record = decision.record
            body = encode_record(record) if record is not None else b""
        except Exception as error:
            if not shard.can_answer:
                raise Unavailable("This host may have lost the shard; ask again.") from error
            # It fails this request, which has changed nothing; what is in memory may be what is wrong.
            about = {"namespace": namespace.name, "wf_id": entry.key.workflow_id, "shard": shard.shard_id}
            log.exception("a decision failed", **about, request=type(request).__name__)
            chains.distrust()
            raise
        letters = self._updates.address(decision.notices) if decision.notices else []
        if record is None:
            entry.chain = decision.chain
            return decision, letters
        before = entry.chain
        transition = Transition(
            key=entry.key,
            body=body,
            added=[*decision.added, *deletions(record)],
            removed=decision.removed,
            committed=lambda: self._committed(chains, entry, decision, letters, before, request),
        )
        position = shard.append(transition, urgent=type(request) not in NEW_WORK)
        try:
            if position != record.position:
                raise Bug(f"position {position} for a record that was decided at {record.position}")
            entry.adopt(decision.chain, record, position, len(body))
        except Exception:
            # The log has what memory has not: another decision on it would contradict the log.
            shard.fail("A transition was logged and not adopted.")
            raise
        chains.bytes += len(body)
        return decision, letters

    def _committed(
        self,
        chains: ShardChains,
        entry: Entry,
        decision: Decision,
        letters: list[Addressed],
        before: Chain,
        request: Any,
    ) -> None:
        entry.wake()
        self._act(chains, entry, decision, letters)
        self._executions.outcomes.committed(before, decision, request)

    async def _follow(
        self, chains: ShardChains, entry: Entry, decision: Decision, letters: list[Addressed], position: int
    ) -> None:
        while True:
            try:
                await chains.shard.durable(position)
                break
            except ShardLost:
                raise
            except Unavailable:
                await asyncio.sleep(_LOOK_AGAIN_S)
        self._act(chains, entry, decision, letters)

    def _act(self, chains: ShardChains, entry: Entry, decision: Decision, letters: list[Addressed]) -> None:
        """The state after the decision is durable: tell those who wait, and see to what is in memory only."""
        if decision.volatile or decision.lapsed:
            self._speculative.see_to(chains.shard, decision, entry.chain)
        for notice in decision.notices:
            if not isinstance(notice, UpdateMoved):
                self._queries.notify(notice)
        for letter in letters:
            letter.deliver()

    async def limits(self, key: ChainKey) -> Limits:
        """Those of the chain's namespace, as they are now. Raises NamespaceNotFound."""
        return self._options.limits.of((await self._namespaces.by_id(key.namespace_id)).name)

    def _view(self, namespace: Namespace) -> NamespaceView:
        cached = self._views.get(namespace.id)
        if cached is None or cached[0] is not namespace:
            cached = namespace, NamespaceView(namespace.id, namespace.name, namespace.retention_ns)
            self._views[namespace.id] = cached
        return cached[1]

    async def start_workflow_task(self, key: ChainKey, request: StartWorkflowTask, call: Call) -> bytes:
        """An encoded PollWorkflowTaskQueueResponse."""
        started, chains = await self._settle(self._shards.by_slot(key.slot), key, request, call)
        assert isinstance(started, WorkflowTaskStarted)
        return await self._answers.workflow_task(chains, key, started)

    async def complete_workflow_task(self, key: ChainKey, request: CompleteWorkflowTask, call: Call) -> bytes:
        """An encoded RespondWorkflowTaskCompletedResponse."""
        # The answer has room for every activity that the worker wants to begin itself.
        room = len(request.request.commands) if (await self.limits(key)).eager_activities else 0
        request = CompleteWorkflowTask(request.token, request.request, room)
        completed, chains = await self._settle(self._shards.by_slot(key.slot), key, request, call)
        assert isinstance(completed, WorkflowTaskCompleted)
        namespace = await self._namespaces.by_id(key.namespace_id) if completed.activities else None
        return await self._answers.completed(chains, key, completed, namespace.name if namespace else "")

    async def start_activity_task(self, key: ChainKey, request: StartActivityTask, call: Call) -> bytes:
        """An encoded PollActivityTaskQueueResponse."""
        started, chains = await self._settle(self._shards.by_slot(key.slot), key, request, call)
        assert isinstance(started, ActivityTaskStarted)
        namespace = await self._namespaces.by_id(key.namespace_id)
        return await self._answers.activity_task(chains, key, started, namespace.name)

    async def read_history(self, key: ChainKey, read: HistoryRead, call: Call) -> HistoryPage:
        """A page of history, or a long poll for one."""
        shard = self._shards.by_slot(key.slot)
        chains = self._executions.chains(shard)
        long_poll_ns = call.longest_ns((await self.limits(key)).long_poll_ns)
        return await self._reading.page(self, chains, key, read, call, long_poll_ns)

    async def update(
        self, key: ChainKey, request: UpdateWorkflowExecutionRequest, call: Call
    ) -> UpdateWorkflowExecutionResponse:
        """Admit an update and wait for its stage."""
        return await self._updates.update(key, request, call)

    async def poll_update(
        self, key: ChainKey, request: PollWorkflowExecutionUpdateRequest, call: Call
    ) -> PollWorkflowExecutionUpdateResponse:
        """Wait for the stage of an update."""
        return await self._updates.poll(key, request, call)

    async def start_with_update(
        self, key: ChainKey, request: StartWithUpdate, call: Call
    ) -> ExecuteMultiOperationResponse:
        """Start a workflow, or use the one that runs, and wait for the stage of its update."""
        return await self._updates.start(key, request, call)

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        """Answer a query, directly or with a workflow task."""
        return await self._queries.query(key, request, call)

    async def query_task(self, key: ChainKey, task: QueryTask, sticky: bool, call: Call) -> bytes:
        """The poll response that hands a direct query to a worker."""
        shard = self._shards.by_slot(key.slot)
        chains = self._executions.chains(shard)
        seen = await self._reading.look(self, chains, key, task.run_id, call)
        return await self._answers.query_task(chains, key, task, seen, sticky)

    async def pull(self, shard: str, partition: QueueKey, after: Offer | None, limit: int) -> Pulled:
        """The next outstanding offers of one shard for a partition."""
        offers, backlog = await self._shards.by_id(shard).read_offers(partition, after, limit)
        return Pulled(offers, backlog)
