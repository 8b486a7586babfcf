"""Some seeds on every run of the suite; `make sim SEEDS=500` runs more."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from perdure.testing.oplog import Kind
from perdure.testing.scenario import HostTrouble, draw_scenario
from perdure.testing.sim import main, outcomes, run_seed

SEEDS = 60
BATCH = 10
# Ten seeds may have none of these.
_RARE = (Kind.CANCEL_ACTIVITY, Kind.FAIL_WORKFLOW, Kind.OPERATE)


@pytest.mark.parametrize("first", range(1, SEEDS, BATCH))
def test_no_rule_is_broken(first: int) -> None:
    done: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    events: Counter[str] = Counter()
    for seed in range(first, first + BATCH):
        outcome = run_seed(seed)
        assert not outcome.violations, f"seed {seed}: {[str(violation) for violation in outcome.violations]}"
        done += outcome.done
        faults.update(outcome.faults)
        events += outcome.events
    # Ten seeds together leave nothing out.
    assert all(done[kind] for kind in Kind if kind not in _RARE), done
    assert {
        "crash",
        "release",
        "store cut",
        "lost",
        "done",
        "slow",
        "lost_reply",
        "twice",
        "pause",
    } <= faults.keys(), faults
    assert {
        "child_workflow_execution_completed",
        "child_workflow_execution_failed",
        "external_workflow_execution_signaled",
        "external_workflow_execution_cancel_requested",
        "workflow_execution_continued_as_new",
    } <= events.keys(), events


def test_the_seeds_together_plan_every_trouble() -> None:
    planned = {trouble for seed in range(1, SEEDS + 1) for _, trouble in draw_scenario(seed).troubles}
    assert planned == set(HostTrouble)


def test_a_seed_is_the_same_run_every_time() -> None:
    seeds = range(4, 7)
    assert [run_seed(seed).digest for seed in seeds] == [run_seed(seed).digest for seed in seeds]


def test_a_seed_is_the_same_run_in_every_process() -> None:
    program = "from perdure.testing.sim import run_seed; print(*(run_seed(seed).digest for seed in range(4, 7)))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(digests) == 1


def test_different_seeds_are_different_runs() -> None:
    assert len({run_seed(seed).digest for seed in range(1, 5)}) == 4


def test_scenarios_are_drawn_from_the_seed_alone() -> None:
    assert draw_scenario(7) == draw_scenario(7)
    assert draw_scenario(7) != draw_scenario(8)


def test_seeds_that_run_side_by_side_are_the_same_runs() -> None:
    alone = [outcome.digest for outcome in outcomes(range(4, 6))]
    assert [outcome.digest for outcome in outcomes(range(4, 6), jobs=2)] == alone


def test_the_command_line_says_what_was_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--first", "3", "--verbose"]) == 0
    printed = capsys.readouterr().out
    assert "seed 3: ok" in printed
    assert "2 seeds, 0 failed" in printed
