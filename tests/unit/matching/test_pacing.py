from perdure.matching.pacing import UNLIMITED, RateLimit, Throughput
from tests.unit.matching.fakes import SECOND


def taken(limit: RateLimit, now_ns: int) -> int:
    count = limit.available(now_ns)
    for _ in range(count):
        limit.take()
    return count


def test_without_a_rate_everything_may_go() -> None:
    limit = RateLimit()
    assert limit.available(0) == UNLIMITED
    limit.set_rate(1, 0)
    limit.set_rate(None, 0)
    assert not limit.is_set
    assert limit.wait_ns(0) == 0


def test_a_second_s_worth_may_go_at_once_and_then_the_rate() -> None:
    limit = RateLimit()
    limit.set_rate(4, 0)
    assert taken(limit, 0) == 4
    assert limit.wait_ns(0) == SECOND // 4 + 1
    assert taken(limit, SECOND // 2) == 2
    assert taken(limit, 100 * SECOND) == 4
    limit.refund()
    assert taken(limit, 100 * SECOND) == 1


def test_less_than_one_a_second() -> None:
    limit = RateLimit()
    limit.set_rate(0.5, 0)
    assert taken(limit, 0) == 1
    assert taken(limit, SECOND) == 0
    assert taken(limit, 2 * SECOND) == 1


def test_a_rate_of_zero_stops_everything_and_a_lower_one_cuts_the_burst() -> None:
    limit = RateLimit()
    limit.set_rate(100, 0)
    limit.set_rate(2, 0)
    assert taken(limit, 0) == 2
    limit.set_rate(0, 0)
    assert limit.available(100 * SECOND) == 0
    assert limit.wait_ns(100 * SECOND) is None


def test_throughput_is_that_of_the_last_half_minute() -> None:
    throughput = Throughput(0)
    throughput.add(10, 0)
    assert throughput.per_second(0) == 10
    assert throughput.per_second(5 * SECOND) == 2
    throughput.add(14, 29 * SECOND)
    assert throughput.per_second(29 * SECOND) == 24 / 29
    assert throughput.per_second(30 * SECOND) == 14 / 25
    assert throughput.per_second(500 * SECOND) == 0
