"""The workers that told of themselves lately, by namespace and instance key.

Times and rules are the reference's (`service/matching/workers`): a worker unheard of for `KEPT_NS` is forgotten, one
that says it has shut down at once, and when there are too many those heard of longest ago go, but none heard of within
`SURE_NS`. Invariant: entries and bytes stay within their bounds; a heartbeat that doesn't fit is refused, and nothing
of its call is kept. In memory only: workers tell again within a minute.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice

import msgspec
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope, WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat

from perdure.base.clock import SECOND_NS
from perdure.base.errors import InvalidArgument, NotFound, ResourceExhausted
from perdure.cluster.roles import WorkerSearch, WorkersFound
from perdure.matching.worker_queries import parse_query

KEPT_NS = 300 * SECOND_NS
SURE_NS = 60 * SECOND_NS
# A search looks at all of a namespace's at once, so there can't be so many as to hold others up.
WORKERS_MAX = 20_000
BYTES_MAX = 32 << 20
HEARTBEAT_BYTES_MAX = 64 << 10
# Of the workers of a page together; the first one is on it whatever its size.
PAGE_BYTES_MAX = 1 << 20
# Beside its bytes: keys, entries of the maps.
_ENTRY_BYTES = 600
_INTERNAL_PREFIX = "temporal-sys-"
_SHUTDOWN = WorkerStatus.WORKER_STATUS_SHUTDOWN

_Key = tuple[str, str]  # namespace id, instance key


class _Heard(msgspec.Struct):
    """The newest heartbeat of a worker, encoded; when it came."""

    beat: bytes
    at_ns: int
    is_internal: bool


class Workers:
    """`workers_max`, `bytes_max`: of all namespaces together."""

    __slots__ = ("_bytes", "_bytes_max", "_heard", "_of", "_workers_max")

    def __init__(self, workers_max: int = WORKERS_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._workers_max = workers_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._heard: OrderedDict[_Key, _Heard] = OrderedDict()  # by `at_ns`
        self._of: dict[str, set[str]] = {}  # namespace id -> instance keys

    def __len__(self) -> int:
        return len(self._heard)

    def record(self, namespace_id: str, beats: Sequence[WorkerHeartbeat], now_ns: int) -> None:
        """Keep these. Raises InvalidArgument for one that is too large, ResourceExhausted where there is no room."""
        if len(beats) > self._workers_max:
            raise _too_many()
        encoded = [beat.SerializeToString() for beat in beats]
        if any(len(one) > HEARTBEAT_BYTES_MAX for one in encoded):
            raise InvalidArgument(f"WorkerHeartbeat exceeds {HEARTBEAT_BYTES_MAX} bytes")
        self._expire(now_ns)
        self._make_room(namespace_id, beats, encoded, now_ns)
        for beat, one in zip(beats, encoded, strict=True):
            key = (namespace_id, beat.worker_instance_key)
            self._forget(key)
            if beat.status == _SHUTDOWN:
                continue
            self._heard[key] = _Heard(one, now_ns, beat.task_queue.startswith(_INTERNAL_PREFIX))
            self._bytes += _cost(key, one)
            self._of.setdefault(namespace_id, set()).add(beat.worker_instance_key)

    def find(self, namespace_id: str, search: WorkerSearch, now_ns: int) -> WorkersFound:
        """What a search finds. Raises InvalidArgument for its query, NotFound for a key that nobody has."""
        self._expire(now_ns)
        keys = self._of.get(namespace_id, set())
        if search.key is not None:
            if search.key not in keys:
                raise NotFound(f"Worker {search.key} not found")
            return WorkersFound([self._heard[namespace_id, search.key].beat], 1)
        asks = parse_query(search.query)
        found: list[bytes] = []
        total, size, more = 0, 0, False
        for key in sorted(keys):
            heard = self._heard[namespace_id, key]
            if heard.is_internal and not search.internal:
                continue
            if search.query and not asks(WorkerHeartbeat.FromString(heard.beat)):
                continue
            total += 1
            if key <= search.after or more:
                continue
            more = len(found) == search.limit or (bool(found) and size + len(heard.beat) > PAGE_BYTES_MAX)
            if not more:
                found.append(heard.beat)
                size += len(heard.beat)
        return WorkersFound(found, total, more=more)

    def _make_room(
        self, namespace_id: str, beats: Sequence[WorkerHeartbeat], encoded: Sequence[bytes], now_ns: int
    ) -> None:
        new = {(namespace_id, beat.worker_instance_key): one for beat, one in zip(beats, encoded, strict=True)}
        known = [key for key in new if key in self._heard]
        count = len(self._heard) + len(new) - len(known)
        size = self._bytes + sum(_cost(key, one) for key, one in new.items())
        size -= sum(_cost(key, self._heard[key].beat) for key in known)
        going: list[_Key] = []
        for key, heard in self._heard.items():
            if count - len(going) <= self._workers_max and size <= self._bytes_max:
                break
            if now_ns - heard.at_ns < SURE_NS:
                raise ResourceExhausted(
                    "too many workers send heartbeats",
                    ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED,
                    ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
                )
            if key not in new:
                going.append(key)
                size -= _cost(key, heard.beat)
        if count - len(going) > self._workers_max or size > self._bytes_max:
            raise _too_many()
        for key in going:
            self._forget(key)

    def _expire(self, now_ns: int) -> None:
        while self._heard:
            ((key, oldest),) = islice(self._heard.items(), 1)
            if now_ns - oldest.at_ns < KEPT_NS:
                return
            self._forget(key)

    def _forget(self, key: _Key) -> None:
        heard = self._heard.pop(key, None)
        if heard is None:
            return
        self._bytes -= _cost(key, heard.beat)
        keys = self._of[key[0]]
        keys.discard(key[1])
        if not keys:
            del self._of[key[0]]


def _too_many() -> ResourceExhausted:
    cause = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED
    return ResourceExhausted("too many workers in one call", cause)


def _cost(key: _Key, beat: bytes) -> int:
    return _ENTRY_BYTES + len(beat) + 2 * len(key[1])
