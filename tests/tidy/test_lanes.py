"""`make test` runs every suite, and fails when one of them does."""

from pathlib import Path

import pytest

from tests.lanes import lanes, run_all


def test_every_suite_is_in_one_lane() -> None:
    chosen = [suite for suites in lanes().values() for suite in suites]
    assert len(set(chosen)) == len(chosen)
    tests = Path(__file__).parents[1]
    assert all(any(suite in path.parents for suite in chosen) for path in tests.rglob("test_*.py"))


async def test_one_failing_lane_fails_them_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "test_one.py").write_text("def test_it(): pass")
    (tmp_path / "two" / "test_two.py").write_text("def test_it(): assert False")
    assert not await run_all({"first": [tmp_path / "one"], "second": [tmp_path / "two"]})
    printed = capsys.readouterr().out
    assert "   first | exit code 0" in printed
    assert "  second | exit code 1" in printed
