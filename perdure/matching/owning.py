"""Which partitions a host should have: its own by the members' view, and those of others that it serves for a while.

Two owners of a partition are harmless, for a task is started once (T5); a poll that waits where no task comes is not.
Invariants: a call about another host's partition is refused while views may still differ, with what is known of the
owner. A view that has stood for `SETTLED_NS` is everybody's: who calls in spite of it can't reach the owner, and is
served for `GUEST_NS`, after which it is asked to look again. Refuses to know what a call is.
"""

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import PartitionElsewhere
from perdure.cluster.members import Role, View
from perdure.cluster.membership import Watched
from perdure.cluster.ring import Rings, partition_key
from perdure.workflow.tasks import QueueKey

SETTLED_NS = 3 * SECOND_NS
GUEST_NS = 5 * SECOND_NS


class Ownership:
    """What the newest view gives this host."""

    def __init__(self, membership: Watched, clock: Clock) -> None:
        self._membership = membership
        self._clock = clock
        self._rings = Rings(membership.view)
        self._version = membership.view.version
        self._changed_ns = clock.monotonic_ns()

    @property
    def hosts(self) -> int:
        """How many serve the role."""
        return len(self._rings.hosts(Role.MATCHING))

    def is_own(self, partition: QueueKey) -> bool:
        """Whether the partition is this host's."""
        return self._owner(partition) == self._membership.host

    def renew(self, view: View) -> bool:
        """There is a new view; False if it is the one before."""
        if view.version == self._version:
            return False
        self._rings, self._version = Rings(view), view.version
        self._changed_ns = self._clock.monotonic_ns()
        return True

    async def admit(self, partition: QueueKey) -> None:
        """A call about a partition that is not this host's. Raises PartitionElsewhere if it has to go elsewhere;
        returns if it is to be served.
        """
        await self._membership.refresh()
        if self.is_own(partition):
            return
        if not self._owner(partition) or self._clock.monotonic_ns() - self._changed_ns < SETTLED_NS:
            raise self.elsewhere(partition)

    def elsewhere(self, partition: QueueKey) -> PartitionElsewhere:
        """Where the partition is."""
        return PartitionElsewhere("Another host has the task queue.", self._owner(partition), self._version)

    def _owner(self, partition: QueueKey) -> str:
        return self._rings.owner(Role.MATCHING, partition_key(partition))
