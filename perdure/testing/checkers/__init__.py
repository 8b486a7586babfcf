"""The rules of what must hold, each a small function over the evidence of one run. Knows no server, store or loop.

A checker yields what is wrong and nothing else; the number of a violation is that of the rule in docs/invariants.md.
"""

from collections.abc import Callable, Iterator

from perdure.testing.checkers import (
    activities,
    callbacks,
    cluster,
    families,
    histories,
    signals,
    starts,
    timers,
    updates,
    workflow_tasks,
)
from perdure.testing.checkers.evidence import Evidence, Violation
from perdure.testing.checkers.vacuity import vacuous

__all__ = ["RULES", "Evidence", "Violation", "check", "vacuous"]

RULES: tuple[Callable[[Evidence], Iterator[Violation]], ...] = (
    histories.gapless_ids,
    histories.same_bytes,
    histories.one_beginning_and_end,
    histories.reads_never_go_back,
    histories.acknowledged_runs_are_found,
    histories.replay_equals_live,
    histories.times_go_on,
    workflow_tasks.one_outstanding,
    workflow_tasks.completions_of_the_current_task,
    workflow_tasks.commands_in_order,
    workflow_tasks.no_close_over_buffered,
    workflow_tasks.one_start_per_task,
    signals.signals_once,
    signals.signals_in_order,
    families.calls_between_workflows,
    callbacks.callbacks_tell_the_end,
    updates.one_outcome,
    updates.one_execution,
    signals.queries_see_signals,
    starts.one_open_run,
    starts.one_run_per_start,
    starts.policies_hold,
    families.one_successor,
    families.children_once,
    activities.one_end,
    activities.nothing_after_the_end,
    activities.one_delivery_per_attempt,
    activities.attempts_back_off,
    activities.heartbeats_survive,
    timers.timers_fire_once_and_late_enough,
    timers.timeouts_not_early,
    cluster.everything_settles,
    cluster.epochs_rise,
    cluster.one_owner,
    histories.rising_task_ids,
    cluster.every_task_was_executed,
    starts.pointers_and_runs,
    starts.lists_agree,
    cluster.namespaces_apart,
    cluster.restart_loses_nothing,
)


def check(evidence: Evidence) -> list[Violation]:
    """Every violation, in the order of the rules."""
    return [violation for rule in RULES for violation in rule(evidence)]
