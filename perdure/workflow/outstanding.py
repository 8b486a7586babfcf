"""What a run wants from the world, derived from its state: the one place that says so.

`tasks_of` answers for one entity of a run (its workflow task, one activity, one timer, the run as a whole);
`outstanding` is the union over all entities, used by recovery and by the auditor; what a speculative workflow task
wants is no part of it, for it is in no index and lost with the task (`volatile`). A decision's task changes are the
difference of `tasks_of` over the entities that it touched, so no code path can forget a task, and the auditor can
prove it.
"""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from operator import attrgetter
from typing import Any

import msgspec

from perdure.workflow.state import Run
from perdure.workflow.tasks import Offer, Task, Timer

Entity = tuple[str, Any]

# Which entity an entry belongs to, by the name of the map or field that holds it; every other field belongs to the
# run itself.
_ENTITY_OF_FIELD = {
    "activities": "activity",
    "attempts": "activity",
    "timers": "timer",
    "workflow_task": "workflow_task",
    "children": "child",
    "external_signals": "external_signal",
    "external_cancels": "external_cancel",
    "callbacks": "callback",
    "callback_attempts": "callback",
}
# These want something of the world after the run's close, too.
_OUTLIVE = frozenset({"run", "callback"})

# Fields that the tasks of many entities depend on: where one changed, everything is compared.
_wide_facts = attrgetter("status", "task_queue", "priority", "time_skipping")
_wide_durable = attrgetter("paused", "versioning", "assigned_build_id")

DERIVE: dict[str, Callable[[Run, Any], Iterable[Task]]] = {}


def derives(entity: str) -> Callable[[Callable[[Run, Any], Iterable[Task]]], Callable[[Run, Any], Iterable[Task]]]:
    """Registers the function that derives the tasks of one kind of entity, given the run and the entity's key."""

    def register(derive: Callable[[Run, Any], Iterable[Task]]) -> Callable[[Run, Any], Iterable[Task]]:
        DERIVE[entity] = derive
        return derive

    return register


def tasks_of(run: Run, entity: Entity) -> set[Task]:
    """The tasks that one entity of the run needs now; empty if the entity does not exist, or its run is closed."""
    if not run.is_open and entity[0] not in _OUTLIVE:
        return set()
    tasks = DERIVE[entity[0]](run, entity[1])
    if run.facts.time_skipping is None:
        return set(tasks)
    ahead_ns = run.ahead_ns
    return {_in_shard_time(task, ahead_ns) for task in tasks}


def _in_shard_time(task: Task, ahead_ns: int) -> Task:
    """The task of a run whose time is ahead, by the clock of its shard."""
    if isinstance(task, Timer):
        return msgspec.structs.replace(task, due_ns=task.due_ns - ahead_ns)
    if isinstance(task, Offer):
        return msgspec.structs.replace(task, scheduled_time_ns=task.scheduled_time_ns - ahead_ns)
    return task


def entities(run: Run) -> list[Entity]:
    """All entities of the run."""
    found: list[Entity] = [("run", None), ("workflow_task", None)]
    found += [("activity", key) for key in run.facts.activities]
    found += [("timer", key) for key in run.facts.timers]
    found += [("child", key) for key in run.facts.children]
    found += [("external_signal", key) for key in run.facts.external_signals]
    found += [("external_cancel", key) for key in run.facts.external_cancels]
    found += [("callback", key) for key in run.facts.callbacks]
    return found


def outstanding(run: Run) -> set[Task]:
    """Everything the run needs now."""
    return {task for entity in entities(run) for task in tasks_of(run, entity)}


def volatile(run: Run) -> set[Task]:
    """What the run's speculative workflow task needs now."""
    return tasks_of(run, ("speculative_task", None)) if run.ephemeral.speculative_task is not None else set()


def touched_entities(run: Run) -> set[Entity]:
    """The entities whose entries were written since the run was forked."""
    found: set[Entity] = {("run", None)}
    for field, key in run.touched:
        entity = _ENTITY_OF_FIELD.get(field)
        if entity is not None:
            found.add((entity, key))
    return found


def difference(before: Run | None, after: Run | None) -> tuple[list[Task], list[Task]]:
    """The tasks (added, removed) between a run and its fork after a decision; None where the run does not exist.

    Where the run closed, was created or changed in a wide field everything is compared, else only what was touched. A
    deleted run wants nothing: that lists have to forget it follows from the record.
    """
    if before is None or after is None or _changed_widely(before, after):
        old = outstanding(before) if before is not None else set()
        new = outstanding(after) if after is not None else set()
    else:
        touched = touched_entities(after)
        old = {task for entity in touched for task in tasks_of(before, entity)}
        new = {task for entity in touched for task in tasks_of(after, entity)}
    return in_order(new - old), in_order(old - new)


def in_order(tasks: AbstractSet[Task]) -> list[Task]:
    """In an order that is the same in every process."""
    return sorted(tasks, key=_order) if len(tasks) > 1 else list(tasks)


def _changed_widely(before: Run, after: Run) -> bool:
    return bool(
        _wide_facts(before.facts) != _wide_facts(after.facts)
        or _wide_durable(before.durable) != _wide_durable(after.durable)
    )


def _order(task: Task) -> tuple[Any, ...]:
    return type(task).__name__, *msgspec.structs.astuple(task)
