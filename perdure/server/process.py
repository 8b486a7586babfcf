"""What is measured of the process itself: its memory, its tasks, its garbage, what it is and whether it serves.

Gauges are set when they are read; between two looks only collections of garbage are timed. Each role of the process
shows the same figures under its own name, as dashboards expect.
"""

import asyncio
import gc
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from perdure.base import series
from perdure.base.clock import SECOND_NS, Clock
from perdure.base.metrics import Metrics
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
        self._metrics = metrics
        self._roles = roles
        self._clock = clock
        self._begun_ns = 0
        self._collections = _collections()
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
        elif self._begun_ns:
            self._pauses.observe((self._clock.monotonic_ns() - self._begun_ns) / SECOND_NS)

    def _read(self) -> None:
        family, roles = self._metrics.family, self._roles
        memory = _memory()
        tasks = len(asyncio.all_tasks())
        collections = _collections()
        for service in SERVICES:
            for name, definition in _MEMORY.items():
                if name in memory:
                    family(definition).labels(service).set(memory[name])
            family(series.NUM_GOROUTINES).labels(service).set(tasks)
            family(series.MEMORY_NUM_GC).labels(service).observe(collections - self._collections)
            family(series.HOST_HEALTH).labels(service).set(_SERVING if self.is_serving else _NOT_SERVING)
            family(series.TOTAL_NAMESPACES).labels("NamespaceCache", service).set(len(roles.namespaces))
        self._collections = collections
        family(series.NUMSHARDS).labels("ShardController", "history").set(len(roles.shards.owned()))
        family(series.CACHE_USAGE).labels("mutablestate", "history").set(roles.executions.cached_bytes)
        family(series.CACHE_SIZE).labels("mutablestate", "history").set(roles.executions.cached_bytes_max)


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
