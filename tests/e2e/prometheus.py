"""A real Prometheus that scrapes real servers; and the queries of dashboards, read and asked."""

import asyncio
import contextlib
import json
import re
import shutil
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import promql_parser
import yaml

from tests.e2e.processes import free_port

PROMETHEUS = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
_VARIABLE = re.compile(r"(=~?)\s*\"\^?\$\{?\w+\}?\$?\"")
_WINDOW = re.compile(r"\$\{?_*(?:rate_|)interval\}?")


class Prometheus:
    """Scrapes `targets` (host:port) once a second. `rules`: files of rules."""

    def __init__(self, folder: Path, targets: Sequence[str], rules: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: Process | None = None
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": "perdure", "static_configs": [{"targets": list(targets)}]}],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        assert PROMETHEUS is not None
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                PROMETHEUS, f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'data'}", f"--web.listen-address=127.0.0.1:{self._port}",
                stdin=DEVNULL, stdout=DEVNULL, stderr=log,
            )  # fmt: skip
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(self._is_ready):
                await self._ends_within(0.1)

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def ask(self, query: str) -> list[dict[str, Any]]:
        """The series that a query gives now. Raises ValueError for one that can't be read."""
        return await asyncio.to_thread(self._ask, "query", {"query": query})

    async def has(self, query: str, seconds: int = 60) -> bool:
        """Whether a query gave any number but NaN within the last so many seconds, as a graph would show."""
        now = float((await self.ask("vector(time())"))[0]["value"][1])
        asked = {"query": query, "start": str(now - seconds), "end": str(now), "step": "1"}
        found = await asyncio.to_thread(self._ask, "query_range", asked)
        return any(value != "NaN" for one in found for _, value in one["values"])

    async def scraped(self, times: int) -> None:
        """Return when each target was scraped so often since this was called."""
        async with asyncio.timeout(60):
            begun = float((await self.ask("vector(time())"))[0]["value"][1])
            while True:
                up = await self.ask(f"min(count_over_time(up[{times + 1}s]))")
                now = float((await self.ask("vector(time())"))[0]["value"][1])
                if now - begun > times and up and float(up[0]["value"][1]) >= times:
                    return
                await self._ends_within(0.2)

    async def _ends_within(self, seconds: float) -> None:
        """Nothing happens for a while; raises AssertionError if it ends."""
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)
            raise AssertionError((self._folder / "prometheus.log").read_text())

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _ask(self, what: str, arguments: dict[str, str]) -> list[dict[str, Any]]:
        url = f"http://127.0.0.1:{self._port}/api/v1/{what}?{urlencode(arguments)}"
        try:
            with urlopen(url, timeout=30) as answer:
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except HTTPError as error:
            raise ValueError(f"{arguments['query']}: {error.read().decode()}") from error
        return result


def queries(dashboard: Any) -> Iterator[str]:
    """All queries of a dashboard, however its panels are nested."""
    if isinstance(dashboard, dict):
        query = dashboard.get("expr")
        if isinstance(query, str) and query.strip():
            yield query
        for value in dashboard.values():
            yield from queries(value)
    elif isinstance(dashboard, list):
        for value in dashboard:
            yield from queries(value)


def plain(query: str, window: str = "1m") -> str:
    """A query without a dashboard's variables: their values are any, an interval is `window`."""
    return _VARIABLE.sub('=~".*"', _WINDOW.sub(window, query)).replace("$job", ".+")


def selected(node: Any) -> Iterator[promql_parser.VectorSelector]:
    """What a parsed query selects: each metric with its matchers."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
        return
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from selected(child)
    for argument in getattr(node, "args", None) or ():
        yield from selected(argument)
