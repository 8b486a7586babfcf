"""The vocabulary of the core: every request a chain can be asked to decide, and the replies that are not API messages.

Requests are already validated as far as that needs no state (the frontend's part), and name namespaces by id in the
chain key. The decider of each is in the module of its name in `perdure.workflow.deciders`. API messages stay as they
are: they are the vocabulary.
"""

from dataclasses import dataclass
from enum import IntEnum

import msgspec
from temporalio.api.common.v1 import Header, Payloads, WorkerVersionCapabilities, WorkerVersionStamp, WorkflowExecution
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
)

from perdure.workflow.new_run import Origin
from perdure.workflow.state import Activity, ActivityAttempt, PendingExternal, WorkflowTask
from perdure.workflow.tasks import Offer, Timer
from perdure.workflow.tokens import TaskToken


@dataclass(frozen=True, slots=True)
class StartWorkflow:
    """Reply: StartWorkflowExecutionResponse, or `StartedEagerly` if the request asks for the first workflow task.
    Refusals: WorkflowAlreadyStarted. Module `start`.
    """

    request: StartWorkflowExecutionRequest


class External(msgspec.Struct, frozen=True):
    """The run that signals, cancels or ends another one. `child_only`: it must be the other's parent.

    `initiated_event_id`, `initiated_time_ns`: of its own event that says so; 0 = a parent close policy. `seen`: earlier
    runs of the target that were looked for already (`EarlierRun`). `before`: the runs that this one was reset from;
    what was their child is its own.
    """

    workflow_id: str
    run_id: str
    initiated_event_id: int = 0
    child_only: bool = False
    initiated_time_ns: int = 0
    seen: tuple[str, ...] = ()
    before: tuple[str, ...] = ()


class EarlierRun(msgspec.Struct, frozen=True):
    """A reply that changes nothing: whether this was done before, or whom it concerns now, can't be known without this
    run. Ask again, with it among those seen.
    """

    run_id: str


@dataclass(frozen=True, slots=True)
class SignalWorkflow:
    """Reply: SignalWorkflowExecutionResponse; for another workflow (`external`) also `EarlierRun`. Refusals: NotFound,
    ResourceExhausted. Module `signal`.
    """

    request: SignalWorkflowExecutionRequest
    external: External | None = None


@dataclass(frozen=True, slots=True)
class SignalWithStart:
    """Reply: SignalWithStartWorkflowExecutionResponse. Module `signal_with_start`."""

    request: SignalWithStartWorkflowExecutionRequest


@dataclass(frozen=True, slots=True)
class RequestCancel:
    """Reply: RequestCancelWorkflowExecutionResponse; for another workflow (`external`) also `EarlierRun`. Module
    `cancel`.
    """

    request: RequestCancelWorkflowExecutionRequest
    external: External | None = None


@dataclass(frozen=True, slots=True)
class Terminate:
    """Reply: TerminateWorkflowExecutionResponse. Module `terminate`."""

    request: TerminateWorkflowExecutionRequest
    external: External | None = None


@dataclass(frozen=True, slots=True)
class Describe:
    """Reply: DescribeWorkflowExecutionResponse. Changes nothing. Module `describe`."""

    request: DescribeWorkflowExecutionRequest


@dataclass(frozen=True, slots=True)
class Look:
    """Where a run stands, for history reads and long polls. Reply: `Seen`. Refusals: NotFound. Module `look`.

    `run_id` "" = the current run.
    """

    run_id: str = ""


class Seen(msgspec.Struct, frozen=True):
    """What `Look` saw: enough to read the run's history up to `next_event_id` and to add the unwritten tail for SDKs.

    `tail`: the provisional Scheduled/Started events (encoded) of a transient or speculative workflow task, not in
    history.
    """

    run_id: str
    first_run_id: str
    next_event_id: int
    last_first_event_id: int
    is_open: bool
    status: int
    close_event_id: int
    segments: tuple[tuple[str, int, int], ...]  # (branch, first, end); end 0 = open
    previous_started_event_id: int
    workflow_type: str
    task_queue: str
    sticky_queue: str
    sticky_timeout_ns: int
    tail: tuple[bytes, ...] = ()
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class StartWorkflowTask:
    """Matching found a poller. Reply: `WorkflowTaskStarted`. Idempotent by `request_id`. Module `start_workflow_task`.

    `sticky_poll`: the poller asked for its own sticky queue. Refusals: NotFound (the task is obsolete: drop the
    reference).
    """

    offer: Offer
    request_id: str
    identity: str
    sticky_poll: bool
    poll_queue: str
    capabilities: WorkerVersionCapabilities | None = None
    client_name: str = ""
    client_version: str = ""


class WorkflowTaskStarted(msgspec.Struct, frozen=True):
    """A workflow task that a worker may have now; the history role turns it into the poll's answer."""

    run_id: str
    workflow_type: str
    task: WorkflowTask
    previous_started_event_id: int  # of the newest completed task; 0 = none
    next_event_id: int  # history goes up to here, exclusive; the tail follows
    segments: tuple[tuple[str, int, int], ...]
    tail: tuple[bytes, ...]  # provisional Scheduled and Started events, encoded, of a transient task
    partial: bool  # sticky: the worker has everything up to previous_started_event_id
    queries: dict[str, bytes]  # query id -> WorkflowQuery, encoded: to be answered with this task
    normal_queue: str = ""
    messages: tuple[bytes, ...] = ()  # temporal.api.protocol.v1.Message, encoded: the updates that the task carries


@dataclass(frozen=True, slots=True)
class CompleteWorkflowTask:
    """Reply: `WorkflowTaskCompleted`. Refusals: NotFound (outdated token), InvalidArgument (bad command; the failure
    is recorded). `eager_activities_max`: how many activities the caller can hand out with the answer, if the worker
    asks.
    """

    token: TaskToken
    request: RespondWorkflowTaskCompletedRequest
    eager_activities_max: int = 0


class WorkflowTaskCompleted(msgspec.Struct, frozen=True):
    """What the worker gets back: the next task at once if it asked for it (already started), else None.

    `activities`: begun for this worker, which has to get them with the answer; never more than the request allowed.
    """

    next_task: WorkflowTaskStarted | None = None
    reset_history_event_id: int = 0
    activities: "tuple[ActivityTaskStarted, ...]" = ()


@dataclass(frozen=True, slots=True)
class FailWorkflowTask:
    """Reply: RespondWorkflowTaskFailedResponse. Module `fail_workflow_task`."""

    token: TaskToken
    request: RespondWorkflowTaskFailedRequest


@dataclass(frozen=True, slots=True)
class ResetSticky:
    """Reply: ResetStickyTaskQueueResponse. Module `reset_sticky`."""

    run_id: str


@dataclass(frozen=True, slots=True)
class StartActivityTask:
    """Matching found a poller. Reply: `ActivityTaskStarted`. Idempotent by `request_id`. Module
    `start_activity_task`.
    """

    offer: Offer
    request_id: str
    identity: str
    capabilities: WorkerVersionCapabilities | None = None


class ActivityTaskStarted(msgspec.Struct, frozen=True):
    """An activity attempt that a worker may run; the history role adds the scheduled event's input and header."""

    run_id: str
    workflow_type: str
    activity: Activity
    attempt: ActivityAttempt
    segments: tuple[tuple[str, int, int], ...]
    priority: bytes = b""  # temporal.api.common.v1.Priority: the run's, overridden by the activity's


class StartedEagerly(msgspec.Struct, frozen=True):
    """A run whose first workflow task is started for the client itself, which gets it with the answer."""

    response: StartWorkflowExecutionResponse
    task: WorkflowTaskStarted


@dataclass(frozen=True, slots=True)
class ActivityRef:
    """Which activity an answer is for: a task's token, or (run id, activity id) for the forms by id. Exactly one is
    set.
    """

    token: TaskToken | None = None
    run_id: str = ""
    activity_id: str = ""


@dataclass(frozen=True, slots=True)
class CompleteActivity:
    """Reply: None. Refusals: NotFound. Module `complete_activity`."""

    ref: ActivityRef
    result: Payloads | None
    identity: str
    worker_version: WorkerVersionStamp | None = None


@dataclass(frozen=True, slots=True)
class FailActivity:
    """Retries by its policy or fails it. Reply: None. Module `fail_activity`."""

    ref: ActivityRef
    failure: Failure
    identity: str
    last_heartbeat_details: Payloads | None = None
    worker_version: WorkerVersionStamp | None = None


@dataclass(frozen=True, slots=True)
class CancelActivity:
    """Reply: None. Refusals: NotFound; InvalidArgument where cancellation was never requested. Module
    `cancel_activity`.
    """

    ref: ActivityRef
    details: Payloads | None
    identity: str
    worker_version: WorkerVersionStamp | None = None


@dataclass(frozen=True, slots=True)
class HeartbeatActivity:
    """Reply: `HeartbeatRecorded`. Refusals: NotFound. Module `heartbeat_activity`."""

    ref: ActivityRef
    details: Payloads | None
    identity: str


class HeartbeatRecorded(msgspec.Struct, frozen=True):
    """What the worker learns with its heartbeat."""

    cancel_requested: bool
    activity_paused: bool = False
    activity_reset: bool = False


@dataclass(frozen=True, slots=True)
class FireTimer:
    """A timer is due by the shard's clock. Obsolete ones change nothing. Reply: None. Module `fire_timer`."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class PlanErrand:
    """An errand is due: what has to be done elsewhere? Changes nothing. Reply: the plan of its kind (module
    `plan_errand`), None if the run does not want it any more.
    """

    timer: Timer


class ExternalPlan(msgspec.Struct, frozen=True):
    """The plan of a signal or cancel request to another workflow; `segments` lead to its initiated event. `before`: the
    runs that the sender was reset from.
    """

    pending: PendingExternal
    request_id: str
    segments: tuple[tuple[str, int, int], ...]
    before: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordExternal:
    """What became of a signal or cancel request to another workflow. Reply: None; obsolete ones change nothing. Module
    `record_external`.

    `timer`: the errand. `cause`: the failed event's, 0 = it succeeded. `namespace`: the target's name. `control`: of
    the initiated event.
    """

    timer: Timer
    cause: int
    namespace: str
    control: str = ""


class CallbackPlan(msgspec.Struct, frozen=True):
    """The plan of one call of a completion callback: how the run ended is in its close event, to which `segments` lead.

    `callback`: temporal.api.common.v1.Callback. `request_id`: of the start that attached it to the open run, else "".
    """

    callback: bytes
    request_id: str
    attempt: int  # of this call, from 1 on
    start_time_ns: int
    close_time_ns: int
    close_event_id: int
    segments: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class RecordCallback:
    """What became of a call of a completion callback. Reply: None; obsolete ones change nothing. Module
    `record_callback`.

    `timer`: the errand. `failure`: what went wrong, "" = it succeeded. `retryable`: it is called again later.
    """

    timer: Timer
    failure: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class ErrandDone:
    """A closed run's errand is done: its parent knows, or its children were told. Reply: None. Module `errand_done`."""

    timer: Timer


@dataclass(frozen=True, slots=True)
class StartChild:
    """A parent starts its child: a run that gets no workflow task before it is woken. Idempotent by `origin.run_id`.
    Reply: None. Refusals: WorkflowAlreadyStarted. Module `start_child`.
    """

    request: StartWorkflowExecutionRequest
    origin: Origin
    parent_close_policy: int


class Claim(IntEnum):
    """What a parent says of a child that was created for it: it is recorded as started; the parent closed, or is gone,
    and never recorded it; the parent has no such child.
    """

    STARTED = 1
    ORPHANED = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class RecordChildStarted:
    """At the parent: the child exists. Idempotent. Reply: `Claim`, `EarlierRun`. Module `record_child`.

    `seen`: runs that the parent was reset to, which were looked for already.
    """

    run_id: str
    initiated_event_id: int
    child_run_id: str
    header: Header | None = None
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordChildNotStarted:
    """At the parent: the child can't be started. `cause`: a StartChildWorkflowExecutionFailedCause. Idempotent. Reply:
    None. Module `record_child`.
    """

    run_id: str
    initiated_event_id: int
    cause: int
    control: str = ""


@dataclass(frozen=True, slots=True)
class RecordChildClosed:
    """At the parent: the child's chain of runs ended. `child`: its last run, `first_run_id` its first; `event`: the
    terminal one. Idempotent. Reply: None, `EarlierRun`. Module `record_child`.

    `seen`: as with `RecordChildStarted`.
    """

    run_id: str
    initiated_event_id: int
    child: WorkflowExecution
    first_run_id: str
    event: HistoryEvent
    seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WakeChild:
    """At the child's first run: what its parent says of it. It goes on, or ends as its parent close policy has it.
    Idempotent. Reply: None. Module `wake_child`.
    """

    run_id: str
    claim: Claim


@dataclass(frozen=True, slots=True)
class BeginQuery:
    """How a query can be answered now. Reply: `QueryPlan`. Refusals: NotFound, WorkflowNotReady, … Module `query`.

    `reject_condition`: temporal.api.enums.v1.QueryRejectCondition. `query_id` is unique to the call. `deadline_ns`:
    when
    the caller gives up (wall time; 0 = unknown): a query that would only wait for a delayed first task is refused.
    """

    run_id: str
    query: WorkflowQuery
    query_id: str
    reject_condition: int = 0
    deadline_ns: int = 0


class QueryPlan(msgspec.Struct, frozen=True):
    """`rejected_status` != 0: rejected with this status. `buffered`: wait for a notice. Else: dispatch directly."""

    run_id: str
    rejected_status: int = 0
    buffered: bool = False
    task_queue: str = ""
    sticky_queue: str = ""
    sticky_timeout_ns: int = 0


@dataclass(frozen=True, slots=True)
class AbandonQuery:
    """The client of a buffered query is gone. Reply: None. Module `query`."""

    run_id: str
    query_id: str


@dataclass(frozen=True, slots=True)
class DeleteRun:
    """Retention is over: the run goes. Reply: None. Module `delete_run`."""

    run_id: str
