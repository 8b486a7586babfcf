"""The state of a run, in three declared classes, and the chain of runs of one workflow id.

- `Facts` come from events and nothing else: `evolve` alone writes them, live and in replay.
- `Durable` is what was acknowledged but is not in history: attempts, heartbeats, request ids, buffered events before
  they are numbered. Deltas write it; they travel in the same log record as the events.
- `Ephemeral` is lost with the shard's owner, whose clients are told at once: buffered queries, later admitted updates
  and speculative tasks.

Every entry in a map is frozen; maps are copied on the first write after a fork, so a fork costs a few small copies
and a decision can be thrown away. Invariant: (events, deltas) replayed = live state without `Ephemeral`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from temporalio.api.enums.v1 import WorkflowExecutionStatus

from perdure.base.slots import ChainKey

RUNNING = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
PAUSED = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED


class Activity(msgspec.Struct, frozen=True):
    """What ActivityTaskScheduled said. Messages are kept encoded; times in nanoseconds, 0 = none."""

    scheduled_event_id: int
    activity_id: str
    activity_type: str
    task_queue: str
    scheduled_time_ns: int
    schedule_to_close_ns: int = 0
    schedule_to_start_ns: int = 0
    start_to_close_ns: int = 0
    heartbeat_ns: int = 0
    retry_policy: bytes = b""  # temporal.api.common.v1.RetryPolicy; empty = no retries
    priority: bytes = b""  # temporal.api.common.v1.Priority
    cancel_requested_event_id: int = 0
    started_event_id: int = 0  # 0 while not started, or while the Started event waits for the completion (retry policy)


class ActivityAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The durable part of a pending activity: its current attempt. `started_time_ns` 0 = not started.

    `waiting`: in backoff, not to be offered before `scheduled_time_ns`. The retry timer ends it with a delta, so that
    what a run wants follows from its state without a clock.
    """

    attempt: int = 1
    stamp: int = 0
    scheduled_time_ns: int = 0  # of this attempt; while in backoff: when the next attempt becomes due
    waiting: bool = False
    first_scheduled_time_ns: int = 0
    started_time_ns: int = 0
    started_identity: str = ""
    request_id: str = ""
    heartbeat_details: bytes = b""  # temporal.api.common.v1.Payloads
    heartbeat_time_ns: int = 0
    last_failure: bytes = b""  # temporal.api.failure.v1.Failure
    last_worker_identity: str = ""
    last_attempt_complete_time_ns: int = 0
    cancel_requested: bool = False
    paused: bool = False
    pause_info: bytes = b""  # temporal.api.workflow.v1.PendingActivityInfo.PauseInfo
    pause_request_id: str = ""
    reset: bool = False  # while it was started; its worker learns it with its next heartbeat
    reset_heartbeat: bool = False  # what was heard of the started attempt is not for the next one
    options: bytes = b""  # overridden ActivityOptions
    build_id: str = ""
    deployment: bytes = b""
    retry_interval_ns: int = 0
    started_event_pending: bool = False  # started, but its event is written with the completion
    started_history_size: int = 0
    worker_version: bytes = b""
    fair: bool = False  # it counts for its fairness key, by what was in force when it was scheduled


class PendingTimer(msgspec.Struct, frozen=True):
    """A user timer: TimerStarted's event id and when it is due."""

    timer_id: str
    started_event_id: int
    due_ns: int


class PendingChild(msgspec.Struct, frozen=True):
    """A child whose start was initiated. `run_id`: of its first run, derived from (parent's run, initiated id).
    `started`: ChildWorkflowExecutionStarted has arrived; its id is `started_event_id`, 0 while it is buffered.
    """

    initiated_event_id: int
    namespace_id: str
    workflow_id: str
    workflow_type: str
    parent_close_policy: int = 0
    run_id: str = ""
    started_event_id: int = 0
    started: bool = False
    initiated_time_ns: int = 0


class Unclaimed(msgspec.Struct, frozen=True):
    """A child that its parent has not woken yet: it gets no workflow task before. `parent_close_policy`:
    temporal.api.enums.v1.ParentClosePolicy, for when the parent closes without having recorded its child.
    """

    since_ns: int
    parent_close_policy: int


class PendingExternal(msgspec.Struct, frozen=True):
    """A signal or cancel request to another workflow that was initiated and is not answered yet. `run_id` "" = the
    current run.
    """

    initiated_event_id: int
    initiated_time_ns: int
    namespace_id: str
    workflow_id: str
    run_id: str = ""
    child_only: bool = False


class Callback(msgspec.Struct, frozen=True):
    """Whom to tell how the chain of runs ended. `callback`: temporal.api.common.v1.Callback. `request_id`: of the start
    that attached it while the run was open; "" = it was there from the run's start.
    """

    callback: bytes
    registered_time_ns: int
    request_id: str = ""


class CallbackAttempts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of the calls so far. `state`: a temporal.api.enums.v1.CallbackState, BACKING_OFF, FAILED or
    SUCCEEDED. `next_time_ns`: while backing off.
    """

    state: int
    attempt: int = 1
    complete_time_ns: int = 0
    failure: bytes = b""  # temporal.api.failure.v1.Failure of the last call
    next_time_ns: int = 0


class WorkflowTask(msgspec.Struct, frozen=True):
    """The one outstanding workflow task. Ids are provisional while its events are not written (`transient`, or
    `speculative`: it lives in `Ephemeral` then).
    """

    scheduled_event_id: int
    scheduled_time_ns: int
    attempt: int = 1
    stamp: int = 0
    queue: str = ""  # where it was scheduled: the sticky queue's name if `sticky`
    sticky: bool = False
    timeout_ns: int = 0  # start to close
    schedule_to_start_ns: int = 0  # sticky, or once speculative; 0 = none
    original_scheduled_time_ns: int = 0
    started_event_id: int = 0
    started_time_ns: int = 0
    request_id: str = ""
    identity: str = ""
    transient: bool = False
    speculative: bool = False
    history_size_bytes: int = 0
    suggest_continue_as_new: bool = False
    suggest_reasons: tuple[int, ...] = ()
    build_id: str = ""
    worker_version: bytes = b""
    backoff_until_ns: int = 0  # a new attempt that is not offered before this time
    fair: bool = False  # as an activity's


class RequestRecord(msgspec.Struct, frozen=True):
    """A request id that took effect: the event type it caused and its id (0 while buffered)."""

    event_type: int
    event_id: int = 0


class Update(msgspec.Struct, frozen=True, omit_defaults=True):
    """An update that has events, by their ids; 0 = none. `admitted_event_id`: only where a reset carried it over. The
    request and the outcome stay in history.
    """

    admitted_event_id: int = 0
    accepted_event_id: int = 0
    completed_event_id: int = 0


class HistorySegment(msgspec.Struct, frozen=True, array_like=True):
    """Events `first` <= id < `end` of a run lie on `branch`; `end` 0 = open. A reset shares its base's segments.

    `writer`: the run that wrote them; "" = this one. Ids that follow from an event follow from its writer's.
    """

    branch: str
    first: int = 1
    end: int = 0
    writer: str = ""


class TimeSkipping(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a run's time is, or may get, ahead of the real one. `config`: temporal.api.common.v1.TimeSkippingConfig as
    it was given last, None = none; `enabled` is what is left of its own. `skipped_ns`: by how much it is ahead.
    `skips`: how often it was skipped under this configuration. `forward_to_ns`: where a fast-forward ends, in the run's
    time, 0 = there is none; `forwarded`: it has.
    """

    config: bytes | None = None
    enabled: bool = False
    skipped_ns: int = 0
    skips: int = 0
    forward_to_ns: int = 0
    forwarded: bool = False


class Facts(msgspec.Struct):
    """Written by evolve only, from events. Messages are kept encoded; times in nanoseconds."""

    workflow_type: str = ""
    task_queue: str = ""
    execution_timeout_ns: int = 0
    run_timeout_ns: int = 0
    run_timeout_given: bool = False  # readers are shown it, if only as 0
    task_timeout_ns: int = 0
    first_run_id: str = ""
    original_run_id: str = ""
    continued_run_id: str = ""
    attempt: int = 1
    cron_schedule: str = ""
    retry_policy: bytes = b""
    parent: bytes = b""  # WorkflowExecution of the parent, encoded; empty = none
    parent_namespace_id: str = ""
    parent_namespace: str = ""
    parent_initiated_event_id: int = 0
    root: bytes = b""  # WorkflowExecution of the root
    first_task_backoff_ns: int = 0
    initiator: int = 0
    memo: dict[str, bytes] = {}  # name -> Payload
    search_attributes: dict[str, bytes] = {}  # name -> Payload with its type in the metadata
    priority: bytes = b""
    versioning: bytes | None = None  # WorkflowExecutionVersioningInfo; None = nothing was ever said about it
    user_metadata: bytes = b""
    start_time_ns: int = 0  # time of the Started event
    start_links: tuple[bytes, ...] = ()  # Links of the Started event
    blueprint: bytes = b""  # its attributes, where a run like this one may follow (retry policy, schedule)
    status: int = RUNNING
    close_time_ns: int = 0
    close_event_id: int = 0
    next_event_id: int = 1
    last_first_event_id: int = 0  # first id of the newest batch
    last_completed_started_event_id: int = 0  # started id of the newest completed workflow task
    completed_workflow_tasks: int = 0
    first_task_scheduled: bool = False
    cancel_requested: bool = False
    cancel_request_id: str = ""
    pause: bytes = b""  # WorkflowExecutionPausedEventAttributes while the run is paused
    pause_time_ns: int = 0
    signal_count: int = 0
    successor_run_id: str = ""
    time_skipping: TimeSkipping | None = None
    activities: dict[int, Activity] = {}
    activity_ids: dict[str, int] = {}
    timers: dict[str, PendingTimer] = {}
    children: dict[int, PendingChild] = {}
    external_signals: dict[int, PendingExternal] = {}
    external_cancels: dict[int, PendingExternal] = {}
    callbacks: dict[int, Callback] = {}  # by the order of their coming, from 1 on
    callbacks_due: bool = False  # the run is closed and no other goes on with them
    updates: dict[str, Update] = {}  # by update id; they stay, for whoever asks again, as long as the run does
    open_updates: dict[str, bool] = {}  # the ids of those that are not completed


class Durable(msgspec.Struct):
    """Written by deltas only (`Draft.assign`, `put`, `drop`, and the buffer's steps); never by evolve."""

    namespace_id: str = ""
    workflow_id: str = ""
    run_id: str = ""
    create_request_id: str = ""
    created_time_ns: int = 0
    execution_time_ns: int = 0  # start time plus first-task backoff
    run_expiration_ns: int = 0  # 0 = never
    execution_expiration_ns: int = 0
    segments: tuple[HistorySegment, ...] = ()
    history_bytes: int = 0
    transition_count: int = 0
    workflow_task: WorkflowTask | None = None
    workflow_task_attempt: int = 1  # of the next workflow task
    workflow_task_stamp: int = 0
    workflow_task_failure_cause: int = 0
    workflow_task_problems: int = 0  # failures and timeouts since the newest completion
    workflow_task_problem: tuple[str, ...] = ()  # what the newest of them that has an event was
    sticky_queue: str = ""
    sticky_timeout_ns: int = 0
    sticky_worker: bytes = b""  # client name and version that own the sticky queue
    attempts: dict[int, ActivityAttempt] = {}
    buffered: tuple[bytes, ...] = ()  # encoded HistoryEvents that have arrived and have no id yet
    buffered_bytes: int = 0
    request_ids: dict[str, RequestRecord] = {}  # of the start, of starts that attached themselves, of accepted updates
    signal_requests: dict[str, bool] = {}  # request ids of signals, for deduplication: a name space of its own
    cancel_requests: dict[str, bool] = {}  # the same of other workflows' requests to cancel, the newest of them
    previous_run_id: str = ""  # the current run of the workflow id before this one, whatever became of it
    callback_attempts: dict[int, CallbackAttempts] = {}
    activity_stamp: int = 0
    unclaimed: Unclaimed | None = None  # of a child only
    parent_told: bool = False  # a closed child: its parent knows
    children_closed: bool = False  # a closed parent: its parent close policies were applied
    base_run_id: str = ""  # the run that this one was reset from
    reset_request_id: str = ""  # of that reset
    unanswered_updates: tuple[str, ...] = ()  # a reset carried them over, their worker asked for more time
    reset_run_id: str = ""  # the newest run that this one was reset to
    was_reset: bool = False  # terminated by a reset
    paused: bool = False
    server_attributes: dict[str, bytes] = {}  # search attributes that no event sets: name -> Payload
    auto_reset_points: bytes = b""
    versioning: bytes = b""  # WorkflowExecutionVersioningInfo
    assigned_build_id: str = ""
    most_recent_worker_version: bytes = b""
    sdk_name: str = ""
    sdk_version: str = ""
    retention_ns: int = 0  # the namespace's retention at close
    visibility_version: int = 0  # the transition count at the newest change that lists show
    external_payload_count: int = 0
    external_payload_bytes: int = 0


class BufferedQuery(msgspec.Struct, frozen=True):
    """A query that waits for a workflow task to carry it. `query` is a WorkflowQuery, encoded."""

    query_id: str
    query: bytes


class AdmittedUpdate(msgspec.Struct, frozen=True):
    """An update that the workflow has not accepted yet. `request` is a temporal.api.update.v1.Request, encoded. `sent`:
    a started workflow task carries it; `returned`: how many did whose answers were none.
    """

    update_id: str
    request: bytes
    sent: bool = False
    returned: int = 0


class Ephemeral(msgspec.Struct):
    """Lost with the owner of the shard; nothing acknowledged lives here."""

    queries: dict[str, BufferedQuery] = {}
    queries_sent: tuple[str, ...] = ()  # ids that the started workflow task carries
    admitted_updates: dict[str, AdmittedUpdate] = {}  # by update id, in order of admission
    aborted_updates: tuple[str, ...] = ()  # ids of those that no worker had accepted when the run closed
    speculative_task: WorkflowTask | None = None  # instead of Durable's, never beside it


_SECTIONS: dict[str, str] = {
    field: section
    for section, struct in (("facts", Facts), ("durable", Durable), ("ephemeral", Ephemeral))
    for field in struct.__struct_fields__
}
_MAPS = tuple(
    (section, field.name)
    for section, struct in (("facts", Facts), ("durable", Durable), ("ephemeral", Ephemeral))
    for field in msgspec.structs.fields(struct)
    if field.default_factory is dict or isinstance(field.default, dict)
)
ALL_SHARED = frozenset(field for _, field in _MAPS)


class Run:
    """One run. Read the three sections freely; write only through `put`, `drop` and `assign`, which copy shared maps
    first.
    """

    __slots__ = ("durable", "ephemeral", "facts", "shared", "touched")

    def __init__(self, facts: Facts, durable: Durable, ephemeral: Ephemeral) -> None:
        self.facts = facts
        self.durable = durable
        self.ephemeral = ephemeral
        self.shared: set[str] = set()
        self.touched: set[tuple[str, Any]] = set()

    @property
    def run_id(self) -> str:
        return self.durable.run_id

    @property
    def workflow_task(self) -> WorkflowTask | None:
        """The outstanding workflow task, in history or speculative."""
        return self.ephemeral.speculative_task or self.durable.workflow_task

    @property
    def start_time_ns(self) -> int:
        """When this run began: a reset's own time, not its Started event's."""
        return self.durable.created_time_ns if self.durable.base_run_id else self.facts.start_time_ns

    @property
    def writers(self) -> tuple[str, ...]:
        """The runs that a reset run has its first events from."""
        return tuple(segment.writer for segment in self.durable.segments if segment.writer)

    @property
    def ahead_ns(self) -> int:
        """How far the run's time is ahead of its shard's. All times in its state are in its own."""
        skipping = self.facts.time_skipping
        return 0 if skipping is None else skipping.skipped_ns

    @property
    def is_open(self) -> bool:
        """True until the run has a close event."""
        return self.facts.status == RUNNING

    @property
    def shown_status(self) -> int:
        """What clients are told of the run; to the core one that is paused is running."""
        return PAUSED if self.durable.paused and self.is_open else self.facts.status

    def fork(self) -> "Run":
        """A working copy that shares its maps with this one until one side writes; this one must not be written any
        more.
        """
        copied = msgspec.structs.replace  # the quickest way
        other = Run(copied(self.facts), copied(self.durable), copied(self.ephemeral))
        other.shared = set(ALL_SHARED)
        return other

    def put(self, field: str, key: Any, value: Any) -> None:
        """Set one entry of the map `field`."""
        self._own(field)[key] = value
        self.touched.add((field, key))

    def drop(self, field: str, key: Any) -> Any:
        """Remove one entry of the map `field`; returns it, or None if it was not there."""
        self.touched.add((field, key))
        return self._own(field).pop(key, None)

    def assign(self, field: str, value: Any) -> None:
        """Set the field `field` as a whole."""
        setattr(getattr(self, _SECTIONS[field]), field, value)
        self.shared.discard(field)
        self.touched.add((field, None))

    def _own(self, field: str) -> dict[Any, Any]:
        section = getattr(self, _SECTIONS[field])
        entries: dict[Any, Any] = getattr(section, field)
        if field in self.shared:
            entries = dict(entries)
            setattr(section, field, entries)
            self.shared.discard(field)
        return entries


class CurrentRun(msgspec.Struct, frozen=True):
    """The pointer that every start reads: the newest run of a workflow id. Every record carries it, so it is small.

    `chain_request_id`: of the start that began the chain, where the newest run follows another one.
    """

    run_id: str
    status: int
    create_request_id: str
    start_time_ns: int
    first_run_id: str
    close_time_ns: int = 0
    chain_request_id: str = ""


class Chain:
    """The runs of one workflow id that a decision may look at; `current` is None where the id was never used or was
    deleted. `shared`: how many runs lie on a branch of history, for those on which more than one does; frozen.
    """

    __slots__ = ("current", "key", "runs", "shared")

    def __init__(
        self,
        key: ChainKey,
        current: CurrentRun | None,
        runs: dict[str, Run],
        shared: Mapping[str, int] | None = None,
    ) -> None:
        self.key = key
        self.current = current
        self.runs = runs
        self.shared: Mapping[str, int] = shared if shared is not None else {}


def section_of(field: str) -> str:
    """The section ("facts", "durable" or "ephemeral") that declares `field`."""
    return _SECTIONS[field]
