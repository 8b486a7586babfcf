"""All suites, side by side: `make test`. One pytest waits for processes and nodes, the other computes.

Each suite is in exactly one lane; one that is new computes, until somebody says here that it waits. On one core, and
with arguments, which are for pytest, one pytest runs everything.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# They start servers, and Cassandra, whose node they share.
WAITING = ("cassandra", "contract", "e2e", "conformance")
_TESTS = Path(__file__).parent
_LINE_MAX = 2**24


def lanes() -> dict[str, list[Path]]:
    """The suites of each lane, by its name."""
    suites = sorted({path.relative_to(_TESTS).parts[0] for path in _TESTS.rglob("test_*.py")})
    computing = [name for name in suites if name not in WAITING]
    return {name: [_TESTS / suite for suite in lane] for name, lane in (("waits", WAITING), ("computes", computing))}


async def run(name: str, suites: Sequence[Path]) -> int:
    """Run a lane's suites in one pytest and print its lines, each behind the lane's name; its exit code."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-o", f"cache_dir=.pytest_cache/{name}", *map(str, suites),
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        limit=_LINE_MAX, env={**os.environ, "COLUMNS": "108"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            sys.stdout.write(f"{name:>8} | {line.decode(errors='replace')}")
            sys.stdout.flush()
        code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    sys.stdout.write(f"{name:>8} | exit code {code}\n")
    return code


async def run_all(chosen: Mapping[str, Sequence[Path]]) -> bool:
    """Every lane at once; whether all went well."""
    codes = await asyncio.gather(*(run(name, suites) for name, suites in chosen.items()))
    return not any(codes)


def main() -> int:
    """The command line."""
    if sys.argv[1:] or (os.cpu_count() or 1) < 2:
        os.execv(sys.executable, [sys.executable, "-m", "pytest", *sys.argv[1:]])
    return 0 if asyncio.run(run_all(lanes())) else 1


if __name__ == "__main__":
    raise SystemExit(main())
