"""What a run left behind for the checkers: the log of calls, final histories, lists, and what the cluster itself saw.

Invariant: nothing here is taken on trust from the server where a client or worker can see it. A workload keeps two
rules, so that an event names the call that caused it: the identity of each call is `Op.identity`, and starts and
signals carry their request id in the header field `request-id`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import msgspec
import xxhash
from google.protobuf.message import Message
from temporalio.api.enums.v1 import EventType, WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import from_timestamp
from perdure.testing.oplog import Kind, Op

REQUEST_ID = "request-id"

STATUS_OF: dict[int, int] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CANCELED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: (
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW
    ),
}


class Violation(msgspec.Struct, frozen=True, order=True):
    """A broken rule: its number in the list of invariants, where, and how. Rule 0: the run proves nothing."""

    rule: int
    where: str
    what: str

    def __str__(self) -> str:
        return f"rule {self.rule}: {self.where}: {self.what}"


def digest_of(message: Message) -> int:
    """A hash of the bytes of an event, or of another message."""
    return xxhash.xxh64_intdigest(message.SerializeToString(deterministic=True))


def time_of(event: HistoryEvent) -> int:
    """The event's time in nanoseconds."""
    return from_timestamp(event.event_time)


def successor_of(event: HistoryEvent) -> str:
    """The run that a terminal event names as the one that goes on, "" if it names none."""
    return str(getattr(getattr(event, event.WhichOneof("attributes") or ""), "new_execution_run_id", ""))


class RunHistory(msgspec.Struct, dict=True):
    """A run's final history. `length`: what Describe says of it. `search`: where it was found, for messages."""

    namespace: str
    workflow_id: str
    run_id: str
    events: list[HistoryEvent]
    length: int
    status: int

    @property
    def name(self) -> str:
        """The run, as messages name it."""
        return f"{self.namespace}/{self.workflow_id}/{self.run_id[-8:]}"

    @cached_property
    def digests(self) -> list[int]:
        """A hash per event."""
        return [digest_of(event) for event in self.events]

    @cached_property
    def by_id(self) -> dict[int, HistoryEvent]:
        """The events by their ids."""
        return {event.event_id: event for event in self.events}

    def of(self, *names: str) -> Iterator[HistoryEvent]:
        """The events of these types (without `EVENT_TYPE_`), in order."""
        types = [EventType.Value("EVENT_TYPE_" + name) for name in names]
        return (event for event in self.events if event.event_type in types)

    @property
    def terminal(self) -> HistoryEvent | None:
        """The first event that closes the run."""
        return next((event for event in self.events if event.event_type in STATUS_OF), None)

    @cached_property
    def signals(self) -> list[tuple[str, HistoryEvent]]:
        """The signals in order, with the request ids that their senders gave them."""
        return [
            (event.workflow_execution_signaled_event_attributes.header.fields[REQUEST_ID].data.decode(), event)
            for event in self.of("WORKFLOW_EXECUTION_SIGNALED")
        ]

    @property
    def start_request_id(self) -> str:
        """The request id of the start that made the run, "" where another run did."""
        for event in self.of("WORKFLOW_EXECUTION_STARTED"):
            attributes = event.workflow_execution_started_event_attributes
            if attributes.continued_execution_run_id or attributes.HasField("parent_workflow_execution"):
                return ""
            fields = attributes.header.fields
            return fields[REQUEST_ID].data.decode() if REQUEST_ID in fields else ""
        return ""

    @property
    def continues(self) -> str:
        """The run before it in its chain, "" if a start made it."""
        return self.events[0].workflow_execution_started_event_attributes.continued_execution_run_id

    @property
    def start_ns(self) -> int:
        """When the run began."""
        return time_of(self.events[0]) if self.events else 0

    @property
    def close_ns(self) -> int | None:
        """When it ended; None while it is open."""
        return time_of(self.terminal) if self.terminal is not None else None


class Row(msgspec.Struct, frozen=True):
    """What a list shows of a run; times in nanoseconds, 0 = none."""

    namespace: str
    workflow_id: str
    run_id: str
    status: int
    start_ns: int
    close_ns: int


class Commit(msgspec.Struct, frozen=True):
    """A group that a store applied, in the order of application."""

    shard: str
    segment: int
    epoch: int
    n: int


class AttemptSeen(msgspec.Struct, frozen=True):
    """An activity's attempt as a committed log record wrote it, in log order."""

    run_id: str
    scheduled: int
    attempt: int
    stamp: int


class Evidence(msgspec.Struct, dict=True, kw_only=True):
    """Everything. `skew_ns`: how far apart the cluster's clocks were allowed to be.

    `rereads`: the histories once more, after everything was restarted. `pointers`: (namespace, workflow id) -> run id
    that Describe gives without one. `replies_lost`: (workflow id, "" for all; when) a role's reply did not arrive, so
    that a repeated call may be told of what it did itself. `repeated`: workflow ids about which a call was delivered
    again, out of order. `unsettled`: what was not done in time. `doubled`: when two owners would have answered at the
    same time. `leftovers`: tasks still outstanding when nothing is left to do. `orphans`: what deletion left behind.
    `replays`: where replaying the log gave another state. `uncalled`: addresses of callbacks that nobody called.
    `told`: (address, headers) of the
    calls that came.
    """

    ops: Sequence[Op]
    histories: list[RunHistory]
    rereads: list[RunHistory] | None = None
    pointers: dict[tuple[str, str], str] = {}
    rows: list[Row] = []
    counts: dict[str, int] = {}
    commits: list[Commit] = []
    attempts: list[AttemptSeen] = []
    replies_lost: list[tuple[str, int]] = []
    repeated: set[str] = set()
    unsettled: list[str] = []
    doubled: list[str] = []
    leftovers: list[str] = []
    orphans: list[str] = []
    replays: list[str] = []
    uncalled: list[str] = []
    told: list[tuple[str, Mapping[str, str]]] = []
    faults: dict[str, int] = {}
    skew_ns: int = 0

    @cached_property
    def runs(self) -> dict[str, RunHistory]:
        """The histories by run id."""
        return {history.run_id: history for history in self.histories}

    @cached_property
    def chains(self) -> dict[tuple[str, str], list[RunHistory]]:
        """The runs of each (namespace, workflow id), oldest first."""
        found: dict[tuple[str, str], list[RunHistory]] = defaultdict(list)
        for history in sorted(self.histories, key=lambda history: (history.start_ns, history.close_ns or 2**63)):
            found[history.namespace, history.workflow_id].append(history)
        return found

    @property
    def deserted(self) -> list[RunHistory]:
        """The runs that are open, without those that a start made which came a second time, out of order, when the run
        that it had made or found was over: nobody waits for them.
        """
        return [run for run in self.histories if run.terminal is None and not self._is_late(run)]

    def _is_late(self, run: RunHistory) -> bool:
        while run.continues in self.runs:
            run = self.runs[run.continues]
        request_id = run.start_request_id
        chain = self.chains[run.namespace, run.workflow_id]
        told = {op.reply.get("run_id") for op in self.of(Kind.START) if op.ok and op.request_id == request_id}
        return bool(request_id) and (
            bool(told - {run.run_id})
            or any(other.start_request_id == request_id and other.start_ns < run.start_ns for other in chain)
        )

    @cached_property
    def operated(self) -> set[tuple[str, str]]:
        """(namespace, workflow id) of those whose activities an operator may have paused, reset or changed."""
        return {(op.namespace, op.workflow_id) for op in self.of(Kind.OPERATE) if op.outcome != "fail"}

    def is_operated(self, run_id: str) -> bool:
        """True if attempts of the run's activities may go by an operator's word, not by their schedule alone."""
        history = self.runs.get(run_id)
        return history is not None and (history.namespace, history.workflow_id) in self.operated

    @cached_property
    def updated(self) -> set[tuple[str, str]]:
        """(namespace, workflow id) of those that somebody may have updated: workflow tasks may be speculative there,
        and the ids of such a one are given to the next one too when nothing comes of it.
        """
        return {(op.namespace, op.workflow_id) for op in self.of(Kind.UPDATE)}

    @cached_property
    def _by_kind(self) -> dict[Kind, list[Op]]:
        found: dict[Kind, list[Op]] = defaultdict(list)
        for op in self.ops:
            found[op.kind].append(op)
        return found

    def of(self, *kinds: Kind) -> list[Op]:
        """The operations of these kinds, by kind, in order of invocation."""
        return [op for kind in kinds for op in self._by_kind.get(kind, ())]

    def deliveries(self, kind: Kind) -> list[Op]:
        """The polls of this kind that brought a task."""
        return [op for op in self.of(kind) if op.ok and "scheduled" in op.reply]

    def is_excused(self, op: Op) -> bool:
        """True if a reply about the op's workflow was lost while it ran: it may have been done, whatever it says."""
        end = op.returned_ns or 2**63
        return any(
            workflow_id in ("", op.workflow_id) and op.invoked_ns <= at_ns <= end
            for workflow_id, at_ns in self.replies_lost
        )
