"""How busy a machine was, by what it counts."""

from pathlib import Path

from tests.chaos.machine import Machine


def test_it_is_the_part_that_was_not_idle_since_the_last_look(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1 2 3 4\n")
    machine = Machine(stat)
    assert machine.look() == 0.0
    stat.write_text("cpu  130 0 110 850 10 0 0 0 0 0\ncpu0 1 2 3 4\n")
    assert machine.look() == 0.4
    stat.write_text("cpu  130 0 110 900 10 0 0 0 0 0\ncpu0 1 2 3 4\n")
    assert machine.look() == 0.0
