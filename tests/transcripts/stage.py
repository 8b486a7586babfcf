"""One chain on a virtual time: requests go in, decisions are adopted at once, due timers fire as time moves.

Every decision is checked while it passes: it changes none of its arguments, its record replays to the live state
without its ephemeral part after encoding and decoding, its task changes lead to what the state derives, history has no
gap.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from temporalio.api.command.v1 import Command
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import (
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.workflow.context import Context, NamespaceView
from perdure.workflow.core import Decision, decide, replay
from perdure.workflow.evolve import history_batches
from perdure.workflow.outstanding import outstanding, volatile
from perdure.workflow.requests import (
    BeginQuery,
    CompleteWorkflowTask,
    FailWorkflowTask,
    FireTimer,
    StartWorkflowTask,
    WorkflowTaskStarted,
)
from perdure.workflow.state import Chain, Ephemeral, Run
from perdure.workflow.steps import Create, decode_record, encode_record
from perdure.workflow.tasks import ERRANDS, Offer, QueueKind, Task, Timer
from perdure.workflow.tokens import TaskToken

T0 = 1_700_000_000 * SECOND_NS
DAY_NS = 24 * 3600 * SECOND_NS


class Stage:
    """A chain `wf` in namespace `default`, empty at first. `see` gets every decision with its request."""

    def __init__(
        self,
        see: Callable[[Any, Decision], None] | None = None,
        *,
        limits: Limits | None = None,
        types: Mapping[str, int] | None = None,
    ) -> None:
        self.chain = Chain(ChainKey("ns", "wf"), None, {})
        self.now_ns = T0
        self.limits = limits or Limits()
        self.types = types or {}
        self.state_bytes: dict[str, int] = {}
        self.histories: dict[str, list[HistoryEvent]] = {}
        self.batches: dict[str, list[int]] = {}
        self.tasks: dict[str, set[Task]] = {}
        self.notices: list[Any] = []
        self.last: WorkflowTaskStarted | None = None
        self._see = see
        self._count = 0

    @property
    def run(self) -> Run:
        """The current run."""
        assert self.chain.current is not None
        return self.chain.runs[self.chain.current.run_id]

    @property
    def history(self) -> list[HistoryEvent]:
        """The current run's events."""
        return self.histories[self.run.run_id]

    def decide(self, request: Any) -> Decision:
        """Decide, check and adopt."""
        self._count += 1
        context = Context(
            now_ns=self.now_ns,
            seed=self._count.to_bytes(16, "big"),
            position=self._count,
            namespace=NamespaceView("ns", "default", 3 * DAY_NS),
            limits=self.limits,
            search_attribute_types=self.types,
            state_bytes=self.state_bytes,
        )
        before, given = frozen(self.chain), copy.deepcopy((request, context))
        decision = decide(self.chain, request, context)
        assert frozen(self.chain) == before, "the decision changed the chain that it was given"
        assert (request, context) == given, "the decision changed what it was asked"
        self._check_replay(decision)
        self._keep_history(decision)
        self._check_tasks(decision)
        self.chain = decision.chain
        self.notices += decision.notices
        if self._see is not None:
            self._see(request, decision)
        return decision

    def do(self, request: Any) -> Any:
        """Decide and adopt; the reply, or the refusal raised."""
        decision = self.decide(request)
        if decision.refusal is not None:
            raise decision.refusal
        return decision.reply

    def poll(self, *, sticky: bool = False, queue: str = "", request_id: str = "") -> Decision:
        """Give the offered workflow task to a worker, as matching would. Fails if none is offered."""
        (offer,) = self.offers()
        decision = self.decide(self.poll_request(offer, sticky=sticky, queue=queue, request_id=request_id))
        if decision.refusal is None:
            self.last = decision.reply
        return decision

    def poll_request(
        self, offer: Offer, *, sticky: bool = False, queue: str = "", request_id: str = ""
    ) -> StartWorkflowTask:
        """The request of a poller on the sticky or the normal queue."""
        return StartWorkflowTask(
            offer=offer,
            request_id=request_id or f"poll-{self._count}",
            identity="worker",
            sticky_poll=sticky,
            poll_queue=queue or (offer.sticky if sticky else offer.queue.name),
        )

    def token(self) -> TaskToken:
        """The token of the workflow task that was handed out last."""
        assert self.last is not None
        task = self.last.task
        return TaskToken(
            namespace_id="ns",
            workflow_id="wf",
            run_id=self.last.run_id,
            scheduled_event_id=task.scheduled_event_id,
            started_event_id=task.started_event_id,
            started_time_ns=task.started_time_ns,
            attempt=task.attempt,
            stamp=task.stamp,
        )

    def complete(self, *commands: Command, **fields: Any) -> Decision:
        """Answer the workflow task that was handed out last; `fields` are the API request's own."""
        answer = RespondWorkflowTaskCompletedRequest(commands=commands, identity="worker", **fields)
        decision = self.decide(CompleteWorkflowTask(self.token(), answer))
        if decision.reply is not None and decision.reply.next_task is not None:
            self.last = decision.reply.next_task
        return decision

    def fail(self, **fields: Any) -> Decision:
        """Fail the workflow task that was handed out last."""
        answer = RespondWorkflowTaskFailedRequest(identity="worker", **fields)
        return self.decide(FailWorkflowTask(self.token(), answer))

    def query(self, query_id: str, **fields: Any) -> Decision:
        """Begin a query `state`."""
        query = WorkflowQuery(query_type="state")
        return self.decide(BeginQuery(fields.pop("run_id", ""), query, query_id, **fields))

    def lose(self) -> None:
        """The owner of the chain is lost, with everything that is in memory only."""
        runs = {run_id: Run(run.facts, run.durable, Ephemeral()) for run_id, run in self.chain.runs.items()}
        self.chain = Chain(self.chain.key, self.chain.current, runs, self.chain.shared)

    def offers(self) -> list[Offer]:
        """The workflow tasks on offer, over all runs."""
        tasks = [task for run in self.chain.runs.values() for task in outstanding(run) | volatile(run)]
        offers = [task for task in tasks if isinstance(task, Offer) and task.queue.kind == QueueKind.WORKFLOW]
        return sorted(offers, key=lambda offer: offer.order)

    def timers(self) -> list[Timer]:
        """All timers by due time, without errands."""
        return [timer for timer in self._timers() if timer.kind not in ERRANDS]

    def errands(self) -> list[Timer]:
        """What is to be done at other workflow ids, by due time."""
        return [timer for timer in self._timers() if timer.kind in ERRANDS]

    def _timers(self) -> list[Timer]:
        tasks = [task for run in self.chain.runs.values() for task in outstanding(run) | volatile(run)]
        timers = [task for task in tasks if isinstance(task, Timer)]
        return sorted(timers, key=lambda timer: (timer.due_ns, timer.kind, timer.run_id, timer.event_id, timer.attempt))

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire when they are due."""
        end_ns = self.now_ns + int(seconds * SECOND_NS)
        while True:
            due = [timer for timer in self.timers() if timer.due_ns <= end_ns]
            if not due:
                break
            self.now_ns = max(self.now_ns, due[0].due_ns)
            self.decide(FireTimer(due[0]))
            assert due[0] not in self.timers(), f"{due[0]} fired and is still wanted"
        self.now_ns = end_ns

    def _check_replay(self, decision: Decision) -> None:
        if decision.record is None:
            return
        record = decode_record(encode_record(decision.record))
        assert record.current == decision.chain.current
        assert (self.chain.shared if record.shared is None else record.shared) == decision.chain.shared
        for mutation in record.mutations:
            before = self.chain.runs.get(mutation.run_id)
            replayed = replay(before.fork() if before is not None else None, mutation)
            live = decision.chain.runs.get(mutation.run_id)
            assert (replayed is None) == (live is None)
            if replayed is not None and live is not None:
                assert durable(replayed) == durable(live), "replay gives another state"

    def _keep_history(self, decision: Decision) -> None:
        mutations = decision.record.mutations if decision.record is not None else []
        for mutation in mutations:
            events = self.histories.setdefault(mutation.run_id, [])
            batches = self.batches.setdefault(mutation.run_id, [])
            first = mutation.steps[0]
            if isinstance(first, Create) and first.facts is not None:
                end = first.facts.next_event_id
                events += self.histories[first.durable.base_run_id][: end - 1]
                batches += [batch for batch in self.batches[first.durable.base_run_id] if batch < end]
            for batch in history_batches(mutation):
                assert batch
                batches.append(len(events) + 1)
                events += map(HistoryEvent.FromString, batch)
            assert [event.event_id for event in events] == list(range(1, len(events) + 1))
            task_ids = [event.task_id for event in events]
            assert task_ids == sorted(set(task_ids)), "task ids do not rise"
            run = decision.chain.runs.get(mutation.run_id)
            if run is not None:
                assert run.facts.next_event_id == len(events) + 1
                assert run.facts.last_first_event_id == batches[-1]

    def _check_tasks(self, decision: Decision) -> None:
        before = {task for run in self.chain.runs.values() for task in outstanding(run)}
        after = {task for run in decision.chain.runs.values() for task in outstanding(run)}
        gone = {task for task in decision.added if task not in after}
        assert len(gone) <= sum(run_id not in decision.chain.runs for run_id in self.chain.runs)
        assert (before | set(decision.added) - gone) - set(decision.removed) == after, "task changes do not add up"
        assert set(decision.removed) <= before
        self._check_volatile(decision)

    def _check_volatile(self, decision: Decision) -> None:
        for run_id in {*self.chain.runs, *decision.chain.runs}:
            old, new = self.chain.runs.get(run_id), decision.chain.runs.get(run_id)
            had = set() if old is None else volatile(old)
            has = set() if new is None else volatile(new)
            assert {task for task in decision.volatile if task.run_id == run_id} == has - had
            assert (run_id in decision.lapsed) == bool(had and not has)
            if new is not None and new.ephemeral.speculative_task is not None:
                assert new.durable.workflow_task is None, "a run has two workflow tasks"
                assert new.is_open


def durable(run: Run) -> Any:
    """A run's state without its ephemeral part, as plain values."""
    return msgspec.to_builtins((run.facts, run.durable))


def frozen(chain: Chain) -> Any:
    """A chain's whole state, as plain values."""
    runs = {key: msgspec.to_builtins((run.facts, run.durable, run.ephemeral)) for key, run in chain.runs.items()}
    return msgspec.to_builtins(chain.current), runs, dict(chain.shared)
