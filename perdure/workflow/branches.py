"""Which runs of a chain lie on which branches of history, so that none goes while a run needs it.

A reset's new run lies on its base's branches up to the point where it leaves them, and on one of its own from there
on. The chain counts the runs on every branch that more than one lies on (`Chain.shared`); whoever deletes a run knows
from it what goes too, without a look at any other run. Invariant: a branch goes with the last run on it, and not
before. The new run's part of a shared branch is written for good: its writer was closed when the reset forked it.
"""

from collections.abc import Iterable, Mapping

from perdure.workflow.decide import Work
from perdure.workflow.state import HistorySegment, Run


def forked(run: Run, end: int, branch: str) -> tuple[HistorySegment, ...]:
    """The segments of a new run that has `run`'s events below `end`, and its own on the new `branch`."""
    shared = tuple(
        HistorySegment(
            segment.branch, segment.first, min(segment.end or end, end), segment.writer or run.durable.run_id
        )
        for segment in run.durable.segments
        if segment.first < end
    )
    return *shared, HistorySegment(branch, end)


def spans(segments: Iterable[HistorySegment]) -> tuple[tuple[str, int, int], ...]:
    """Where a run's history lies, for who reads it: (branch, first, end) each; end 0 = open."""
    return tuple((segment.branch, segment.first, segment.end) for segment in segments)


def share(work: Work, segments: Iterable[HistorySegment]) -> None:
    """One more run lies on these segments' branches, besides those that wrote them."""
    shared = dict(work.shared)
    for segment in segments:
        if segment.writer:
            shared[segment.branch] = shared.get(segment.branch, 1) + 1
    work.shared = shared


def release(work: Work, run: Run) -> tuple[str, ...]:
    """`run` goes: the branches that go with it, because no other run lies on them."""
    branches = tuple(segment.branch for segment in run.durable.segments)
    if not any(branch in work.shared for branch in branches):
        return branches
    alone = tuple(branch for branch in branches if branch not in work.shared)
    work.shared = _without(work.shared, branches)
    return alone


def _without(shared: Mapping[str, int], branches: Iterable[str]) -> Mapping[str, int]:
    """The counts without one run on each of these. A branch that one is left on is that one's."""
    left = dict(shared)
    for branch in branches:
        count = left.pop(branch, 1) - 1
        if count > 1:
            left[branch] = count
    return left
