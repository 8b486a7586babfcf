"""A store with its operations counted.

Invariant: an operation goes through unchanged. What concerns one namespace is counted as its; a group of the log or a
checkpoint has many. Lists have metrics of their own. Refuses to know the adapter beyond its name.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from perdure.base import series
from perdure.base.clock import Clock
from perdure.base.errors import Aborted, DeadlineExceeded, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from perdure.base.metrics import UNKNOWN, VALUES_MAX, Counter, Definition, Metrics
from perdure.base.slots import ChainKey
from perdure.base.traffic import Traffic, error_type
from perdure.store.contract import (
    Checkpoint,
    Checkpoints,
    Document,
    Documents,
    Group,
    Home,
    LeaseRow,
    LeaseStore,
    LogStore,
    Node,
    Pointer,
    QueueCount,
    SegmentHeader,
    SegmentId,
    ShardMap,
    ShardRow,
    ShardStore,
    Snapshot,
    Store,
    VisibilityStore,
    Written,
)
from perdure.visibility.rows import VisibilityPage, VisibilityQuery, VisibilityRow
from perdure.workflow.tasks import Offer, QueueKey, Timer

T = TypeVar("T")
NameOf = Callable[[str], str]
# Lists that filter by search attributes, as dashboards call them.
_VISIBILITY_TYPE = "advanced_visibility"
_LIST_ERRORS: dict[type[BaseException], Definition[Counter]] = {
    InvalidArgument: series.VISIBILITY_INVALID,
    ResourceExhausted: series.VISIBILITY_EXHAUSTED,
    Aborted: series.VISIBILITY_CONDITION,
    TimeoutError: series.VISIBILITY_TIMEOUT,
    DeadlineExceeded: series.VISIBILITY_TIMEOUT,
    NotFound: series.VISIBILITY_NOT_FOUND,
    Unavailable: series.VISIBILITY_UNAVAILABLE,
}
# Documents that another role reads than the frontend.
_OWNERS = {"queue_config": "matching"}
_LIST_ERROR_ELSE = series.VISIBILITY_INTERNAL


class Meter:
    """Counts operations of a store for a service. `name_of`: a namespace's name by its id."""

    def __init__(self, metrics: Metrics, clock: Clock, name_of: NameOf, plugin: str) -> None:
        self._metrics = metrics
        self._clock = clock
        self._name_of = name_of
        self._plugin = plugin
        self._known: dict[tuple[str, str], Traffic] = {}

    def follow(
        self, call: Awaitable[T], operation: str, service: str = "history", namespace_id: str = ""
    ) -> Coroutine[Any, Any, T]:
        """`call`, counted."""
        traffic = self._known.get((operation, namespace_id))
        followed = (traffic or self._made(operation, service, namespace_id)).follow(call)
        spans = self._metrics.spans
        return followed if spans is None else spans.follow(f"store.{operation}", service, followed)

    def _made(self, operation: str, service: str, namespace_id: str) -> Traffic:
        namespace = self._name_of(namespace_id) if namespace_id else UNKNOWN
        family, labels = self._metrics.family, (namespace, operation, self._metrics.home(service))
        errors = family(series.PERSISTENCE_ERRORS).labels(*labels)

        def failed(error: BaseException) -> None:
            errors.inc()
            family(series.PERSISTENCE_ERROR_WITH_TYPE).labels(error_type(error), *labels).inc()

        requests = family(series.PERSISTENCE_REQUESTS).labels(*labels)
        latency = family(series.PERSISTENCE_LATENCY).labels(*labels)
        return self._keep(operation, namespace_id, Traffic(self._clock, (requests,), (latency,), failed))

    def _keep(self, operation: str, namespace_id: str, traffic: Traffic) -> Traffic:
        if len(self._known) < VALUES_MAX:
            self._known[operation, namespace_id] = traffic
        return traffic

    def follow_list(self, call: Awaitable[T], operation: str, service: str) -> Coroutine[Any, Any, T]:
        """`call`, an operation on lists, counted."""
        traffic = self._known.get((operation, ""))
        if traffic is None:
            traffic = self._keep(operation, "", self._list_made(operation, self._metrics.home(service)))
        return traffic.follow(call)

    def _list_made(self, operation: str, service: str) -> Traffic:
        family, labels = self._metrics.family, (operation, service, self._plugin, self._plugin, _VISIBILITY_TYPE)
        errors = family(series.VISIBILITY_ERRORS).labels(*labels)
        for definition in (*_LIST_ERRORS.values(), _LIST_ERROR_ELSE):
            family(definition).labels(*labels)  # there from the beginning: a rate needs the zero

        def failed(error: BaseException) -> None:
            errors.inc()
            family(series.VISIBILITY_ERROR_WITH_TYPE).labels(error_type(error), *labels).inc()
            kind = next((kind for kind in _LIST_ERRORS if isinstance(error, kind)), None)
            family(_LIST_ERROR_ELSE if kind is None else _LIST_ERRORS[kind]).labels(*labels).inc()

        requests = family(series.VISIBILITY_REQUESTS).labels(*labels)
        latency = family(series.VISIBILITY_LATENCY).labels(*labels)
        return Traffic(self._clock, (requests,), (latency,), failed)


class MeasuredStore:
    """A `Store` over another."""

    def __init__(self, store: Store, meter: Meter) -> None:
        self._store = store
        self.is_shared = store.is_shared
        self.log: LogStore = _Log(store.log, meter)
        self.shards: ShardStore = _Shards(store.shards, meter)
        self.leases: LeaseStore = _Leases(store.leases, meter)
        self.checkpoints: Checkpoints = _Checkpoints(store.checkpoints, meter)
        self.visibility: VisibilityStore = _Lists(store.visibility, meter)
        self.documents: Documents = _Documents(store.documents, meter)

    async def close(self) -> None:
        await self._store.close()


class _Log:
    __slots__ = ("_log", "_meter")

    def __init__(self, log: LogStore, meter: Meter) -> None:
        self._log = log
        self._meter = meter

    def open_segment(self, segment: SegmentId, header: SegmentHeader) -> Coroutine[Any, Any, Written]:
        return self._meter.follow(self._log.open_segment(segment, header), "OpenSegment")

    def append(self, segment: SegmentId, epoch: int, group: Group) -> Coroutine[Any, Any, Written]:
        return self._meter.follow(self._log.append(segment, epoch, group), "AppendGroup")

    def link(
        self, segment: SegmentId, epoch: int, last: int, following: SegmentId, new_epoch: int
    ) -> Coroutine[Any, Any, Written]:
        return self._meter.follow(self._log.link(segment, epoch, last, following, new_epoch), "LinkSegment")

    def read_header(self, segment: SegmentId) -> Coroutine[Any, Any, SegmentHeader | None]:
        return self._meter.follow(self._log.read_header(segment), "ReadSegment")

    def read_groups(self, segment: SegmentId, after: int, limit: int) -> Coroutine[Any, Any, list[Group]]:
        return self._meter.follow(self._log.read_groups(segment, after, limit), "ReadGroups")

    def drop_segment(self, segment: SegmentId) -> Coroutine[Any, Any, None]:
        return self._meter.follow(self._log.drop_segment(segment), "DropSegment")

    def list_segments(self, place: bytes, limit: int) -> Coroutine[Any, Any, tuple[list[SegmentId], bytes]]:
        return self._meter.follow(self._log.list_segments(place, limit), "ListSegments")


class _Shards:
    __slots__ = ("_meter", "_shards")

    def __init__(self, shards: ShardStore, meter: Meter) -> None:
        self._shards = shards
        self._meter = meter

    def list_shards(self) -> Coroutine[Any, Any, list[ShardRow]]:
        return self._meter.follow(self._shards.list_shards(), "ListShards")

    def initialise(self, rows: Sequence[ShardRow]) -> Coroutine[Any, Any, list[ShardRow]]:
        return self._meter.follow(self._shards.initialise(rows), "InitialiseShards")

    def read_shard(self, shard: str) -> Coroutine[Any, Any, ShardRow | None]:
        return self._meter.follow(self._shards.read_shard(shard), "GetShard")

    def replace_shard(self, row: ShardRow) -> Coroutine[Any, Any, bool]:
        return self._meter.follow(self._shards.replace_shard(row), "UpdateShard")

    def read_map(self) -> Coroutine[Any, Any, ShardMap | None]:
        return self._meter.follow(self._shards.read_map(), "GetShardMap")

    def reshape(self, at: int, retired: Sequence[str], created: Sequence[ShardRow]) -> Coroutine[Any, Any, bool]:
        return self._meter.follow(self._shards.reshape(at, retired, created), "ReshapeShards")

    def list_unnamed(self) -> Coroutine[Any, Any, list[ShardRow]]:
        return self._meter.follow(self._shards.list_unnamed(), "ListUnnamedShards")

    def remove_shard(self, shard: str, version: int) -> Coroutine[Any, Any, bool]:
        return self._meter.follow(self._shards.remove_shard(shard, version), "RemoveShard")


class _Leases:
    __slots__ = ("_leases", "_meter")

    def __init__(self, leases: LeaseStore, meter: Meter) -> None:
        self._leases = leases
        self._meter = meter

    def read_lease(self, host: str) -> Coroutine[Any, Any, LeaseRow | None]:
        return self._meter.follow(self._leases.read_lease(host), "GetLease")

    def replace_lease(self, row: LeaseRow) -> Coroutine[Any, Any, bool]:
        return self._meter.follow(self._leases.replace_lease(row), "UpdateLease")

    def remove_lease(self, host: str, version: int) -> Coroutine[Any, Any, bool]:
        return self._meter.follow(self._leases.remove_lease(host, version), "RemoveLease")


class _Checkpoints:
    __slots__ = ("_checkpoints", "_meter")

    def __init__(self, checkpoints: Checkpoints, meter: Meter) -> None:
        self._checkpoints = checkpoints
        self._meter = meter

    @property
    def index_by_slot(self) -> bool:
        return self._checkpoints.index_by_slot

    def adopt(self, home: Home) -> None:
        self._checkpoints.adopt(home)

    def drop_index(self, home: Home, stamp_us: int) -> Coroutine[Any, Any, None]:
        return self._meter.follow(self._checkpoints.drop_index(home, stamp_us), "DropIndex")

    def write(self, checkpoint: Checkpoint) -> Coroutine[Any, Any, None]:
        return self._meter.follow(self._checkpoints.write(checkpoint), "WriteCheckpoint")

    def read_snapshot(self, key: ChainKey, run_id: str) -> Coroutine[Any, Any, Snapshot | None]:
        work = self._checkpoints.read_snapshot(key, run_id)
        return self._meter.follow(work, "GetWorkflowExecution", namespace_id=key.namespace_id)

    def read_pointer(self, key: ChainKey) -> Coroutine[Any, Any, Pointer | None]:
        work = self._checkpoints.read_pointer(key)
        return self._meter.follow(work, "GetCurrentExecution", namespace_id=key.namespace_id)

    def read_nodes(self, branch: str, first: int, end: int, limit_bytes: int) -> Coroutine[Any, Any, list[Node]]:
        return self._meter.follow(self._checkpoints.read_nodes(branch, first, end, limit_bytes), "ReadHistoryBranch")

    def read_nodes_back(self, branch: str, first: int, end: int, limit_bytes: int) -> Coroutine[Any, Any, list[Node]]:
        work = self._checkpoints.read_nodes_back(branch, first, end, limit_bytes)
        return self._meter.follow(work, "ReadHistoryBranchReverse")

    def read_offers(
        self, home: Home, queue: QueueKey, after: Offer | None, limit: int
    ) -> Coroutine[Any, Any, list[Offer]]:
        work = self._checkpoints.read_offers(home, queue, after, limit)
        return self._meter.follow(work, "GetTasks", namespace_id=queue.namespace_id)

    def count_offers(self, home: Home) -> Coroutine[Any, Any, list[QueueCount]]:
        return self._meter.follow(self._checkpoints.count_offers(home), "CountTasks")

    def read_timers(self, home: Home, after: Timer | None, limit: int) -> Coroutine[Any, Any, list[Timer]]:
        return self._meter.follow(self._checkpoints.read_timers(home, after, limit), "GetTimerTasks")


class _Lists:
    __slots__ = ("_lists", "_meter")

    def __init__(self, lists: VisibilityStore, meter: Meter) -> None:
        self._lists = lists
        self._meter = meter

    def upsert(self, rows: Sequence[VisibilityRow]) -> Coroutine[Any, Any, None]:
        return self._meter.follow_list(self._lists.upsert(rows), "UpsertWorkflowExecution", "history")

    def list(self, query: VisibilityQuery) -> Coroutine[Any, Any, VisibilityPage]:
        return self._meter.follow_list(self._lists.list(query), "ListWorkflowExecutions", "frontend")

    def count(self, query: VisibilityQuery) -> Coroutine[Any, Any, int]:
        return self._meter.follow_list(self._lists.count(query), "CountWorkflowExecutions", "frontend")

    def count_by_status(self, query: VisibilityQuery) -> Coroutine[Any, Any, dict[int, int]]:
        return self._meter.follow_list(
            self._lists.count_by_status(query), "CountWorkflowExecutionsByStatus", "frontend"
        )

    def overdue(
        self, namespace_id: str, closed_before_ns: int, place: bytes, limit: int
    ) -> Coroutine[Any, Any, tuple[Sequence[VisibilityRow], bytes]]:
        work = self._lists.overdue(namespace_id, closed_before_ns, place, limit)
        return self._meter.follow_list(work, "ListOverdueWorkflowExecutions", "history")


class _Documents:
    __slots__ = ("_documents", "_meter")

    def __init__(self, documents: Documents, meter: Meter) -> None:
        self._documents = documents
        self._meter = meter

    def read_document(self, kind: str, key: str) -> Coroutine[Any, Any, Document | None]:
        return self._meter.follow(self._documents.read_document(kind, key), f"Get{kind.capitalize()}", _owner(kind))

    def list_documents(self, kind: str) -> Coroutine[Any, Any, list[Document]]:
        return self._meter.follow(self._documents.list_documents(kind), f"List{kind.capitalize()}s", _owner(kind))

    def replace_document(self, document: Document) -> Coroutine[Any, Any, bool]:
        operation = f"Update{document.kind.capitalize()}"
        return self._meter.follow(self._documents.replace_document(document), operation, _owner(document.kind))


def _owner(kind: str) -> str:
    return _OWNERS.get(kind, "frontend")
