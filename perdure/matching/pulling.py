"""Pulling the references that lie in shards: one partition's questions to them, and what becomes of those.

Invariant: a shard that doesn't answer is asked again, more and more slowly, and after many failures counts as gone; its
successor offers what it had. Knows no poll.
"""

import asyncio
from collections.abc import Callable, Sequence

from perdure.base.clock import MS_NS, SECOND_NS
from perdure.base.errors import NotFound, PerdureError, Unavailable
from perdure.base.tasks import Background
from perdure.cluster.roles import Directory
from perdure.matching.matcher import Matcher, Pull
from perdure.matching.waiting import Question, Taker
from perdure.workflow.tasks import Offer, QueueKey, lane_key

# Memory of one reference, apart from its workflow id.
_OFFER_BYTES = 900
# The shard, for the matcher, of offers that fell back from a sticky queue: no shard lists them under this partition.
FALLEN = ""
_PULL_NS_MAX = 5 * SECOND_NS
_PULL_PAUSE_NS = 100 * MS_NS
_PULL_PAUSE_NS_MAX = 10 * SECOND_NS
_PULL_FAILURES_MAX = 12


class Puller:
    """`changed`: called when there may be something to hand out."""

    __slots__ = ("_background", "_changed", "_directory", "_failures", "_key", "_matcher", "_on_error")

    def __init__(
        self,
        key: QueueKey,
        matcher: Matcher[Offer, Taker, Question],
        directory: Directory,
        background: Background,
        on_error: Callable[[BaseException], None],
        changed: Callable[[], None],
    ) -> None:
        self._key = key
        self._matcher = matcher
        self._directory = directory
        self._background = background
        self._on_error = on_error
        self._changed = changed
        self._failures: dict[tuple[str, str], int] = {}

    def refill(self) -> None:
        """Ask shards for what lies there, where there is room for it."""
        for pull in self._matcher.wanted():
            if pull.shard == FALLEN:
                self._matcher.pull_failed(FALLEN, gone=True, lane=pull.lane)
                self._changed()
            else:
                self._background.spawn(self._pull(pull))

    async def _pull(self, pull: Pull[Offer]) -> None:
        shard, lane = pull.shard, pull.lane
        asked = lane_key(self._key, lane)
        try:
            async with asyncio.timeout(_PULL_NS_MAX / SECOND_NS):
                role = self._directory.history_of_shard(shard)
                page = await role.pull(shard, asked, pull.after, pull.limit)
        except (PerdureError, TimeoutError) as error:
            if not isinstance(error, Unavailable | NotFound | TimeoutError):
                self._on_error(error)
            self._failed(shard, lane, gone=isinstance(error, NotFound))
            return
        except Exception:
            self._failed(shard, lane, gone=False)
            raise
        self._failures.pop((shard, lane), None)
        self._matcher.report(page.backlog, lane)
        self._matcher.pulled(shard, page.offers, size_of(page.offers), end=len(page.offers) < pull.limit, lane=lane)
        self._changed()

    def _failed(self, shard: str, lane: str, *, gone: bool) -> None:
        failures = self._failures.get((shard, lane), 0) + 1
        gone = gone or failures > _PULL_FAILURES_MAX
        self._matcher.pull_failed(shard, gone=gone, lane=lane)
        if gone:
            self._failures.pop((shard, lane), None)
        else:
            self._failures[shard, lane] = failures
            pause_ns = min(_PULL_PAUSE_NS << failures, _PULL_PAUSE_NS_MAX)
            asyncio.get_running_loop().call_later(pause_ns / SECOND_NS, self._resume, shard, lane)
        self._changed()

    def _resume(self, shard: str, lane: str) -> None:
        self._matcher.resume_pulls(shard, lane)
        self._changed()


def size_of(offers: Sequence[Offer]) -> int:
    """About how many bytes the largest of these takes."""
    return _OFFER_BYTES + max((len(offer.key.workflow_id) for offer in offers), default=0)
