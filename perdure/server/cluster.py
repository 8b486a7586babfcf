"""All roles in one process: plain constructor calls, and the order in which they start and stop.

The simulator builds the same thing with other arguments: a virtual clock, seeded entropy, a faulty store, proxies
between roles.
"""

from collections.abc import Callable

import msgspec
import structlog

from perdure.base.clock import Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import PerdureError
from perdure.base.limits import Limits, LimitsSource
from perdure.base.metrics import Metrics
from perdure.cluster.measured import MeasuredDirectory
from perdure.cluster.namespaces import Namespaces
from perdure.cluster.roles import Directory, HistoryRole, MatchingRole
from perdure.history.executions import HistoryExecutions
from perdure.history.service import HistoryOptions, HistoryService
from perdure.matching.measured import QueueMeters
from perdure.matching.service import MatchingService
from perdure.shards.controller import Shards
from perdure.shards.measured import ShardMeters
from perdure.shards.options import ShardOptions
from perdure.store.contract import Store
from perdure.store.measured import MeasuredStore, Meter
from perdure.workflow.tasks import QueueKey

log = structlog.get_logger(__name__)
CACHE_BYTES_MAX = 256 << 20


class LocalDirectory:
    """The directory of a process that holds everything. `history_role` and `matching_role` are set once they exist."""

    def __init__(self) -> None:
        self.history_role: HistoryRole | None = None
        self.matching_role: MatchingRole | None = None

    def history(self, slot: int) -> HistoryRole:
        """The one history role."""
        assert self.history_role is not None
        return self.history_role

    def history_of_shard(self, shard: str) -> HistoryRole:
        """The one history role."""
        assert self.history_role is not None
        return self.history_role

    def matching(self, partition: QueueKey) -> MatchingRole:
        """The one matching role."""
        assert self.matching_role is not None
        return self.matching_role


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`cache_bytes_max`: of executions in memory, per shard."""

    limits: LimitsSource = Limits()
    shards: ShardOptions = ShardOptions()
    cache_bytes_max: int = CACHE_BYTES_MAX


class Roles:
    """The history and matching roles over one store, and what a frontend needs to reach them.

    `wrap` may put something between roles: it gets the directory of real roles and returns the one that all use.
    `metrics`: where everything is counted; without it nobody reads what is, and calls and the store aren't followed.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        options: Options,
        wrap: Callable[[Directory], Directory] = lambda directory: directory,
        metrics: Metrics | None = None,
    ) -> None:
        def name_of(namespace_id: str) -> str:
            return self.namespaces.name_of(namespace_id)

        def seen_by(service: str) -> Directory:
            return MeasuredDirectory(directory, metrics, clock, name_of, service) if metrics is not None else directory

        local = LocalDirectory()
        directory = wrap(local)
        if metrics is not None:
            plugin = type(store).__name__.removesuffix("Store").lower()
            store = MeasuredStore(store, Meter(metrics, clock, name_of, plugin))
        self.store = store
        self.directory = seen_by("frontend")
        self.namespaces = Namespaces(store.documents, clock)
        self.executions = HistoryExecutions(store, seen_by("history"), options.cache_bytes_max, metrics, name_of)
        shard_meters = ShardMeters(metrics, name_of)
        self.shards = Shards(store, self.executions, clock, entropy, options.shards, shard_meters, self._retentions)
        self.history = HistoryService(
            self.shards,
            self.executions,
            self.namespaces,
            seen_by("history"),
            clock,
            entropy,
            HistoryOptions(limits=options.limits),
        )
        self.matching = MatchingService(
            seen_by("matching"), clock, entropy, options.limits, _unexpected, meters=QueueMeters(metrics, name_of)
        )
        self.matching.configs.open(store.documents)
        local.history_role = self.history
        local.matching_role = self.matching

    async def start(self) -> None:
        """Take the shards; history answers when this returns."""
        await self.shards.start()

    async def _retentions(self) -> list[tuple[str, int]]:
        return [(namespace.id, namespace.retention_ns) for namespace in await self.namespaces.list()]

    async def stop(self) -> None:
        """Matching first, so that nothing new is started; then the shards with their last checkpoint."""
        await self.matching.close()
        await self.history.close()
        await self.shards.stop()


def _unexpected(error: BaseException) -> None:
    if not isinstance(error, PerdureError):
        log.error("unexpected error in the background", exc_info=error)
