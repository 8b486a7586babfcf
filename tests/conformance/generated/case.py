"""One run of a plan on one server: which workflows there are, which tasks are held, what the numbers of a step choose.

What is legal is asked of the server itself (`look`, `events`, both unrecorded), never remembered longer than a step but
for what only the case can know: tokens, polls that wait, and waits that it has asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from temporalio.api.enums.v1 import task_queue_pb2 as queue_kind
from temporalio.api.history.v1 import message_pb2 as history
from temporalio.api.protocol.v1 import message_pb2 as protocol
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.generated.plan import Step
from tests.conformance.harness.rpc import CallFailed
from tests.conformance.harness.session import NAMESPACE, WORKER, Pending, Session

T = TypeVar("T")
Fields = dict[str, Any]

_CALM = frozenset(
    {"signal", "cancel", "read", "query", "take", "work", "update", "reset_sticky", "set_options", "operate"}
)
_STARTED = 2
RUNNING = 1
PAUSED = 8
# From this attempt of its workflow task on a workflow takes no updates.
FAILING_ATTEMPT = 3
# Waiting for what comes by itself; longer than any short timeout of a step.
PATIENCE_SECONDS = 12.0
PAUSE_SECONDS = 0.06
SHORT = 60.0


@dataclass(frozen=True, slots=True)
class Update:
    """An update whose client waits for `stage`."""

    update_id: str
    stage: int
    request: ws.UpdateWorkflowExecutionRequest
    call: Pending


@dataclass(slots=True)
class Flow:
    """A workflow id of the case. `task` is the workflow task that its worker holds, `sticky_poll` a poll that waits."""

    name: str
    task: ws.PollWorkflowTaskQueueResponse | None = None
    sticky_poll: Pending | None = None
    old_tokens: list[bytes] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    # Short timers by run and timer id, with the loop's time by which they have fired.
    timers: dict[tuple[str, str], float] = field(default_factory=dict)
    # Signals and cancellations of others that are under way, by the run that sends them.
    calls: set[str] = field(default_factory=set)
    # Attempts of activities that end by their timeout: run, activity id, attempt.
    doomed: set[tuple[str, str, int]] = field(default_factory=set)
    # Activities that a worker holds, by run and activity id.
    held: dict[tuple[str, str], bytes] = field(default_factory=dict)
    # Ids of activities that an operator changed.
    operated: set[str] = field(default_factory=set)
    # Whether the task that is offered was offered before, in another way.
    offered_twice: bool = False
    # Whether the last start asked for its first task in the answer.
    is_eager: bool = False
    # Whether a client said that no worker has the workflow in its cache.
    is_unstuck: bool = False
    # Whether a worker has the workflow in its cache, as it said itself.
    sticky: bool = False
    tight: bool = False
    starts: int = 0
    signals: int = 0
    activities: int = 0
    asked: int = 0
    resets: int = 0
    reset_runs: set[str] = field(default_factory=set)
    pauses: int = 0
    updates: list[Update] = field(default_factory=list)
    # The messages of updates that were accepted, and have no outcome yet.
    accepted: list[protocol.Message] = field(default_factory=list)

    def let_go(self) -> None:
        """The worker's task is answered or lost; its token is kept, for a late answer."""
        if self.task is not None:
            self.old_tokens.append(self.task.task_token)
            self.task = None


class Case:
    """The workflows of a plan on one server, and the choices of the step that runs."""

    def __init__(self, session: Session, seen: Counter[tuple[str, str]]) -> None:
        self.session = session
        self.flows: dict[str, Flow] = {}
        # How the workflows stood after the last step; None where there is none.
        self.last: dict[str, ws.DescribeWorkflowExecutionResponse | None] = {}
        # Whether the step may have had an effect on other workflows, which comes by itself.
        self.stirred = False
        self._seen = seen
        self._picks: list[int] = []

    def begin(self, step: Step) -> None:
        """The next step's numbers are to be chosen by."""
        self._picks = list(step.picks)
        self.stirred = step.kind not in _CALM

    def fields(self, options: Sequence[Fields]) -> Fields:
        """Fields of a request, as `of` chooses; the first set is the plainest."""
        return self.of(options)

    def of(self, options: Sequence[T]) -> T:
        """The option that the step's next number names; the first is the plainest."""
        pick = self._picks.pop(0) if self._picks else 0
        return options[pick % len(options)]

    def rarely(self, share: int = 10) -> bool:
        """True for one number in `share`."""
        return self.of([False] * (share - 1) + [True])

    def saw(self, what: str, state: str) -> None:
        """Counts that this was done in this state."""
        self._seen[what, state] += 1

    def flow(self, name: str) -> Flow:
        """The workflow id of this name, new or known."""
        return self.flows.setdefault(name, Flow(name))

    def chosen(self, step: Step) -> Flow:
        """The workflow that a step names by number, of those that the step is for, or of all if it is for none."""
        listed = [flow for flow in self.flows.values() if self._suits(step, flow)]
        listed = listed or list(self.flows.values()) or [Flow("none")]
        return listed[step.who % len(listed)]

    def _suits(self, step: Step, flow: Flow) -> bool:
        info = self.last.get(flow.name)
        return info is not None and SUITS[step.kind](flow, info)

    def queue(self, name: str) -> taskqueue.TaskQueue:
        """The task queue of a workflow id or of an activity: one each, so that a poll has one outcome."""
        return taskqueue.TaskQueue(name=self.session.unique(f"queue-{name}"), kind=queue_kind.TASK_QUEUE_KIND_NORMAL)

    def sticky(self, name: str) -> taskqueue.TaskQueue:
        """The sticky queue of a workflow id's worker."""
        return taskqueue.TaskQueue(
            name=self.session.unique(f"sticky-{name}"),
            kind=queue_kind.TASK_QUEUE_KIND_STICKY,
            normal_name=self.session.unique(f"queue-{name}"),
        )

    async def look(self, flow: Flow, run_id: str = "") -> ws.DescribeWorkflowExecutionResponse | None:
        """Describe, unrecorded; None if there is no such workflow. A run seen for the first time is remembered."""
        request = ws.DescribeWorkflowExecutionRequest(
            namespace=NAMESPACE, execution=self.session.execution(flow.name, run_id)
        )
        try:
            found: ws.DescribeWorkflowExecutionResponse = await self.session.quiet(request)
        except CallFailed as failed:
            if failed.code != "NOT_FOUND":
                raise
            return None
        run = found.workflow_execution_info.execution.run_id
        if run not in flow.runs:
            flow.runs.append(run)
        return found

    async def state(self, flow: Flow) -> tuple[str, ws.DescribeWorkflowExecutionResponse | None]:
        """In a word where the workflow is: none, closed, held, lost (started, but not held here), scheduled, idle."""
        found = await self.look(flow)
        if found is None:
            return "none", None
        if found.workflow_execution_info.status == PAUSED:
            return "paused", found
        if found.workflow_execution_info.status != RUNNING:
            return "closed", found
        if not found.HasField("pending_workflow_task"):
            return "idle", found
        if found.pending_workflow_task.state == 1:
            return "scheduled", found
        return ("held" if flow.task is not None else "lost"), found

    def has_started_task(self, flow: Flow) -> bool:
        """Whether a worker had the workflow's task when the step began."""
        info = self.last.get(flow.name)
        return info is not None and info.pending_workflow_task.state == _STARTED

    def is_failing(self, flow: Flow) -> bool:
        """Whether the workflow's task had failed so often when the step began that it takes no updates."""
        info = self.last.get(flow.name)
        return info is not None and info.pending_workflow_task.attempt >= FAILING_ATTEMPT

    async def events(self, flow: Flow, run_id: str = "") -> list[history.HistoryEvent]:
        """The whole history, unrecorded; empty if there is no such workflow."""
        try:
            return await self.session.events(flow.name, run_id)
        except CallFailed as failed:
            if failed.code != "NOT_FOUND":
                raise
            return []

    def poll_request(self, flow: Flow) -> ws.PollWorkflowTaskQueueRequest:
        """A poll of the workflow's own queue."""
        return ws.PollWorkflowTaskQueueRequest(namespace=NAMESPACE, task_queue=self.queue(flow.name), identity=WORKER)

    def begin_sticky_poll(self, flow: Flow) -> None:
        """A worker waits at the sticky queue."""
        request = ws.PollWorkflowTaskQueueRequest(
            namespace=NAMESPACE, task_queue=self.sticky(flow.name), identity=WORKER
        )
        if flow.sticky_poll is None:
            flow.sticky_poll = self.session.begin(request, seconds=60)

    def end_sticky_poll(self, flow: Flow) -> None:
        """The worker no longer waits."""
        if flow.sticky_poll is not None:
            flow.sticky_poll.cancel()
            flow.sticky_poll = None


Action = Callable[[Case, Flow], Awaitable[None]]
Suits = Callable[[Flow, ws.DescribeWorkflowExecutionResponse], bool]
ACTIONS: dict[str, Action] = {}
SUITS: dict[str, Suits] = {}
WEIGHTS: dict[str, int] = {}


def anything(flow: Flow, info: ws.DescribeWorkflowExecutionResponse) -> bool:
    """For steps that suit every workflow that exists."""
    return True


def still_open(flow: Flow, info: ws.DescribeWorkflowExecutionResponse) -> bool:
    """For steps that are of little use where the workflow has closed."""
    return info.workflow_execution_info.status in (RUNNING, PAUSED)


def has_task(flow: Flow, info: ws.DescribeWorkflowExecutionResponse) -> bool:
    """For steps of workflow workers."""
    return still_open(flow, info) and info.HasField("pending_workflow_task")


def has_activity(flow: Flow, info: ws.DescribeWorkflowExecutionResponse) -> bool:
    """For steps about activities."""
    return still_open(flow, info) and len(info.pending_activities) > 0


def action(weight: int, suits: Suits = anything) -> Callable[[Action], Action]:
    """Registers the decorated function as a kind of step, under its own name, for the workflows that it suits."""

    def register(function: Action) -> Action:
        ACTIONS[function.__name__] = function
        SUITS[function.__name__] = suits
        WEIGHTS[function.__name__] = weight
        return function

    return register
