"""Rule 0: a run that did nothing, or to which nothing happened, proves nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping

from perdure.testing.checkers.evidence import Evidence, Violation
from perdure.testing.oplog import Kind


def vacuous(evidence: Evidence, minimum: Mapping[Kind, int], planned: Mapping[str, int]) -> Iterator[Violation]:
    """At least `minimum` acknowledged operations of each kind, and each `planned` fault as often as planned."""
    done = Counter(op.kind for op in evidence.ops if op.ok)
    for kind, least in minimum.items():
        if done[kind] < least:
            yield Violation(
                0, "vacuity", f"{done[kind]} acknowledged operations of kind {kind}, at least {least} wanted"
            )
    for fault, least in planned.items():
        fired = evidence.faults.get(fault, 0)
        if fired < least:
            yield Violation(0, "vacuity", f"the fault {fault} fired {fired} times, at least {least} planned")
