"""Which changes a decision may make to a run, whatever was asked: a table of what may follow what.

`Transitions` sees every decision after the stage adopted it, and compares each run with what it was before.
"""

from typing import Any

from perdure.workflow.decide import Decision
from perdure.workflow.outstanding import outstanding
from perdure.workflow.state import PAUSED, RUNNING, Run, WorkflowTask
from perdure.workflow.tasks import Offer

# Life of a run, and of its workflow task while it is open: what may follow what in one decision.
LIVES = {
    ("none", "open"),
    ("open", "open"),
    ("open", "closed"),
    ("closed", "closed"),
    ("closed", "gone"),
}


def _life(run: Run | None, before: bool) -> str:
    if run is None:
        return "none" if before else "gone"
    return "open" if run.facts.status in (RUNNING, PAUSED) else "closed"


class Transitions:
    """Remembers the runs as they were."""

    def __init__(self) -> None:
        self._runs: dict[str, Run] = {}
        self.seen: set[tuple[str, str]] = set()

    def see(self, request: Any, decision: Decision) -> None:
        """Compare with the former decision's runs."""
        for run_id in {*self._runs, *decision.chain.runs}:
            old, new = self._runs.get(run_id), decision.chain.runs.get(run_id)
            life = _life(old, before=True), _life(new, before=False)
            assert life in LIVES, f"a run went from {life[0]} to {life[1]} at {type(request).__name__}"
            self.seen.add(life)
            if decision.record is None:
                assert old is None or new is None or old.facts == new.facts, "facts changed without a record"
            if new is not None:
                self._check(old, new)
        self._runs = dict(decision.chain.runs)

    def _check(self, old: Run | None, new: Run) -> None:
        if not new.is_open:
            assert not [task for task in outstanding(new) if isinstance(task, Offer)], "a closed run offers work"
        if new.durable.workflow_task is not None:
            _check_task(new.durable.workflow_task, new)
        for scheduled, attempt in new.durable.attempts.items():
            assert scheduled < new.facts.next_event_id
            assert attempt.attempt >= 1
            assert not (attempt.waiting and attempt.started_time_ns), "an attempt waits and is started"
        if old is None:
            return
        assert new.facts.next_event_id >= old.facts.next_event_id, "events went away"
        if not old.is_open:
            assert new.facts.next_event_id == old.facts.next_event_id, "a closed run got an event"
            assert new.facts.status == old.facts.status
        back = [
            key for key in new.facts.activities if key not in old.facts.activities and key < old.facts.next_event_id
        ]
        assert not back, "an activity that was over came back"
        _check_started_once(old.durable.workflow_task, new.durable.workflow_task)


def _check_task(task: WorkflowTask, run: Run) -> None:
    assert task.attempt >= 1
    assert not task.started_event_id or task.started_event_id > task.scheduled_event_id
    assert bool(task.started_event_id) == bool(task.started_time_ns)


def _check_started_once(old: WorkflowTask | None, new: WorkflowTask | None) -> None:
    """A task that a worker has is not given to another: it ends, or is another attempt, or stays as it is."""
    if old is None or new is None or not old.started_event_id:
        return
    same = (old.scheduled_event_id, old.attempt, old.stamp) == (new.scheduled_event_id, new.attempt, new.stamp)
    if same and new.started_event_id:
        assert old.started_time_ns == new.started_time_ns, "a task was started twice"
