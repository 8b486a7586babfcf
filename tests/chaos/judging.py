"""What a run came to: what is wrong, and figures that show that something happened.

Invariant: a run in which a planned fault never fired, or in which hardly anything was done, is a failed one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from perdure.frontend.routing import MAYBE_DONE
from perdure.testing.oplog import Op
from tests.chaos.nemesis import LIVELY_S, Healed
from tests.chaos.plan import Kind
from tests.chaos.pulse import Phase, quantile

# What a process may write of itself to its standard error and be well.
_TRACE = re.compile(r"^Traceback ", re.MULTILINE)
# gRPC's own words where an error has no caller any more: its deadline came first.
_GONE = "ExecuteBatchError raised in core"
_OPERATIONS = (
    "start", "signal", "update", "query", "cancel", "terminate", "describe", "history", "poll_workflow",
    "complete_workflow", "poll_activity", "complete_activity", "fail_activity",
)  # fmt: skip
# What a run of a few minutes may not have.
_SELDOM = ("terminate",)
_LONG = 3
_SHOP = ("start", "signal", "update", "query", "cancel", "result")


@dataclass(slots=True)
class Outcome:
    """`wrong`: every rule that was broken, in words. `figures`, `tables`: the summary."""

    wrong: list[str] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    tables: list[list[str]] = field(default_factory=list)

    def table(self) -> str:
        """The summary."""
        width = max((len(name) for name, _ in self.figures), default=0)
        lines = [line for table in self.tables for line in (*table, "")]
        lines += [f"{name:{width}}  {value}" for name, value in self.figures]
        counted = Counter(self.wrong)
        return "\n".join([*lines, f"{len(self.wrong)} findings", *(f"  {what} ({n})" for what, n in counted.items())])


@dataclass(frozen=True, slots=True)
class Minute:
    """What was measured in one. `stall_s`: for so long the judges themselves had no time."""

    starts: Phase
    stall_s: float


def enough(least: int, shop: Mapping[str, int], ops: Iterable[Op]) -> Iterator[str]:
    """What was acknowledged fewer than `least` times."""
    acknowledged = Counter(str(op.kind) for op in ops if op.ok)
    for kind in _SHOP:
        if shop.get(kind, 0) < least:
            yield f"only {shop.get(kind, 0)} calls of kind {kind} by the SDK, at least {least} wanted"
    for kind in _OPERATIONS:
        if acknowledged[kind] < least and not (kind in _SELDOM and least < _LONG):
            yield f"only {acknowledged[kind]} acknowledged operations of kind {kind}, at least {least} wanted"


def unfired(planned: Iterable[str], fired: Mapping[str, int]) -> list[str]:
    """The planned faults that never happened."""
    return [f"{kind} never happened" for kind in planned if not fired.get(kind)]


def stuck(healed: Sequence[Healed]) -> list[str]:
    """What didn't answer in time after a fault."""
    late = [
        f"after {each.what}: everything answered only after {each.seconds:.0f} s"
        for each in healed
        if each.seconds > LIVELY_S and not each.dark
    ]
    return late + [f"after {each.what}: {dark}" for each in healed for dark in each.dark]


def defects_told(name: str, errors: str) -> list[str]:
    """What a process itself says is a defect: errors in its log, by their events, and traces."""
    found = Counter[str]()
    for line in errors.splitlines():
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(record, dict) and record.get("level") in ("error", "critical"):
            message = str(record.get("msg"))
            found[message] += not message.startswith(_GONE)
    if _TRACE.search(errors):
        found["a trace"] += len(_TRACE.findall(errors))
    return [f"{name} logs {message!r} {count} times" for message, count in found.items() if count]


def maybe_done(errors: str) -> Iterator[tuple[str, int]]:
    """(workflow id, when in ns) of each call that a frontend repeated although it may have been done: what its caller
    heard may be about the repetition. `errors`: what frontends logged.
    """
    for line in errors.splitlines():
        if MAYBE_DONE in line:
            record = orjson.loads(line)
            if "wf_id" in record:
                moment = datetime.fromisoformat(record["ts"])
                yield record["wf_id"], int(moment.timestamp() * 1_000_000) * 1_000


def slowest(healed: Sequence[Healed]) -> str:
    """The longest time after a heal until everything answered."""
    if not healed:
        return "-"
    worst = max(healed, key=lambda each: each.seconds)
    return f"{worst.seconds:.1f} s, after {worst.what}"


def faults_table(planned: Iterable[Kind], fired: Mapping[Kind, int], healed: Sequence[Healed]) -> list[str]:
    """A line for each kind: how often it fired, and how long it took until everything answered after it."""
    lines = [f"{'fault':48} fired  heals: p50  longest"]
    for kind in planned:
        took = [each.seconds for each in healed if kind in each.kinds]
        lines.append(f"{kind:48} {fired.get(kind, 0):5}  {quantile(took, 0.5):9.1f} {max(took, default=0.0):8.1f} s")
    return lines


def minutes_table(minutes: Sequence[Minute]) -> list[str]:
    """A line for each minute: starts by clients that repeat nothing, and how long the judges stood still."""
    return [
        f"{minute.starts.name:>12}: {minute.starts.line()}; stood still {minute.stall_s:.1f} s" for minute in minutes
    ]


def checks_table(counts: Mapping[str, int]) -> list[str]:
    """A line for each kind of evidence: how much of it there is."""
    return [f"{name:48} {count}" for name, count in counts.items()]
