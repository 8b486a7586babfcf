"""A server process with all roles: what it is told reaches those whom it concerns."""

from asyncio import to_thread
from io import StringIO
from pathlib import Path
from urllib.request import urlopen

from perdure.base.clock import SystemClock
from perdure.server.console import Console
from perdure.server.options import ServingOptions
from perdure.server.serving import Server
from perdure.store.memory import MemoryStore


def _cache_size(url: str) -> float:
    with urlopen(url) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = (line for line in lines if line.startswith("cache_size{"))
    return float(line.rpartition(" ")[2])


async def test_the_size_of_the_cache_is_what_the_dynamic_file_says(tmp_path: Path) -> None:
    """Charts bring dynamic values by a file alone."""
    path = tmp_path / "dynamic.yaml"
    path.write_text("history.hostLevelCacheMaxSizeBytes: 12345678")
    options = ServingOptions(port=0, dynamic_file=str(path), shards=4)
    server = Server(MemoryStore(SystemClock()), options)
    try:
        await server.start(Console(StringIO(), terminal=False, colour=False))
        size = await to_thread(_cache_size, server.facts().metrics)
    finally:
        await server.stop()
    assert size == 12345678
