"""Finding the namespaces that calls name, before their allowance can be charged.

Invariant: a call may ask the store for a namespace that isn't there only after the host was charged for it, and of one
name only once in `ABSENT_NS`: whoever names it again meanwhile is told so at once, however busy the host is, as the
reference does (`common/namespace/nsregistry/registry.go`). What this process has registered is found at once.
"""

from collections import OrderedDict

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import NamespaceNotFound
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.frontend.rates import Rates

ABSENT_NS = SECOND_NS
ABSENT_MAX = 10_000


class Lookups:
    """Of one frontend."""

    __slots__ = ("_absent", "_clock", "_namespaces", "_rates")

    def __init__(self, namespaces: Namespaces, rates: Rates, clock: Clock) -> None:
        self._namespaces = namespaces
        self._rates = rates
        self._clock = clock
        self._absent: OrderedDict[str, int] = OrderedDict()  # names that were asked for, and until when that counts

    async def by_name(self, name: str, grade: int) -> Namespace:
        """The namespace of this name, for a call of this grade. Raises NamespaceNotFound, ResourceExhausted."""
        if self._namespaces.knows(name):
            return await self._namespaces.by_name(name)
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._absent.get(name, 0):
            raise NamespaceNotFound(name)
        self._rates.admit("", grade)
        try:
            return await self._namespaces.by_name(name)
        except NamespaceNotFound:
            self._absent.pop(name, None)
            self._absent[name] = now_ns + ABSENT_NS
            if len(self._absent) > ABSENT_MAX:
                self._absent.popitem(last=False)
            raise

    async def by_id(self, namespace_id: str, grade: int) -> Namespace:
        """As `by_name`; nothing is remembered of ids that nobody has."""
        if not self._namespaces.knows(self.name_of(namespace_id)):
            self._rates.admit("", grade)
        return await self._namespaces.by_id(namespace_id)

    def name_of(self, namespace_id: str) -> str:
        """As of `Namespaces`."""
        return self._namespaces.name_of(namespace_id)
