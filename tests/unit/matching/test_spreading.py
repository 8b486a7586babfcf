"""When a task queue gets another partition, and when it has one less."""

from perdure.matching.spreading import CALM_NS, YOUNG_NS, Spread
from tests.unit.matching.fakes import SECOND


def spread(at_ns: int = 0) -> Spread:
    return Spread(100.0, at_ns)


def test_a_queue_has_one_partition_until_its_load_asks_for_more() -> None:
    queue = spread()
    for rate, count in ((0.0, 1), (100.0, 1), (100.1, 2), (101.0, 2), (399.0, 4), (10_000.0, 8)):
        queue.look(rate, 8, SECOND)
        assert queue.count == count


def test_there_are_no_more_partitions_than_hosts() -> None:
    queue = spread()
    queue.look(1_000.0, 1, SECOND)
    assert queue.count == 1
    queue.look(1_000.0, 3, SECOND)
    assert queue.count == 3
    queue.look(1_000.0, 2, SECOND)
    assert queue.count == 2
    queue.look(1_000.0, 0, SECOND)
    assert queue.count == 1


def test_it_shrinks_only_after_a_calm_time_and_not_at_its_edge() -> None:
    queue = spread()
    queue.look(350.0, 8, 0)
    assert queue.count == 4
    queue.look(190.0, 8, CALM_NS * 2)
    assert queue.count == 4, "at 190 a second three would be more than a little too few"
    begun = CALM_NS * 2
    queue.look(50.0, 8, begun + SECOND)
    assert queue.count == 4
    queue.look(50.0, 8, begun + CALM_NS)
    assert queue.count == 1


def test_a_busy_moment_begins_the_calm_time_anew() -> None:
    queue = spread()
    queue.look(350.0, 8, 0)
    queue.look(50.0, 8, CALM_NS - SECOND)
    queue.look(300.0, 8, CALM_NS)
    queue.look(50.0, 8, CALM_NS + SECOND)
    assert queue.count == 4


def test_a_new_root_takes_over_what_others_know_and_an_old_one_does_not() -> None:
    queue = spread(5 * SECOND)
    queue.adopt(3, 8, 6 * SECOND)
    assert queue.count == 3
    queue.adopt(9, 4, 6 * SECOND)
    assert queue.count == 4
    queue.adopt(8, 8, 5 * SECOND + YOUNG_NS)
    assert queue.count == 4


def test_it_looks_once_a_second() -> None:
    queue = spread()
    assert not queue.is_due(SECOND - 1)
    assert queue.is_due(SECOND)
    queue.look(0.0, 1, SECOND)
    assert not queue.is_due(SECOND)
