"""What the process says of itself."""

import gc

from perdure.base.metrics import Metrics
from perdure.server.process import ProcessMeter, measure_history
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from tests.unit.history.house import House


def _value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0


def test_its_gauges_are_read() -> None:
    async def play() -> None:
        metrics = Metrics()
        house = await House(running_loop(), MemoryStore(), metrics=metrics).open()
        meter = ProcessMeter(metrics, house.roles.namespaces, running_loop().clock)
        assert _value(metrics, "host_health", service_name="history") == 2
        measure_history(metrics, house.roles.shards, house.roles.executions)
        meter.serves(True)
        meter.close()
        assert _value(metrics, "host_health", service_name="history") == 1
        assert _value(metrics, "total_namespaces", operation="NamespaceCache", service_name="frontend") == 1
        owned = _value(metrics, "numshards_gauge", operation="ShardController", service_name="history")
        assert owned == len(house.roles.shards.owned()) > 0

    run_virtual(play())


def test_pauses_for_garbage_are_counted_when_they_are_read() -> None:
    async def play() -> None:
        metrics = Metrics()
        house = await House(running_loop(), MemoryStore(), metrics=metrics).open()
        meter = ProcessMeter(metrics, house.roles.namespaces, running_loop().clock)
        gc.collect()
        meter.close()
        assert _value(metrics, "memory_gc_pause_ms_count", service_name="frontend") >= 1

    run_virtual(play())
