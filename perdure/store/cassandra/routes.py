"""Which node a request goes to: the first that holds its partition, and last of all one that was late a moment ago.

A node can be slow for long without being down: it takes connections, answers heartbeats, and keeps requests for longer
than they may take. Whoever asks again must not be sent there again, for of three copies any other can speak for the
partition. Invariant: no node is left out; who is late comes last, for a few seconds.
"""

from collections.abc import Callable, Iterator
from typing import Any

from cassandra.policies import TokenAwarePolicy

from perdure.base.clock import SECOND_NS

LATE_NS = 5 * SECOND_NS


class Routes(TokenAwarePolicy):  # type: ignore[misc]  # the driver has no types
    """The driver's policy that knows partitions, on top of `child`. Used in the driver's threads, too."""

    def __init__(self, child: Any, monotonic_ns: Callable[[], int]) -> None:
        super().__init__(child)
        self._monotonic_ns = monotonic_ns
        self._late: dict[Any, int] = {}

    def was_late(self, host: Any) -> None:
        """A request to this node wasn't answered in time."""
        self._late[host] = self._monotonic_ns() + LATE_NS

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Any]:
        """The nodes to try, in order."""
        late = []
        for host in super().make_query_plan(working_keyspace, query):
            if self._late and self._is_late(host):
                late.append(host)
            else:
                yield host
        yield from late

    def _is_late(self, host: Any) -> bool:
        until_ns = self._late.get(host)
        if until_ns is None:
            return False
        if self._monotonic_ns() < until_ns:
            return True
        self._late.pop(host, None)
        return False
