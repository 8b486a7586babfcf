"""What a partition tells of its backlog, priority by priority.

Shards give exact totals for a partition; what of them is held here is known by priority. Invariant: the priorities add
up to the total. What lies in the shards only is counted at the lowest priority that is held, for references come in
order: everything better than the last one held is held too. Changes nothing.
"""

from collections.abc import Iterable, Mapping

from perdure.cluster.roles import PriorityView
from perdure.matching.matcher import Held
from perdure.workflow.priorities import PRIORITY_DEFAULT
from perdure.workflow.tasks import Offer


def priorities(
    held: Iterable[Held[Offer]],
    backlog: tuple[int, int],
    now_ns: int,
    added: Mapping[int, float],
    dispatched: Mapping[int, float],
) -> dict[int, PriorityView]:
    """By priority. `backlog`: (count, oldest time in ns or 0) over all shards; `now_ns`: wall time; the rest: rates."""
    count, oldest_ns = backlog
    found: dict[int, PriorityView] = {PRIORITY_DEFAULT: PriorityView()}
    oldest: dict[int, int] = {}
    listed = 0
    for one in held:
        if not one.shard:
            continue  # It fell back from a sticky queue, in whose figures it is.
        listed += 1
        offer = one.reference
        found.setdefault(offer.priority, PriorityView()).backlog_count += 1
        then = oldest.get(offer.priority, offer.scheduled_time_ns)
        oldest[offer.priority] = min(then, offer.scheduled_time_ns)
    if beyond := max(0, count - listed):
        worst = max(oldest, default=PRIORITY_DEFAULT)
        found[worst].backlog_count += beyond
        if not oldest:
            oldest[worst] = oldest_ns
    for priority, then in oldest.items():
        found[priority].backlog_age_ns = max(0, now_ns - then)
    for priority, rate in added.items():
        found.setdefault(priority, PriorityView()).add_rate = rate
    for priority, rate in dispatched.items():
        found.setdefault(priority, PriorityView()).dispatch_rate = rate
    return dict(sorted(found.items()))
