"""Who polled a partition lately: what DescribeTaskQueue shows.

Invariant: at most `POLLERS_MAX` identities are kept, those seen last; one unseen for `SEEN_NS` is not shown any more.
Knows nothing of who waits now.
"""

from collections import OrderedDict

import msgspec
from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.taskqueue.v1 import PollerInfo

from perdure.base.clock import SECOND_NS, to_timestamp
from perdure.cluster.roles import Poll

SEEN_NS = 300 * SECOND_NS
POLLERS_MAX = 1_000
# What the reference shows for a poller that sets no limit.
UNLIMITED_RPS = 100_000.0


class _Seen(msgspec.Struct):
    poll: Poll
    wall_ns: int
    monotonic_ns: int


class PollerHistory:
    """The newest poll of each identity."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def note(self, poll: Poll, wall_ns: int, monotonic_ns: int) -> None:
        """A poll began or ended; nothing for one without an identity."""
        if not poll.identity:
            return
        self._seen[poll.identity] = _Seen(poll, wall_ns, monotonic_ns)
        self._seen.move_to_end(poll.identity)
        self._expire(monotonic_ns)
        while len(self._seen) > POLLERS_MAX:
            self._seen.popitem(last=False)

    def remove(self, identity: str) -> None:
        """A worker said goodbye."""
        self._seen.pop(identity, None)

    def shown(self, monotonic_ns: int) -> list[PollerInfo]:
        """Those seen in the last five minutes, the latest first."""
        self._expire(monotonic_ns)
        return [_info(seen) for seen in reversed(self._seen.values())]

    def _expire(self, monotonic_ns: int) -> None:
        while self._seen:
            identity, seen = next(iter(self._seen.items()))
            if monotonic_ns - seen.monotonic_ns < SEEN_NS:
                return
            del self._seen[identity]


def _info(seen: _Seen) -> PollerInfo:
    poll = seen.poll
    rate = poll.max_tasks_per_second
    info = PollerInfo(
        identity=poll.identity,
        last_access_time=to_timestamp(seen.wall_ns),
        rate_per_second=UNLIMITED_RPS if rate is None else rate,
    )
    if poll.capabilities:
        info.worker_version_capabilities.CopyFrom(WorkerVersionCapabilities.FromString(poll.capabilities))
    if poll.deployment_options:
        info.deployment_options.CopyFrom(WorkerDeploymentOptions.FromString(poll.deployment_options))
    return info
