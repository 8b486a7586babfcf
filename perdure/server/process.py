"""What is measured of the process itself: its memory, its tasks, its garbage, what it is and whether it serves.

Gauges are read when the page is; between two looks only collections of garbage are timed. Each role of the process
shows the same figures under its own name, as dashboards expect, but for its health, which is its own.
"""

import asyncio
import gc
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from perdure.base import series
from perdure.base.clock import SECOND_NS, Clock
from perdure.base.metrics import UNKNOWN, Metrics, Reading
from perdure.cluster.namespaces import Namespaces
from perdure.history.executions import HistoryExecutions
from perdure.shards.controller import Shards

_SERVING, _NOT_SERVING = 1, 2
_MEMORY = {
    "VmRSS": series.MEMORY_ALLOCATED,
    "RssAnon": series.MEMORY_HEAP,
    "VmStk": series.MEMORY_STACK,
}
_STATUS = Path("/proc/self/status")


class ProcessMeter:
    """Call `close` at the end: it gives the interpreter's hook back."""

    def __init__(self, metrics: Metrics, namespaces: Namespaces, clock: Clock) -> None:
        self._services = metrics.services
        # By role; who isn't there doesn't serve.
        self.serving = dict.fromkeys(metrics.services, False)
        self._namespaces = namespaces
        self._clock = clock
        self._begun_ns: int | None = None
        self._collections = _collections()
        self._garbage = {service: metrics.family(series.MEMORY_NUM_GC).labels(service) for service in metrics.services}
        self._pauses = metrics.family(series.MEMORY_GC_PAUSE).labels(metrics.services[0])
        build = ("", platform.machine(), version("perdure"), "", platform.python_version())
        for service in metrics.services:
            metrics.family(series.RESTARTS).labels(service).inc()
            # There from the beginning: a rate needs the zero.
            labels = (UNKNOWN, UNKNOWN, service)
            metrics.family(series.SERVICE_ERRORS_RESOURCE_EXHAUSTED).labels(*labels, UNKNOWN, UNKNOWN)
            metrics.family(series.SERVICE_ALREADY_STARTED).labels("serviceerror_WorkflowAlreadyStarted", *labels)
            metrics.family(series.SERVICE_UNAUTHORIZED).labels("serviceerror_PermissionDenied", *labels)
            metrics.family(series.BUILD_INFORMATION).labels(*build, service).set(1)
        metrics.on_read(self._read)
        gc.callbacks.append(self._collecting)

    def serves(self, is_serving: bool) -> None:
        """All roles of the process do, or none."""
        self.serving = dict.fromkeys(self._services, is_serving)

    def close(self) -> None:
        """Measure nothing more."""
        gc.callbacks.remove(self._collecting)

    def _collecting(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._begun_ns = self._clock.monotonic_ns()
        elif self._begun_ns is not None:
            # Wherever it begins: a histogram that is kept has no lock to wait for.
            self._pauses.observe((self._clock.monotonic_ns() - self._begun_ns) / SECOND_NS)

    def _read(self) -> Iterator[Reading]:
        memory = _memory()
        tasks = len(asyncio.all_tasks())
        collections = _collections()
        for service in self._services:
            for name, definition in _MEMORY.items():
                if name in memory:
                    yield definition, (service,), memory[name]
            yield series.NUM_GOROUTINES, (service,), tasks
            yield series.HOST_HEALTH, (service,), _SERVING if self.serving[service] else _NOT_SERVING
            yield series.TOTAL_NAMESPACES, ("NamespaceCache", service), len(self._namespaces)
            self._garbage[service].observe(collections - self._collections)
        self._collections = collections


def measure_history(metrics: Metrics, shards: Shards, executions: HistoryExecutions) -> None:
    """Put what the history role of this process holds on each page."""
    lag = metrics.family(series.SHARD_QUEUE_LAG).labels("ShardInfo", "history", "timer")

    def read() -> Iterator[Reading]:
        owned = shards.owned()
        for shard in owned:
            lag.observe(shard.firing.lag_ns() / SECOND_NS)
        yield series.NUMSHARDS, ("ShardController", "history"), len(owned)
        yield series.CACHE_USAGE, ("mutablestate", "history"), executions.cached_bytes
        yield series.CACHE_SIZE, ("mutablestate", "history"), executions.room.bytes_max

    metrics.on_read(read)


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


def _memory(read: Callable[[], str] = _STATUS.read_text) -> dict[str, int]:
    """Figures of the kernel in bytes, by its names; none where it has no such file."""
    try:
        lines = read().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields if words[-1:] == ["kB"]}
