"""Plans on both servers: run side by side, judged, and shrunk when they differ.

A difference counts only if the reference agrees with itself: it is asked twice more, and Perdure once more, so that
what a busy machine decided is told from what the servers decided.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.conformance.generated import steps  # noqa: F401 - registers the kinds of steps
from tests.conformance.generated.case import ACTIONS, Case, Flow
from tests.conformance.generated.ending import finish
from tests.conformance.generated.intended import INTENDED
from tests.conformance.generated.plan import Edit, Plan, Step, edits, made
from tests.conformance.generated.settling import settle
from tests.conformance.generated.steps.updates import ask_again, ended
from tests.conformance.harness.render import Names
from tests.conformance.harness.rpc import CallFailed, Client
from tests.conformance.harness.scenario import STOPPED
from tests.conformance.harness.session import Session
from tests.conformance.harness.transcript import Transcript, difference

CASE_SECONDS = 120.0
AT_ONCE = 30
_ROUNDS_MAX = 3
# The least share of cases that reach their end, and on the reference are the same twice.
STABLE = 0.9

Seen = Counter[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a plan. `difference` is empty if the servers agree; `unstable` says who contradicted itself."""

    plan: Plan
    reference: str
    difference: str = ""
    unstable: str = ""

    @property
    def kind(self) -> str:
        """What differs first, without its values: differences that are alike have the same kind."""
        changed = [line for line in self.difference.splitlines()[2:] if line[:1] in "+-" and line[1:].strip()]
        return " ".join(re.sub(r"\d+", "n", line.partition(":")[0]) for line in changed[:2])

    @property
    def stopped(self) -> str:
        """Why the plan did not reach its end on the reference; empty if it did."""
        last = self.reference.rstrip().splitlines()[-1]
        return last if last.startswith(STOPPED) else ""


async def transcript(plan: Plan, client: Client, seen: Seen | None = None) -> str:
    """Run a plan on a server and return its transcript; what goes wrong ends it with a line that says so."""
    nonce = os.urandom(5).hex()
    written = Transcript(Names(nonce, INTENDED))
    session = Session(client, written, nonce)
    case = Case(session, Counter() if seen is None else seen)
    try:
        async with asyncio.timeout(CASE_SECONDS):
            if await _play(case, plan):
                await finish(case)
    except CallFailed as failure:
        written.lines.append(f"{STOPPED} {failure.method} failed: {failure.code}")
    except TimeoutError as late:
        written.lines.append(f"{STOPPED} {str(late) or f'no end after {CASE_SECONDS:g} s'}")
    finally:
        await session.end()
    return written.text()


async def _play(case: Case, plan: Plan) -> bool:
    """Whether what comes of the plan can be compared: see AVOIDED in intended.py about refusals."""
    for step in plan:
        flow = case.chosen(step)
        had = case.has_started_task(flow) or case.is_failing(flow)
        for each in case.flows.values():
            ask_again(case, each)
        before = len(case.session.transcript.lines)
        case.begin(step)
        await ACTIONS[step.kind](case, flow)
        if len(case.session.transcript.lines) == before:
            continue
        refused = any(line.startswith("! ") for line in case.session.transcript.lines[before:])
        case.session.transcript.lines.insert(before, f"\n## {step}")
        if refused and (
            await _has_brought(case, flow) or (_is_forgettable(flow, had) and not await _has_failed(case, step, flow))
        ):
            case.session.note("the reference may have forgotten what a worker has: no more of this case")
            return False
        case.last = await settle(case)
        if any(flow.updates for flow in case.flows.values()):
            for flow in list(case.flows.values()):
                await ended(case, flow)
            case.last = await settle(case)
        for name, info in case.last.items():
            if info is not None:
                case.session.show(f"description of {name}", info)
    return True


def _is_forgettable(flow: Flow, had: bool) -> bool:
    """Whether updates wait while a worker has a task (`had`: it had when the step began, or tasks kept failing, so that
    the reference refuses what it forgot and asks for again), or more than one waits: the reference asks for them again
    in any order; or whether the worker that had the workflow in its cache was given up.
    """
    if len(flow.updates) > 1 or flow.is_unstuck:
        return True
    if flow.task is None:
        return had and bool(flow.updates)
    return bool(flow.updates) or len(flow.task.messages) > 0


async def _has_brought(case: Case, flow: Flow) -> bool:
    """Whether a reset brought an update that has no answer in history: the reference forgets that a worker saw it."""
    events = await case.events(flow)
    answered = {event.workflow_execution_update_accepted_event_attributes.protocol_instance_id for event in events}
    brought = (event.workflow_execution_update_admitted_event_attributes.request.meta.update_id for event in events)
    return any(each not in answered for each in brought if each)


async def _has_failed(case: Case, step: Step, flow: Flow) -> bool:
    """Whether what was refused are commands, and their task failed of it; not of a worker that came for another one,
    nor where more than one update waits.
    """
    if step.kind != "answer" or flow.sticky or len(flow.updates) > 1:
        return False
    return (await case.state(flow))[0] != "held"


def _is_cut_short(reference: str, other: str) -> bool:
    """Whether the reference said the same as far as it came, and stopped there: a case that did not reach its end."""
    said, _, last = reference.rstrip().rpartition("\n")
    return last.startswith(STOPPED) and other.startswith(said.rstrip())


class Comparing:
    """Both servers, at most `at_once` plans at a time, and what the reference was seen to go through."""

    def __init__(self, reference: Client, other: Client, at_once: int = AT_ONCE) -> None:
        self.reference = reference
        self.other = other
        self.seen: Seen = Counter()
        self._trying = asyncio.Semaphore(at_once)

    async def all(self, listed: Iterable[Plan], told: Callable[[Verdict], None] = lambda _: None) -> list[Verdict]:
        """The verdicts of plans, in their order; `told` hears of each as it comes."""

        async def one(plan: Plan) -> Verdict:
            async with self._trying:
                verdict = await self.verdict(plan)
            told(verdict)
            return verdict

        return await asyncio.gather(*(one(plan) for plan in listed))

    async def verdict(self, plan: Plan) -> Verdict:
        """Run a plan on both, and again where they differ."""
        first, second = await asyncio.gather(transcript(plan, self.reference, self.seen), transcript(plan, self.other))
        if first == second or _is_cut_short(first, second):
            return Verdict(plan, first)
        again = [await transcript(plan, self.reference) for _ in range(2)]
        if any(text != first for text in again):
            return Verdict(plan, first, unstable="" if second in again else "reference")
        if await transcript(plan, self.other) == first:
            return Verdict(plan, first, difference(first, second, "reference", "perdure"), unstable="perdure")
        return Verdict(plan, first, difference(first, second, "reference", "perdure"))

    async def shrunk(self, verdict: Verdict) -> Verdict:
        """The smallest plan found that still differs in this kind; many are tried at once."""
        for _ in range(_ROUNDS_MAX):
            before = verdict
            for stage in range(len(edits(verdict.plan))):
                verdict = await self._with_less(verdict, edits(verdict.plan)[stage])
            if verdict is before:
                break
        return verdict

    async def _with_less(self, verdict: Verdict, changes: list[Edit]) -> Verdict:
        """Try each edit by itself, then all those together that left the difference, then halves of them."""
        tried = await asyncio.gather(*(self._alike(verdict, [change]) for change in changes))
        good = [change for change, left in zip(changes, tried, strict=True) if left is not None]
        while good:
            together = await self._alike(verdict, good)
            if together is not None:
                return together
            good = good[: len(good) // 2]
        return verdict

    async def _alike(self, verdict: Verdict, changes: list[Edit]) -> Verdict | None:
        """The verdict of a plan with edits, if it differs as this one does."""
        plan = made(verdict.plan, changes)
        async with self._trying:
            first, second = await asyncio.gather(transcript(plan, self.reference), transcript(plan, self.other))
        found = Verdict(plan, first, difference(first, second, "reference", "perdure"))
        return found if found.kind == verdict.kind else None
