"""Whether the chain took a request of another workflow before: such a request takes effect once, however often it is
repeated.

The sender may repeat a request whose answer it lost, and meanwhile the run that took it may have closed, and others
have followed it. A run keeps the ids of what it took when it is closed; so the runs before the current one are asked
too, in the decision itself, back to the one that was current when the request was initiated: none that ended before
can know it. Such runs are seldom in memory, so a decision that misses one changes nothing and names it (`EarlierRun`).
Nothing is paid for this by a request to a run that is older than the request, or the first of its workflow id. A run
that was deleted can't be asked any more, and took nothing.

Not chosen: to hand the ids over to each successor (they would have to be cleaned away by the sender, another
transition for each request), or to fix the run id before sending (another one too).
"""

from collections.abc import Callable

from perdure.base.clock import SECOND_NS
from perdure.workflow.decide import Work
from perdure.workflow.requests import EarlierRun, External
from perdure.workflow.state import Run

# How far the clocks of two shards' owners may be apart.
_SKEW_NS = 10 * SECOND_NS


def taken_before(work: Work, run: Run, external: External, knows: Callable[[Run], bool]) -> bool | EarlierRun:
    """Whether `run`, the current one, or one before it `knows` the request."""
    since_ns = external.initiated_time_ns - _SKEW_NS
    while not knows(run):
        previous = run.durable.previous_run_id
        if not previous or run.start_time_ns < since_ns:
            return False
        earlier = work.chain.runs.get(previous)
        if earlier is None:
            return False if previous in external.seen else EarlierRun(previous)
        run = earlier
    return True
