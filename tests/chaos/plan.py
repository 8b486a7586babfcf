"""What goes wrong, and when: drawn from the seed before anything runs.

Invariant: faults come in rounds that have each kind once, so that every kind comes as often as any other, give or take
one, whatever the seed. Pure.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What may befall a cluster."""

    KILL_FRONTEND = "kill -9 of a frontend"
    KILL_HISTORY = "kill -9 of a history"
    KILL_MATCHING = "kill -9 of a matching"
    KILL_ROLE = "kill -9 of all histories"
    KILL_ALL = "kill -9 of all processes"
    FREEZE_FRONTEND = "SIGSTOP of a frontend"
    FREEZE_HISTORY = "SIGSTOP of a history past its lease"
    FREEZE_MATCHING = "SIGSTOP of a matching past its lease"
    ROLL_FRONTENDS = "rolling restart of the frontends"
    ROLL_HISTORIES = "rolling restart of the histories"
    ROLL_MATCHINGS = "rolling restart of the matchings"
    KILL_NODE = "kill -9 of a Cassandra node"
    FREEZE_NODE = "SIGSTOP of a Cassandra node"
    MOVE = "shards moved"
    SPLIT = "shards split"
    MERGE = "shards merged"
    CLOCK = "a clock off"
    CUT_STORE = "a process cut off from the store"
    CUT_PEERS = "a process cut off from the others"
    CUT_ONE_WAY = "a process that hears nobody"
    CUT_HALVES = "two halves cut off from each other"
    CUT_LOSSY = "a process on a line that loses packets"


# What needs networks of their own.
CUTS = frozenset({Kind.CUT_STORE, Kind.CUT_PEERS, Kind.CUT_ONE_WAY, Kind.CUT_HALVES, Kind.CUT_LOSSY})
# Of these nothing has to be taken back before the next one comes.
_QUICK = (Kind.MOVE, Kind.SPLIT, Kind.MERGE, Kind.CLOCK)
_HOLD_S = (6.0, 14.0)


@dataclass(frozen=True, slots=True)
class Fault:
    """`hold_s`: so long it lasts. `choice`: decides among what it may befall, in [0, 1). `beside`: what happens while
    it lasts.
    """

    kind: Kind
    hold_s: float
    choice: float
    beside: "Fault | None" = None


def drawn(seed: int, kinds: Sequence[Kind] = tuple(Kind)) -> Iterator[Fault]:
    """Faults without end; a third of those that last have a quick one beside them."""
    chance = random.Random(f"chaos {seed}")
    while True:
        for kind in chance.sample(kinds, len(kinds)):
            fault = Fault(kind, chance.uniform(*_HOLD_S), chance.random())
            quick = [other for other in _QUICK if other in kinds]
            if kind not in _QUICK and quick and chance.random() < 0.33:
                beside = Fault(chance.choice(quick), fault.hold_s, chance.random())
                fault = Fault(kind, fault.hold_s, fault.choice, beside)
            yield fault
