"""A SQLite store whose process is killed, whose disk fails to sync or is full, and which a second process wants."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.base.clock import SystemClock
from perdure.base.errors import StoreUnavailable
from perdure.store.contract import Group, SegmentId
from perdure.store.sqlite import SqliteStore
from tests.contract.appender import SEGMENT, body_of

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Appender:
    """The other process; `say` sends a line and gives the answer."""

    def __init__(self, path: Path, how: str, environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.appender", str(path), how],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.line()

    def kill(self) -> str:
        """Kill it, and return what it had still printed."""
        self.process.kill()
        rest, _ = self.process.communicate()
        return str(rest)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "perdure.db"


class Disk:
    """The disk of the other process, as `failing_disk.c` makes it."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def fail(self, how: str) -> None:
        """From now on every `sync` fails, or the disk is `full`."""
        self.flag.write_text(how)

    def heal(self) -> None:
        self.flag.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "disk-fails")


@pytest.fixture
def failing(tmp_path: Path, path: Path, disk: Disk) -> Iterator[Appender]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler: `.ci/run` installs gcc, which compiles the failing disk of this test"
    library = tmp_path / "failing_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, HERE / "failing_disk.c", "-ldl"], check=True)
    appender = Appender(path, "obey", {"LD_PRELOAD": str(library), "FAILING_DISK": str(disk.flag)})
    yield appender
    appender.kill()


async def _stored(path: Path, segment: SegmentId = SEGMENT) -> list[Group]:
    store = await SqliteStore.open(path, clock=SystemClock())
    groups = await store.log.read_groups(segment, 0, 1 << 20)
    header = await store.log.read_header(segment)
    await store.close()
    assert header is not None
    assert [group.n for group in groups] == list(range(1, header.last + 1))
    assert all(group.body == body_of(group.n) for group in groups)
    return groups


async def test_a_killed_process_loses_nothing_it_acknowledged_and_leaves_nothing_to_clean_up(path: Path) -> None:
    acknowledged: dict[str, int] = {}
    appender = Appender(path, "on")
    lines = [appender.line() for _ in range(400)]
    for line in [*lines, *appender.kill().splitlines()]:
        shard, _, n = line.partition(" ")
        if n.isdigit():
            acknowledged[shard] = max(int(n), acknowledged.get(shard, 0))
    assert len(acknowledged) == 4
    for shard, last in acknowledged.items():
        # A last line that the kill cut off shows a smaller number.
        assert len(await _stored(path, SegmentId(shard, 1, 0))) >= last


def test_a_second_process_is_refused_while_the_first_one_lives(path: Path) -> None:
    appender = Appender(path, "obey")
    second = subprocess.run(
        [sys.executable, "-m", "tests.contract.appender", str(path), "obey"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    appender.kill()
    assert second.returncode != 0
    assert f"in use by process {appender.process.pid}; only one may open it" in second.stderr
    again = Appender(path, "obey")
    assert again.say("append 1") == "applied"
    again.kill()


async def test_a_second_store_in_one_process_is_refused_under_any_name_of_the_file(path: Path) -> None:
    store = await SqliteStore.open(path, clock=SystemClock())
    path.with_name("other.db").symlink_to(path)
    for name in (path, path.with_name("other.db")):
        with pytest.raises(StoreUnavailable, match=f"in use by process {os.getpid()}"):
            await SqliteStore.open(name, clock=SystemClock())
    await store.close()
    again = await SqliteStore.open(path, clock=SystemClock())
    await again.close()


async def test_a_failed_sync_leaves_the_outcome_unknown_until_everything_is_on_the_disk_again(
    path: Path, disk: Disk, failing: Appender
) -> None:
    assert failing.say("append 1") == "applied"
    assert failing.say("append 2") == "applied"
    disk.fail("sync")
    assert failing.say("append 3").startswith("OutcomeUnknown")
    # Nothing is answered on the strength of pages that may never reach the disk.
    for read in ("groups", "header", "groups"):
        assert failing.say(read) == "OutcomeUnknown"
    assert failing.say("append 3").startswith("OutcomeUnknown")
    disk.heal()
    # Sent again until the answer is definite: it is mine either way.
    assert failing.say("append 3") in ("applied", "not applied, last 3")
    assert [failing.say("header"), failing.say("groups")] == ["last 3", "groups 3"]
    assert failing.say("append 4") == "applied"
    failing.kill()
    assert len(await _stored(path)) == 4


async def test_a_process_killed_in_doubt_loses_nothing_it_acknowledged(
    path: Path, disk: Disk, failing: Appender
) -> None:
    assert failing.say("append 1") == "applied"
    disk.fail("sync")
    assert failing.say("append 2").startswith("OutcomeUnknown")
    failing.kill()
    assert len(await _stored(path)) in (1, 2)


async def test_a_full_disk_is_a_definite_failure_that_passes(path: Path, disk: Disk, failing: Appender) -> None:
    assert failing.say("append 1") == "applied"
    disk.fail("full")
    for _ in range(2):
        assert failing.say("append 2") == "StoreUnavailable The disk or the database is full; nothing was written."
    assert [failing.say("header"), failing.say("groups")] == ["last 1", "groups 1"]
    disk.heal()
    assert failing.say("append 2") == "applied"
    assert [failing.say("header"), failing.say("groups")] == ["last 2", "groups 2"]
    failing.kill()
    assert len(await _stored(path)) == 2
