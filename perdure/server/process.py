"""What is measured of the process itself: its memory, its tasks, its garbage, what it is and whether it serves.

Gauges are read when the page is; between two looks only collections of garbage are timed. Each role of the process
shows the same figures under its own name, as dashboards expect.
"""

import asyncio
import gc
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from perdure.base import series
from perdure.base.clock import SECOND_NS, Clock
from perdure.base.metrics import Metrics, Reading
from perdure.server.cluster import Roles

SERVICES = ("frontend", "history", "matching")
_SERVING, _NOT_SERVING = 1, 2
_MEMORY = {
    "VmRSS": series.MEMORY_ALLOCATED,
    "RssAnon": series.MEMORY_HEAP,
    "VmStk": series.MEMORY_STACK,
}
_STATUS = Path("/proc/self/status")


class ProcessMeter:
    """Call `close` at the end: it gives the interpreter's hook back."""

    def __init__(self, metrics: Metrics, roles: Roles, clock: Clock) -> None:
        self.is_serving = False
        self._roles = roles
        self._clock = clock
        self._begun_ns: int | None = None
        self._collections = _collections()
        self._garbage = {service: metrics.family(series.MEMORY_NUM_GC).labels(service) for service in SERVICES}
        self._pauses = metrics.family(series.MEMORY_GC_PAUSE).labels(SERVICES[0])
        build = ("", platform.machine(), version("perdure"), "", platform.python_version())
        for service in SERVICES:
            metrics.family(series.RESTARTS).labels(service).inc()
            metrics.family(series.BUILD_INFORMATION).labels(*build, service).set(1)
        metrics.on_read(self._read)
        gc.callbacks.append(self._collecting)

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
        roles = self._roles
        memory = _memory()
        tasks = len(asyncio.all_tasks())
        collections = _collections()
        for service in SERVICES:
            for name, definition in _MEMORY.items():
                if name in memory:
                    yield definition, (service,), memory[name]
            yield series.NUM_GOROUTINES, (service,), tasks
            yield series.HOST_HEALTH, (service,), _SERVING if self.is_serving else _NOT_SERVING
            yield series.TOTAL_NAMESPACES, ("NamespaceCache", service), len(roles.namespaces)
            self._garbage[service].observe(collections - self._collections)
        self._collections = collections
        yield series.NUMSHARDS, ("ShardController", "history"), len(roles.shards.owned())
        yield series.CACHE_USAGE, ("mutablestate", "history"), roles.executions.cached_bytes
        yield series.CACHE_SIZE, ("mutablestate", "history"), roles.executions.cached_bytes_max


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
