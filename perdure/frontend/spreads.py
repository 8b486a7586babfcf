"""At which of a task queue's partitions a poll waits, as far as this process has been told.

Invariant: a queue counts as one partition until its root has said otherwise, so one that was never spread costs nothing
here; at most `KNOWN_MAX` others are known. Wrong knowledge costs a refused call, and that tells what is right. Refuses
to know who decides.
"""

from collections import OrderedDict

import msgspec

from perdure.base.entropy import Entropy
from perdure.cluster.branches import PARTITIONS_MAX, branch_of
from perdure.cluster.roles import Poll
from perdure.workflow.tasks import QueueKey

KNOWN_MAX = 10_000


class Spreads:
    """How many partitions queues have that have several."""

    __slots__ = ("_entropy", "_known")

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._known: OrderedDict[QueueKey, int] = OrderedDict()

    def place(self, poll: Poll) -> Poll:
        """The poll of a queue, at one of its partitions: each gets its share."""
        count = self._known.get(poll.partition, 1)
        index = int(self._entropy.fraction() * count) if count > 1 else 0
        return msgspec.structs.replace(poll, partition=branch_of(poll.partition, index), partitions=count)

    def learn(self, queue: QueueKey, partitions: int) -> None:
        """The queue has so many."""
        self._known.pop(queue, None)
        if partitions > 1:
            self._known[queue] = min(partitions, PARTITIONS_MAX)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
