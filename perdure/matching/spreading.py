"""How many partitions a task queue has: its root decides, by how many tasks go a second and how many hosts there are.

Invariants: never more partitions than hosts, for each is at a host of its own; more of them at once, fewer only after
the load was low for `CALM_NS`. Nothing of it is stored: a root that is new takes over what branches and callers say
they know, for `YOUNG_NS`. Values only: the time comes in. Knows no task.
"""

from math import ceil

from perdure.base.clock import SECOND_NS
from perdure.cluster.branches import PARTITIONS_MAX

YOUNG_NS = 30 * SECOND_NS
CALM_NS = 60 * SECOND_NS
LOOK_NS = SECOND_NS
# There are fewer partitions only if they would have this share of what they may have.
_ROOMY = 0.6


class Spread:
    """One queue's number of partitions. `each_max`: how many tasks a second a partition shall have at most."""

    __slots__ = ("_begun_ns", "_busy_ns", "_each_max", "_looked_ns", "count")

    def __init__(self, each_max: float, now_ns: int) -> None:
        self.count = 1
        self._each_max = each_max
        self._begun_ns = now_ns
        self._busy_ns = now_ns  # when fewer would have been too few
        self._looked_ns = now_ns

    def is_due(self, now_ns: int) -> bool:
        """True if it is time to look again."""
        return now_ns - self._looked_ns >= LOOK_NS

    def look(self, rate: float, hosts: int, now_ns: int) -> None:
        """So many tasks go a second, and so many hosts serve."""
        self._looked_ns = now_ns
        most = max(1, min(hosts, PARTITIONS_MAX))
        wanted = min(most, ceil(rate / self._each_max))
        calm = max(1, min(most, ceil(rate / self._each_max / _ROOMY)))
        if calm >= self.count:
            self._busy_ns = now_ns
        elif now_ns - self._busy_ns >= CALM_NS:
            self.count = calm
            self._busy_ns = now_ns
        self.count = min(most, max(self.count, wanted))

    def adopt(self, claimed: int, hosts: int, now_ns: int) -> None:
        """Somebody says that the queue has so many: true of the root before this one."""
        if claimed > self.count and now_ns - self._begun_ns < YOUNG_NS:
            self.count = min(claimed, max(1, hosts), PARTITIONS_MAX)
            self._busy_ns = now_ns
