"""Timers: several at once, cancelled ones, and those of no time at all."""

from __future__ import annotations

from temporalio.api.enums.v1 import event_type_pb2 as kinds

from tests.conformance.harness.commands import cancel_timer, complete_workflow, start_timer
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session


@scenario()
async def timers_fire_in_order(s: Session) -> None:
    """Timers fire by their time, not in the order of their start."""
    await s.start_quietly()
    await s.advance(start_timer("late", 2), start_timer("soon", 1))
    task = await s.poll()
    await s.complete(task)
    task = await s.poll()
    await s.complete(task, complete_workflow())
    await s.show_history(first=5)


@scenario()
async def timer_id_used_again(s: Session) -> None:
    """The id of a fired or cancelled timer may be used again."""
    await s.start_quietly()
    await s.advance(start_timer("t", 1))
    await s.advance(start_timer("t", 100))
    await s.signal("go")
    await s.advance(cancel_timer("t"), start_timer("t", 50))
    await s.show_history(first=5)


@scenario()
async def timer_of_zero(s: Session) -> None:
    """A timer of no time fires at once, be it zero or unset."""
    await s.start_quietly()
    await s.complete(await s.take(), start_timer("zero", 0))
    await s.complete(await s.take(), start_timer("unset", None))
    await s.take()
    await s.show_history(first=3)


@scenario()
async def timers_outlive_nothing(s: Session) -> None:
    """A closed workflow's timer never fires."""
    await s.start_quietly()
    await s.advance(start_timer("t", 1), complete_workflow())
    await s.start_quietly("clock")
    await s.advance(start_timer("past", 2))
    await s.wait_for_event(kinds.EVENT_TYPE_TIMER_FIRED, "clock")
    await s.show_history(first=4)
