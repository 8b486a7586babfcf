"""Chains of several workflow ids on one clock, with the errands between them run by their own runners.

Requests can be dropped on their way, or done while their answers are lost: once each, by the name of their type.
"""

from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Unavailable
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.history import child_errands
from perdure.history.errands import RUNNERS, Errand, run_errand
from perdure.history.reading import Segments
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.state import Chain, Run
from perdure.workflow.tasks import Timer, TimerKind
from tests.transcripts.scenarios import command, start
from tests.transcripts.stage import Stage

assert RUNNERS[TimerKind.CHILD_START] is child_errands.start


class Family:
    """`dropped`, `lost`: requests that never arrive, and answers that don't come back. `asked`: what arrived."""

    def __init__(self) -> None:
        self.stages: dict[str, Stage] = {}
        self.dropped: list[str] = []
        self.lost: list[str] = []
        self.asked: list[Any] = []

    def __getitem__(self, workflow_id: str) -> Stage:
        """The chain of a workflow id, with the newest clock of all."""
        stage = self.stages.get(workflow_id)
        if stage is None:
            stage = self.stages[workflow_id] = Stage()
            stage.chain = Chain(ChainKey("ns", workflow_id), None, {})
            stage._count = len(self.stages) << 32  # so that no two stages draw the same ids
        stage.now_ns = max(each.now_ns for each in self.stages.values())
        return stage

    def errands(self) -> list[Timer]:
        """What is due now at any chain."""
        found = []
        for stage in [self[workflow_id] for workflow_id in self.stages]:
            found += [timer for timer in stage.errands() if timer.due_ns <= stage.now_ns]
        return found

    def run(self, *kinds: TimerKind) -> None:
        """Run what is due, of these kinds (none = all), once each; one that fails stays due."""

        async def once() -> None:
            namespaces = Namespaces(MemoryStore().documents, running_loop().clock)
            await namespaces.register(Namespace("ns", "default", SECOND_NS))
            for timer in self.errands():
                if timer.kind in (kinds or (timer.kind,)):
                    try:
                        await run_errand(_Between(self, timer, namespaces))
                    except Unavailable:
                        continue

        run_virtual(once())

    def settle(self) -> None:
        """Run what is due until nothing is."""
        for _ in range(20):
            if not self.errands():
                return
            self.run()
        raise AssertionError(f"still due: {self.errands()}")

    def history(self, workflow_id: str, run_id: str = "") -> list[HistoryEvent]:
        """The events of a run, "" = the current one."""
        stage = self[workflow_id]
        return stage.histories[run_id] if run_id else stage.history

    def names(self, workflow_id: str, run_id: str = "") -> list[str]:
        """The types of a run's events, without workflow tasks' and in few words."""
        names = [
            EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in self.history(workflow_id, run_id)
        ]
        short = [name.replace("WORKFLOW_EXECUTION_", "") for name in names]
        return [name for name in short if not name.startswith("WORKFLOW_TASK")]

    def current(self, workflow_id: str) -> Run:
        """The current run."""
        return self[workflow_id].run


class _Between(Errand):
    """An errand between two stages."""

    def __init__(self, family: Family, timer: Timer, namespaces: Namespaces) -> None:
        self.timer = timer
        self.namespaces = namespaces
        self.family = family

    async def event(self, segments: Segments, event_id: int) -> HistoryEvent:
        return self.family[self.timer.key.workflow_id].histories[self.timer.run_id][event_id - 1]

    async def ask(self, key: ChainKey, request: Any) -> Any:
        family, name = self.family, type(request).__name__
        if name in family.dropped:
            family.dropped.remove(name)
            raise Unavailable("the request was lost")
        family.asked.append(request)
        reply = family[key.workflow_id].do(request)
        if name in family.lost:
            family.lost.remove(name)
            raise Unavailable("the answer was lost")
        return reply

    async def bring_back(self, request: Any) -> Any:
        return await self.ask(self.timer.key, request)


def start_child(workflow_id: str = "child", **fields: Any) -> Command:
    """Start a child of type `flow` on queue `queue`."""
    given = {"workflow_id": workflow_id, "workflow_type": {"name": "flow"}, **fields}
    return command("START_CHILD_WORKFLOW_EXECUTION", **given)


def family(*children: Command) -> Family:
    """A workflow `parent` that has asked for these children (one `child` if none are given), whose errands are due."""
    found = Family()
    parent = found["parent"]
    parent.do(start())
    parent.poll()
    parent.complete(*(children or (start_child(),)))
    return found


def complete(found: Family, workflow_id: str, *commands: Command) -> None:
    """A worker takes the workflow's task and answers it."""
    found[workflow_id].poll()
    decision = found[workflow_id].complete(*commands)
    assert decision.refusal is None, decision.refusal
