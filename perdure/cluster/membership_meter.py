"""What is counted of the members of a cluster, as this process sees them.

Gauges are read when the page is. Knows nobody's lease.
"""

from collections import Counter as Tally
from collections.abc import Iterator

from perdure.base import series
from perdure.base.metrics import Metrics, Reading
from perdure.cluster.members import View
from perdure.cluster.membership import Watched


class MembershipMeter:
    """Counts what `membership` sees, under the first role of the process."""

    def __init__(self, metrics: Metrics, membership: Watched) -> None:
        service = metrics.services[0]
        self._service = service
        self._membership = membership
        self._version = membership.view.version
        self._changes = metrics.family(series.MEMBERSHIP_CHANGED).labels("Membership", service)
        self._lost = metrics.family(series.LEASES_LOST).labels(service)
        membership.subscribe(self._changed)
        metrics.on_read(self._read)

    def lease_lost(self) -> None:
        """This host was taken out of the cluster, or could not keep its lease."""
        self._lost.inc()

    def _changed(self, view: View) -> None:
        if view.version != self._version:  # else only who is suspected changed
            self._version = view.version
            self._changes.inc()

    def _read(self) -> Iterator[Reading]:
        view = self._membership.view
        yield series.MEMBERS_VERSION, (self._service,), view.version
        tally = Tally((role, member.state.value) for member in view.members for role in member.addresses)
        for (role, state), count in tally.items():
            yield series.MEMBERS, (role, self._service, state), count
