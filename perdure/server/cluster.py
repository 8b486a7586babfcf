"""What roles are made of: plain constructor calls, the same for one process that is all of them and for many.

The simulator builds the same thing with other arguments: a virtual clock, seeded entropy, a faulty store, proxies
between roles.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
from perdure.matching.bounds import Bounds, Room
from perdure.matching.measured import QueueMeters
from perdure.matching.service import MatchingService
from perdure.shards.controller import Shards
from perdure.shards.measured import ShardMeters
from perdure.shards.options import ShardOptions
from perdure.store.contract import Store
from perdure.store.measured import MeasuredStore, Meter
from perdure.workflow.tasks import QueueKey

log = structlog.get_logger(__name__)
CACHE_BYTES_MAX = 1_048_576_000


def _all_here(role: object) -> bool:
    return True


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
    """`cache_bytes_max`: of executions in memory. `partitions`: what each of task queues may hold."""

    limits: LimitsSource = Limits()
    shards: ShardOptions = ShardOptions()
    cache_bytes_max: int = CACHE_BYTES_MAX
    partitions: Bounds = Bounds()


@dataclass(frozen=True, slots=True)
class Ground:
    """What all roles of a process stand on. `store`: with its calls counted, if there are `metrics`; without them
    nobody reads what is counted, and calls and the store aren't followed.
    """

    store: Store
    clock: Clock
    entropy: Entropy
    options: Options
    namespaces: Namespaces
    metrics: Metrics | None = None

    def seen_by(
        self,
        service: str,
        directory: Directory,
        is_here: Callable[[object], bool] = _all_here,
        lasts: Callable[[object], bool] = _all_here,
    ) -> Directory:
        """The directory as a service uses it, counted. `lasts`: as of `MeasuredDirectory`."""
        if self.metrics is None:
            return directory
        return MeasuredDirectory(directory, self.metrics, self.clock, self.namespaces.name_of, service, is_here, lasts)

    async def retentions(self) -> list[tuple[str, int]]:
        """How long closed runs stay, by namespace id."""
        return [(namespace.id, namespace.retention_ns) for namespace in await self.namespaces.list()]


def ground(store: Store, clock: Clock, entropy: Entropy, options: Options, metrics: Metrics | None = None) -> Ground:
    """The ground over a store."""
    if metrics is None:
        return Ground(store, clock, entropy, options, Namespaces(store.documents, clock))

    def name_of(namespace_id: str) -> str:
        return namespaces.name_of(namespace_id)

    plugin = type(store).__name__.removesuffix("Store").lower()
    store = MeasuredStore(store, Meter(metrics, clock, name_of, plugin))
    namespaces = Namespaces(store.documents, clock)
    return Ground(store, clock, entropy, options, namespaces, metrics)


class HistoryPart:
    """The history role of a process: `service`, the `shards` under it, the `executions` in memory."""

    def __init__(self, ground: Ground, directory: Directory) -> None:
        store, clock, entropy, options = ground.store, ground.clock, ground.entropy, ground.options
        name_of = ground.namespaces.name_of
        self.executions = HistoryExecutions(store, directory, options.cache_bytes_max, ground.metrics, name_of)
        meters = ShardMeters(ground.metrics, name_of)
        self.shards = Shards(store, self.executions, clock, entropy, options.shards, meters, ground.retentions)
        settings = HistoryOptions(limits=options.limits)
        self.service = HistoryService(
            self.shards, self.executions, ground.namespaces, directory, clock, entropy, settings
        )

    async def stop(self) -> None:
        """Release the shards, each with a last checkpoint, and end everything."""
        await self.service.close()
        await self.shards.stop()


def matching_service(ground: Ground, directory: Directory) -> MatchingService:
    """The matching role of a process."""
    meters = QueueMeters(ground.metrics, ground.namespaces.name_of)
    service = MatchingService(
        directory,
        ground.clock,
        ground.entropy,
        ground.options.limits,
        _unexpected,
        Room(each=ground.options.partitions),
        meters,
    )
    service.configs.open(ground.store.documents)
    return service


class Roles:
    """The history and matching roles of one process over one store, and what a frontend needs to reach them.

    `wrap` may put something between roles: it gets the directory of real roles and returns the one that all use.
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
        local = LocalDirectory()
        directory = wrap(local)
        stands = ground(store, clock, entropy, options, metrics)
        self.ground = stands
        self.store = stands.store
        self.namespaces = stands.namespaces
        self.directory = stands.seen_by("frontend", directory)
        self.part = HistoryPart(stands, stands.seen_by("history", directory))
        self.executions, self.shards, self.history = self.part.executions, self.part.shards, self.part.service
        self.matching = matching_service(stands, stands.seen_by("matching", directory))
        local.history_role = self.history
        local.matching_role = self.matching

    async def start(self) -> None:
        """Take the shards; history answers when this returns."""
        await self.shards.start()

    async def stop(self) -> None:
        """Matching first, so that nothing new is started; then the shards with their last checkpoint."""
        await self.matching.close()
        await self.part.stop()


def _unexpected(error: BaseException) -> None:
    if not isinstance(error, PerdureError):
        log.error("unexpected error in the background", exc_info=error)
