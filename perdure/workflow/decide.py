"""`decide(chain, request, context) -> Decision`: the one entrance of the core.

Each request type has a decider, registered beside its definition with `@decides`. A decider reads the chain, drafts
changes of one or more runs in a `Decision.Builder`-like `Work` and returns the reply; a `Refused` raised before
anything was drafted is an answer that changes nothing. Nothing here mutates the chain: applying a decision is
`Decision.chain`.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.base.errors import PerdureError
from perdure.workflow.context import Context
from perdure.workflow.draft import Draft
from perdure.workflow.outstanding import difference, in_order, volatile
from perdure.workflow.state import Chain, CurrentRun, Durable, Facts, Run
from perdure.workflow.steps import Mutation, Record
from perdure.workflow.tasks import Task


class QueryAnswered(msgspec.Struct, frozen=True):
    """A notice: the buffered query got its answer (a WorkflowQueryResult, encoded) from a completed workflow task."""

    run_id: str
    query_id: str
    result: bytes


class QueryReleased(msgspec.Struct, frozen=True):
    """A notice: the buffered query can't be answered with a task any more; `error` None = dispatch it directly now."""

    run_id: str
    query_id: str
    error: PerdureError | None


class UpdateMoved(msgspec.Struct, frozen=True):
    """A notice: an update reached a stage (temporal.api.enums.v1.UpdateWorkflowExecutionLifecycleStage), or won't.

    `outcome`: a temporal.api.update.v1.Outcome, encoded, where `stage` is COMPLETED (also of a rejected one). `error`:
    what the waiting caller gets instead; an `Unavailable` one means that the call is to be made anew (its workflow
    continues in another run, or nobody has seen it yet).
    """

    run_id: str
    update_id: str
    stage: int
    outcome: bytes = b""
    error: PerdureError | None = None


Notice = QueryAnswered | QueryReleased | UpdateMoved


class Decision(msgspec.Struct, frozen=True):
    """Everything that is to happen, and when it may.

    `record`: what to commit; None if nothing durable changes. `chain`: the state afterwards (adopt it at once; it is
    visible to later decisions, but nothing that was derived from it may leave the shard before the record's position
    is durable). `added`, `removed`: tasks, to act on after the commit. `notices`: for waiters inside the owner, after
    the commit. `reply` or `refusal`: the answer, after the commit; a refusal may come with a record.
    """

    chain: Chain
    record: Record | None
    added: list[Task]
    removed: list[Task]
    notices: list[Notice]
    reply: Any
    refusal: PerdureError | None
    volatile: list[Task] = []  # what a speculative workflow task wants anew; of no record, lost with the owner
    lapsed: list[str] = []  # runs whose speculative task is over, or an ordinary one now: nothing volatile is wanted


class Work:
    """A decision in the making: the chain as it was, a draft per run that is changed, and the pointer."""

    __slots__ = ("chain", "context", "current", "drafts", "moved", "notices", "refusal", "shared")

    def __init__(self, chain: Chain, context: Context) -> None:
        self.chain = chain
        self.context = context
        self.current = chain.current
        self.shared = chain.shared
        self.drafts: dict[str, Draft] = {}
        self.notices: list[Notice] = []
        self.moved: dict[tuple[str, str], int] = {}  # (run id, update id) -> where in `notices` its own is
        self.refusal: PerdureError | None = None

    def draft(self, run_id: str) -> Draft:
        """The draft of a run of the chain, made at the first call."""
        draft = self.drafts.get(run_id)
        if draft is None:
            draft = self.drafts[run_id] = Draft.of(self.chain.runs[run_id], self.context)
        return draft

    def create(self, durable: Durable, facts: Facts | None = None) -> Draft:
        """The draft of a new run, which knows the run that was the current one before it. `facts`: where it begins as
        a copy.
        """
        durable.previous_run_id = self.current.run_id if self.current is not None else ""
        draft = self.drafts[durable.run_id] = Draft.create(durable, self.context, facts)
        return draft

    def restart(self, run_id: str) -> Draft:
        """Throw everything away and draft the run anew: a bad command discards all of its completion."""
        self.drafts.clear()
        self.notices.clear()
        self.moved.clear()
        self.current = self.chain.current
        self.shared = self.chain.shared
        self.refusal = None
        return self.draft(run_id)


Decider = Callable[[Work, Any], Any]
DECIDERS: dict[type, Decider] = {}


def decides(request_type: type) -> Callable[[Decider], Decider]:
    """Registers the decider `(work, request) -> reply` of a request type."""

    def register(decider: Decider) -> Decider:
        DECIDERS[request_type] = decider
        return decider

    return register


Guard = Callable[[Work, Any], None]
GUARDS: list[Guard] = []


def guards(guard: Guard) -> Guard:
    """Registers what looks at `(work, request)` after its decider, and may put other drafts in the place of its."""
    GUARDS.append(guard)
    return guard


def decide(chain: Chain, request: Any, context: Context) -> Decision:
    """What `request` does to `chain`. Deterministic; changes none of its arguments. Refusals come back in the
    decision.
    """
    work = Work(chain, context)
    try:
        reply = DECIDERS[type(request)](work, request)
    except PerdureError as refusal:
        return Decision(chain, None, [], [], [], None, refusal)
    for guard in GUARDS:
        guard(work, request)
    return _conclude(work, reply if work.refusal is None else None)


def _conclude(work: Work, reply: Any) -> Decision:
    """Freeze the drafts into a record, and compare tasks before and after."""
    runs: dict[str, Run] = dict(work.chain.runs)
    mutations: list[Mutation] = []
    added: list[Task] = []
    removed: list[Task] = []
    anew: list[Task] = []
    lapsed: list[str] = []
    for run_id, draft in work.drafts.items():
        before = work.chain.runs.get(run_id)
        if draft.changed:
            mutations.append(draft.mutation())
        after = None if draft.deleted else draft.run
        more, fewer = difference(before, after)
        added += more
        removed += fewer
        had = before is not None and before.ephemeral.speculative_task is not None
        if after is not None and after.ephemeral.speculative_task is not None:
            anew += in_order(volatile(after) - (volatile(before) if before is not None and had else set()))
        elif had:
            lapsed.append(run_id)
        if after is None:
            runs.pop(run_id, None)
        else:
            after.touched.clear()
            runs[run_id] = after
    record = None
    current = _pointer(work, runs)
    if mutations or current != work.chain.current:
        shared = None if work.shared is work.chain.shared else dict(work.shared)
        record = Record(work.chain.key, work.context.position, work.context.now_ns, mutations, current, shared)
    chain = Chain(work.chain.key, current, runs, work.shared)
    return Decision(chain, record, added, removed, work.notices, reply, work.refusal, anew, lapsed)


def _pointer(work: Work, runs: dict[str, Run]) -> CurrentRun | None:
    """The pointer with the status of the run it names; None if that run was deleted."""
    current = work.current
    if current is None:
        return None
    draft = work.drafts.get(current.run_id)
    if draft is not None and draft.deleted:
        return None
    run = runs.get(current.run_id)
    if run is None or run.facts.status == current.status:
        return current
    return msgspec.structs.replace(current, status=run.facts.status, close_time_ns=run.facts.close_time_ns)
