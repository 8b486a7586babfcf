"""A plan: a case as data, which Hypothesis draws, a person can read, and a command line can name again.

A step names a kind, one of the case's workflows and a few numbers; the kind's function turns the numbers into choices
when it runs, knowing then what is legal (`Case.of`). Zero is the plainest choice, and where numbers run out zero is
meant. So every list of steps is a plan, and so is every part of one: a plan that differs is shrunk by leaving out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

STEPS_MIN = 8
STEPS_MAX = 26
_PICKS_MAX = 10
_PICK_MAX = 59
_WHO_MAX = 5
_BLOCK = 9
_QUIETLY = settings(phases=[Phase.generate], database=None, deadline=None, suppress_health_check=[*HealthCheck])
_BLOCKS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what is done, to which workflow (taken modulo their number), and how."""

    kind: str
    who: int = 0
    picks: tuple[int, ...] = ()

    def __str__(self) -> str:
        return ":".join((self.kind, str(self.who), ".".join(map(str, self.picks))))


Plan = tuple[Step, ...]


def written(plan: Plan) -> str:
    """A plan as one line."""
    return " ".join(map(str, plan))


def read(line: str) -> Plan:
    """The plan of such a line."""
    steps = []
    for word in line.split():
        kind, who, picks = word.split(":")
        steps.append(Step(kind, int(who), tuple(int(pick) for pick in picks.split(".") if pick)))
    return tuple(steps)


def plans(weights: dict[str, int]) -> st.SearchStrategy[Plan]:
    """Plans of the kinds of steps named in `weights`, each as often as its weight says; the first step is a start."""
    kinds = [kind for kind, weight in weights.items() for _ in range(weight)]
    picks = st.lists(st.integers(0, _PICK_MAX), min_size=_PICKS_MAX, max_size=_PICKS_MAX).map(tuple)
    step = st.builds(Step, st.sampled_from(kinds), st.integers(0, _WHO_MAX), picks)
    first = st.builds(Step, st.just("start"), st.just(0), picks)
    rest = st.lists(step, min_size=STEPS_MIN, max_size=STEPS_MAX)
    return st.builds(lambda one, more: (one, *more), first, rest)


def drawn(weights: dict[str, int], cases: int, number: int) -> list[Plan]:
    """`cases` plans of the seed `number`: the same ones each time, none twice."""
    found: dict[Plan, None] = {}
    for block in itertools.count():
        if len(found) >= cases:
            break

        # In blocks of a few, because later on Hypothesis draws little that is new, but varies what it drew before.
        @seed(number * _BLOCKS_MAX + block)
        @settings(_QUIETLY, max_examples=_BLOCK)
        @given(plans(weights))
        def draw(plan: Plan) -> None:
            if any(any(step.picks) for step in plan):
                found.setdefault(plan)

        draw()
    return list(found)[:cases]


Edit = Callable[[Plan], Plan]
_GONE = Step("")


def edits(plan: Plan) -> list[list[Edit]]:
    """What may make a plan say less, in the order to try it: steps left out, plainer steps, plainer choices.

    Edits of one list can be made together: each is of another place, and leaves the places of the others as they are.
    """
    places = range(len(plan))
    numbers = [(at, pick) for at, step in enumerate(plan) for pick, number in enumerate(step.picks) if number]
    return [
        [_replacing(at, lambda _: _GONE) for at in places[1:]],
        [_replacing(at, lambda step: Step(step.kind, step.who)) for at in places if any(plan[at].picks)],
        [_replacing(at, lambda step, pick=pick: _zeroed(step, pick)) for at, pick in numbers],  # type: ignore[misc]  # a lambda with a default has no type
    ]


def made(plan: Plan, changes: Iterable[Edit]) -> Plan:
    """The plan with these edits of one list made."""
    for change in changes:
        plan = change(plan)
    return tuple(step for step in plan if step is not _GONE)


def _replacing(at: int, by: Callable[[Step], Step]) -> Edit:
    return lambda plan: (*plan[:at], by(plan[at]), *plan[at + 1 :])


def _zeroed(step: Step, pick: int) -> Step:
    picks = (*step.picks[:pick], 0, *step.picks[pick + 1 :])
    while picks and not picks[-1]:
        picks = picks[:-1]
    return Step(step.kind, step.who, picks)
