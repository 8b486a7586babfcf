"""Signals and requests to other workflows: done once, whichever step has to be repeated."""

from collections.abc import Coroutine
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import TimeSkippingConfig
from temporalio.api.enums.v1 import ResourceExhaustedCause, WorkflowIdConflictPolicy
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.errors import (
    Aborted,
    DeadlineExceeded,
    NamespaceNotFound,
    PerdureError,
    ResourceExhausted,
    Unavailable,
)
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.history.errands import Errand, run_errand
from perdure.history.other_namespaces import other_namespace
from perdure.history.reading import Segments
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.evolve import attributes_of
from perdure.workflow.requests import RecordExternal
from perdure.workflow.state import Chain
from perdure.workflow.tasks import Timer
from tests.transcripts.activity_scenarios import timer
from tests.transcripts.scenarios import command, done, start, terminate
from tests.transcripts.stage import Stage
from tests.unit.history.house import House, finish

SIGNAL = "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION"
CANCEL = "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION"
TAKEN = ("workflow_execution_signaled", "workflow_execution_cancel_requested")
_TERMINATE = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
BUSY = ResourceExhausted("busy", ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW)


def signal(target: str = "target", **more: Any) -> Command:
    return command(SIGNAL, execution={"workflow_id": target}, signal_name="hello", control="control", **more)


def cancel(target: str = "target", **more: Any) -> Command:
    return command(CANCEL, workflow_id=target, reason="enough", control="control", **more)


both = pytest.mark.parametrize("send", [signal, cancel])


class Sender(Stage):
    """A workflow that has sent something to the workflow `target`, which is there too.

    `lost`: requests of these types are done, and their answers lost, once each; `broken`: what the target raises.
    """

    def __init__(self, sent: Command, *, limits: Limits | None = None, is_ahead: bool = False) -> None:
        super().__init__()
        self.target = Stage(limits=limits)
        self.target.chain = Chain(ChainKey("ns", "target"), None, {})
        self.target.do(start("target"))
        skipping = TimeSkippingConfig(enabled=True, max_session_skip_count=9)
        self.do(start(time_skipping_config=skipping if is_ahead else None))
        self.poll()
        if is_ahead:
            self.complete(timer("day", 86_400))
            self.advance(1)
            self.poll()
        self.complete(sent)
        (self.errand,) = self.errands()
        self.lost: list[str] = []
        self.broken: PerdureError | None = None

    async def send(self) -> None:
        """Run the errand once."""
        namespaces = Namespaces(MemoryStore().documents, running_loop().clock)
        await namespaces.register(Namespace("ns", "default", SECOND_NS))
        await run_errand(Shortcut(self, self.errand, namespaces))

    def outcomes(self) -> list[Any]:
        """The attributes of the events that say what became of it."""
        events = [event for event in self.history if event.event_id > 5]
        return [attributes_of(event) for event in events if not str(event.WhichOneof("attributes")).startswith("w")]

    def taken(self) -> list[str]:
        """What the target's runs took."""
        events = [event for history in self.target.histories.values() for event in history]
        names = [str(event.WhichOneof("attributes")).removesuffix("_event_attributes") for event in events]
        return [name for name in names if name in TAKEN]


class Shortcut(Errand):
    """An errand between two stages."""

    def __init__(self, sender: Sender, timer: Timer, namespaces: Namespaces) -> None:
        self.timer = timer
        self.namespaces = namespaces
        self.sender = sender

    async def event(self, segments: Segments, event_id: int) -> HistoryEvent:
        return self.sender.history[event_id - 1]

    async def ask(self, key: ChainKey, request: Any) -> Any:
        if self.sender.broken is not None:
            raise self.sender.broken
        target = self.sender.target
        target.now_ns = max(target.now_ns, self.sender.now_ns)
        return self._answered(request, target.do(request) if key == target.chain.key else Stage().do(request))

    async def bring_back(self, request: Any) -> Any:
        return self._answered(request, self.sender.do(request))

    def _answered(self, request: Any, reply: Any) -> Any:
        name = type(request).__name__
        if name in self.sender.lost:
            self.sender.lost.remove(name)
            raise Unavailable("the answer was lost")
        return reply


def play(work: Coroutine[Any, Any, None]) -> None:
    run_virtual(work)


@both
def test_the_target_takes_it_and_the_sender_learns_it(send: Any) -> None:
    sender = Sender(send())
    play(sender.send())
    (outcome,) = sender.outcomes()
    assert (outcome.initiated_event_id, outcome.namespace, outcome.namespace_id) == (5, "default", "ns")
    assert outcome.workflow_execution.workflow_id == "target"
    assert getattr(outcome, "control", "control") == "control"
    assert len(sender.taken()) == 1
    assert len(sender.offers()) == 1
    assert sender.errands() == []


@both
@pytest.mark.parametrize("lost", ["PlanErrand", "SignalWorkflow RequestCancel", "RecordExternal"])
@pytest.mark.parametrize("later_runs", [None, 0, 1, 2])
def test_a_lost_answer_repeats_a_step_and_not_its_effect(send: Any, lost: str, later_runs: int | None) -> None:
    sender = Sender(send())
    sender.lost = lost.split()
    with pytest.raises(Unavailable):
        play(sender.send())
    if sender.taken() and later_runs is not None:
        sender.target.do(terminate())
        for count in range(later_runs):
            sender.target.do(start(f"later-{count}", workflow_id_conflict_policy=_TERMINATE))
    sender.advance(5)
    sender.lost = []
    play(sender.send())
    play(sender.send())
    assert len(sender.taken()) == 1
    assert len(sender.outcomes()) == 1
    assert not getattr(sender.outcomes()[0], "cause", 0)


@both
def test_a_sender_whose_time_is_ahead_is_taken_once_too(send: Any) -> None:
    sender = Sender(send(), is_ahead=True)
    assert sender.run.ahead_ns
    sender.lost = ["SignalWorkflow", "RequestCancel"]
    with pytest.raises(Unavailable):
        play(sender.send())
    sender.advance(60)
    sender.target.now_ns = sender.now_ns
    sender.target.do(terminate())
    sender.target.do(start("later"))
    play(sender.send())
    assert len(sender.taken()) == 1


@pytest.mark.parametrize(
    ("sent", "target_is", "cause"),
    [
        (signal(), "closed", 1),
        (signal("nobody"), "open", 1),
        (cancel("nobody"), "open", 1),
        (signal("wf"), "open", 1),
        (cancel("wf"), "open", 1),
        (signal(child_workflow_only=True), "open", 1),
        (cancel(child_workflow_only=True), "open", 1),
        (signal(), "full", 3),
        (cancel(), "closed", 0),
        (cancel(), "full", 0),
    ],
)
def test_what_the_target_refuses_for_good_is_an_outcome(sent: Command, target_is: str, cause: int) -> None:
    sender = Sender(sent, limits=Limits(signals_max=0) if target_is == "full" else None)
    if target_is == "closed":
        sender.target.do(terminate())
    play(sender.send())
    (outcome,) = sender.outcomes()
    assert getattr(outcome, "cause", 0) == cause
    assert outcome.namespace == "default"
    assert sender.errands() == []


@both
def test_a_namespace_that_went_meanwhile_is_an_outcome(send: Any) -> None:
    sender = Sender(send())
    sender.broken = NamespaceNotFound("ns")
    play(sender.send())
    assert [outcome.cause for outcome in sender.outcomes()] == [2]


@both
@pytest.mark.parametrize("error", [Unavailable("gone"), Aborted("lost"), DeadlineExceeded("late"), BUSY])
def test_what_may_pass_is_tried_again(send: Any, error: PerdureError) -> None:
    sender = Sender(send())
    sender.broken = error
    with pytest.raises(Unavailable):
        play(sender.send())
    assert sender.outcomes() == []
    sender.broken = None
    play(sender.send())
    assert len(sender.taken()) == 1


@both
def test_a_sender_that_closed_sends_nothing_more(send: Any) -> None:
    sender = Sender(send())
    sender.do(terminate())
    play(sender.send())
    assert sender.taken() == []
    late = RecordExternal(sender.errand, 0, "default")
    assert sender.decide(late).record is None


def test_a_sender_that_closes_with_its_command_sends_nothing() -> None:
    stage = Stage()
    stage.do(start())
    stage.poll()
    stage.complete(signal(), done())
    assert stage.errands() == []


@pytest.mark.parametrize(
    ("sent", "there", "here"),
    [
        (signal(), "signaled", "external_workflow_execution_signaled"),
        (cancel(), "cancel_requested", "external_workflow_execution_cancel_requested"),
        (signal("nobody"), "", "signal_external_workflow_execution_failed"),
        (cancel("nobody"), "", "request_cancel_external_workflow_execution_failed"),
    ],
)
def test_it_goes_from_one_workflow_to_another_through_the_roles(sent: Command, there: str, here: str) -> None:
    async def run() -> tuple[list[str], list[str]]:
        house = await House(running_loop(), MemoryStore()).open()
        await house.start("target", queue="elsewhere")
        await house.start("sender")
        await house.complete(await house.poll(), sent)
        await house.complete(await house.poll(), finish())
        return await house.events("sender"), await house.events("target")

    sender, target = run_virtual(run())
    assert sender[5] == f"6 {here}"
    assert sender[-1] == "10 completed"
    assert target[2:] == ([f"3 {there}"] if there else [])


def test_a_command_to_another_namespace_refuses_the_completion() -> None:
    async def run() -> list[str]:
        house = await House(running_loop(), MemoryStore()).open()
        await house.roles.namespaces.register(Namespace("other-id", "other", SECOND_NS))
        await house.start("sender")
        task = await house.poll()
        with pytest.raises(NamespaceNotFound):
            await house.complete(task, signal(namespace="unknown"))
        with pytest.raises(PerdureError, match="cross namespace commands are not allowed"):
            await house.complete(task, cancel(namespace="other"))
        task = await house.poll()
        await house.complete(task, signal(namespace="default"), finish())
        return await house.events("sender")

    assert run_virtual(run())[3:5] == ["4 workflow_task_failed", "5 workflow_task_scheduled"]


def test_the_first_other_namespace_that_is_named_is_looked_up() -> None:
    own = [signal(), cancel(namespace="own"), done()]
    assert other_namespace(own, "own") == ""
    assert other_namespace([*own, cancel(namespace="b"), signal(namespace="c")], "own") == "b"
