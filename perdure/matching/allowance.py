"""How many polls of a namespace may wait at a matching host: as many as all frontends let through.

Invariant: what a frontend lets through is not refused here; this bounds memory against callers that are no frontends.
Each frontend counts each kind of poll by itself, or has its part of a number over all. Refuses to know who polls.
"""

from collections.abc import Callable

from temporalio.api.enums.v1 import ResourceExhaustedCause

from perdure.base.errors import ResourceExhausted
from perdure.base.limits import LimitsSource
from perdure.cluster.members import Role, View
from perdure.workflow.tasks import QueueKey, QueueKind

# A poll that is over at its frontend is over here a moment later, and another one has come meanwhile.
_LATE = 1.25


class Allowance:
    """`name_of`: the name of a namespace by its id."""

    def __init__(self, limits: LimitsSource, name_of: Callable[[str], str]) -> None:
        self._limits = limits
        self._name_of = name_of
        self._waiting: dict[tuple[str, QueueKind], int] = {}
        self._frontends = 0  # 0 = they are in this process

    def see(self, view: View) -> None:
        """Who lets polls through: frontends that leave still have some."""
        self._frontends = max(1, sum(Role.FRONTEND in member.addresses for member in view.members))

    def enter(self, partition: QueueKey) -> None:
        """A poll is going to wait, and has to `leave`. Raises ResourceExhausted, and then it isn't."""
        kind = partition.namespace_id, partition.kind
        waiting = self._waiting.get(kind, 0)
        if waiting >= self._most(partition.namespace_id):
            raise ResourceExhausted(
                "namespace concurrent poller limit exceeded",
                ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
            )
        self._waiting[kind] = waiting + 1

    def leave(self, partition: QueueKey) -> None:
        """It is over."""
        kind = partition.namespace_id, partition.kind
        left = self._waiting[kind] - 1
        if left:
            self._waiting[kind] = left
        else:
            del self._waiting[kind]

    def _most(self, namespace_id: str) -> float:
        limits = self._limits.of(self._name_of(namespace_id))
        if not self._frontends:
            return limits.global_waiting_polls_max or limits.waiting_polls_max
        return _LATE * (limits.global_waiting_polls_max or limits.waiting_polls_max * self._frontends)
