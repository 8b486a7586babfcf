"""What is counted of a task queue: polls that got a task or didn't, how long tasks and polls waited for one another.

Invariant: a sticky queue counts as the normal one that it belongs to, in a partition of its own name; so the names of
workers' own queues make no series. Gauges are read when the page is.
"""

from collections.abc import Callable, Iterable, Iterator

from perdure.base import series
from perdure.base.clock import SECOND_NS
from perdure.base.metrics import UNKNOWN, Metrics, Reading
from perdure.workflow.tasks import QueueKey, QueueKind

_SERVICE = "matching"
STICKY = "__sticky__"
_MANAGER = "TaskQueueMgr"
_KINDS = {QueueKind.WORKFLOW: "Workflow", QueueKind.ACTIVITY: "Activity"}
_ADDS = {QueueKind.WORKFLOW: "AddWorkflowTask", QueueKind.ACTIVITY: "AddActivityTask"}


class QueueMeter:
    """One partition's cells. `name`: the normal queue's. `partition`: its number, `STICKY` for a sticky one."""

    __slots__ = (
        "asynchronous",
        "forwarded",
        "labels",
        "local",
        "no_poller",
        "polls",
        "remote",
        "synchronous",
        "throttled",
        "timeouts",
        "unwaited",
    )

    def __init__(self, metrics: Metrics, namespace: str, key: QueueKey, name: str, partition: str) -> None:
        family = metrics.family
        kind = _KINDS.get(key.kind, UNKNOWN)
        version = key.version or "__unversioned__"
        self.labels = (namespace, "active", _MANAGER, partition, _SERVICE, kind, name, "", "", version)
        self.polls = family(series.POLL_SUCCESS).labels(*self.labels)
        self.unwaited = family(series.POLL_SUCCESS_SYNC).labels(*self.labels)
        self.local = family(series.LOCAL_MATCHES).labels(*self.labels)
        self.remote = family(series.REMOTE_MATCHES).labels(*self.labels)
        self.forwarded = family(series.FORWARDED).labels(*self.labels)
        self.timeouts = family(series.POLL_TIMEOUTS).labels(*self.labels)
        self.no_poller = family(series.NO_POLLER_TASKS).labels(*self.labels)
        self.throttled = family(series.SYNC_THROTTLE).labels(*self.labels)
        match = (namespace, _ADDS.get(key.kind, UNKNOWN), partition, _SERVICE, kind, name)
        self.synchronous = family(series.SYNC_MATCH).labels(*match)
        self.asynchronous = family(series.ASYNC_MATCH).labels(*match)

    def dispatched(self, waited_ns: int, *, from_backlog: bool, is_lent: bool) -> None:
        """A poll got a task that was scheduled `waited_ns` ago. `from_backlog`: it was there before; `is_lent`: it came
        from the queue's root.
        """
        self.polls.inc()
        (self.remote if is_lent else self.local).inc()
        seconds = max(0, waited_ns) / SECOND_NS
        if from_backlog:
            self.asynchronous.observe(seconds)
        else:
            self.unwaited.inc()
            self.synchronous.observe(seconds)


class QueueMeters:
    """Counts for all queues of a process. `name_of`: a namespace's name by its id."""

    def __init__(self, metrics: Metrics | None = None, name_of: Callable[[str], str] = lambda _: UNKNOWN) -> None:
        self._metrics = metrics or Metrics()
        self.name_of = name_of

    def queue(self, key: QueueKey, name: str, partition: str) -> QueueMeter:
        """A new partition's cells; it keeps them."""
        return QueueMeter(self._metrics, self.name_of(key.namespace_id), key, name, partition)

    def on_read(self, look: Callable[[], Iterable["QueueLook"]]) -> None:
        """Put gauges of what `look` finds on each page; partitions of the same labels are one series."""

        def read() -> Iterator[Reading]:
            loaded = 0
            for labels, count, age_ns, polls in look():
                loaded += 1
                yield series.BACKLOG_COUNT, labels, count
                yield series.BACKLOG_AGE, labels, age_ns / SECOND_NS
                yield series.PENDING_POLLS, labels, polls
            yield series.LOADED_PARTITIONS, ("MatchingEngine", _SERVICE), loaded

        self._metrics.on_read(read)


# Labels, backlog, its age in nanoseconds, waiting polls.
QueueLook = tuple[tuple[str, ...], int, int, int]
