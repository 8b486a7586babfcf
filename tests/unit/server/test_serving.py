"""A server process with all roles: what it is told reaches those whom it concerns."""

import asyncio
from asyncio import to_thread
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from urllib.request import urlopen

import pytest

from perdure.base.clock import SystemClock
from perdure.cluster.members import Role
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


async def test_a_frontend_that_waits_for_others_says_so_and_that_it_serves_when_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("perdure.server.serving._SHARDS_S", 0.01)
    store, told = MemoryStore(is_shared=True), _Told()
    frontend = Server(store, ServingOptions(port=0, shards=2, roles=(Role.FRONTEND,)))
    others = Server(store, ServingOptions(port=0, shards=2, roles=(Role.HISTORY, Role.MATCHING)))
    try:
        await frontend.start(Console(told, terminal=False, colour=False))
        assert told.lines == [f"Perdure {version('perdure')} is up; it waits for other roles or for shards as frontend"]
        await others.start(Console(StringIO(), terminal=False, colour=False))
        await told.has(2)
        assert told.lines[1].endswith(f" serves {frontend.facts().address}")
    finally:
        await frontend.stop()
        await others.stop()


class _Told(StringIO):
    """Lines, for who waits for them."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    def write(self, text: str, /) -> int:
        self._changed.set()
        return super().write(text)

    async def has(self, count: int) -> None:
        while len(self.lines) < count:
            self._changed.clear()
            await self._changed.wait()
