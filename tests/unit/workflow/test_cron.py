"""Which texts are cron schedules, and when their next times are."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.base.clock import SECOND_NS
from perdure.workflow.cron import Calendar, backoff_ns, read
from perdure.workflow.durations import DURATION_NS_MAX


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "0 12 1-15/2 jan,FEB mon-fri",
        "*/5 ? * * 0",
        "@daily",
        "@every 1h30m",
        "@every 10ms",
        "@every -1s",
        "CRON_TZ=Europe/Berlin 0 9 * * *",
        "TZ=UTC @hourly",
        "TZ= @hourly",
    ],
)
def test_a_schedule(schedule: str) -> None:
    assert read(schedule) is not None


@pytest.mark.parametrize(
    "schedule",
    [
        "not a schedule",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "* * * * MON#1",
        "* * L * *",
        "5-1 * * * *",
        "*/0 * * * *",
        "9999999999 * * * *",
        "@sometimes",
        "@reboot",
        " @daily",
        "@every",
        "@every x",
        "@every 5",
        "@every 1d",
        "@every 01:00:00",
        "CRON_TZ=Nowhere/Land * * * * *",
        "CRON_TZ=../etc/passwd * * * * *",
        " ",
        "",
    ],
)
def test_no_schedule(schedule: str) -> None:
    assert read(schedule) is None


def next_after(schedule: str, time: str, zone: str = "UTC") -> str:
    times = read(f"CRON_TZ={zone} {schedule}")
    assert times is not None
    after_ns = int(datetime.fromisoformat(time + "+00:00").timestamp() * 1000) * SECOND_NS // 1000
    next_ns = times.next_ns(after_ns, 0)
    return "never" if next_ns is None else f"{datetime.fromtimestamp(next_ns // SECOND_NS, UTC):%Y-%m-%dT%H:%M:%S}"


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01:00"),
        ("* * * * *", "2026-01-01T00:00:59.500", "2026-01-01T00:01:00"),
        ("30 4 * * *", "2026-12-31T04:30:00", "2027-01-01T04:30:00"),
        ("10-40/15 5 * * *", "2026-01-01T05:10:00", "2026-01-01T05:25:00"),
        ("50/5 5 * * *", "2026-01-01T05:50:00", "2026-01-01T05:55:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 0 31 2 *", "2026-01-01T00:00:00", "never"),
        ("0 0 1 * MON", "2026-01-01T00:00:00", "2026-01-05T00:00:00"),  # either day
        ("0 0 */1 * MON", "2026-01-01T00:00:00", "2026-01-05T00:00:00"),  # a star: both
        ("0 0 */2 * MON", "2026-01-01T00:00:00", "2026-01-03T00:00:00"),  # every second day is no star
        ("@weekly", "2026-01-01T00:00:00", "2026-01-04T00:00:00"),
        ("@yearly", "2026-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("@every 90s", "2026-01-01T00:00:00.500", "2026-01-01T00:01:30"),
        ("@every 1.9s", "2026-01-01T00:00:00", "2026-01-01T00:00:01"),
    ],
)
def test_the_next_time(schedule: str, after: str, expected: str) -> None:
    assert next_after(schedule, after) == expected


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("0 12 * * *", "2026-07-01T00:00:00", "2026-07-01T10:00:00"),
        ("30 2 * * *", "2026-03-28T02:00:00", "2026-03-30T00:30:00"),  # skipped on the 29th
        ("30 2 * * *", "2026-10-25T00:00:00", "2026-10-25T00:30:00"),  # twice on the 25th
        ("30 2 * * *", "2026-10-25T00:30:00", "2026-10-25T01:30:00"),
    ],
)
def test_the_next_time_by_the_clock_of_berlin(schedule: str, after: str, expected: str) -> None:
    assert next_after(schedule, after, "Europe/Berlin") == expected


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    spans = st.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    steps = st.integers(1, max(2, (high - low) // 2)).map(lambda step: f"*/{step}")
    return st.one_of(st.just("*"), st.just("*"), number.map(str), spans, steps)


_SCHEDULES = st.tuples(_field(0, 59), _field(0, 23), _field(1, 31), _field(1, 12), _field(0, 6)).map(" ".join)
_ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/Havana", "Asia/Kathmandu", "Australia/Lord_Howe"])
# Around the changes of the clocks, where a schedule is most easily wrong.
_TIMES = st.sampled_from([1_774_740_000, 1_792_880_000, 1_775_300_000, 1_791_020_000, 1_772_900_000]).flatmap(
    lambda base: st.integers(base - 200_000, base + 200_000)
)


def stepped(times: Calendar, after_s: int, minutes: int) -> int | None:
    """The next time, found by looking at every minute."""
    moment = datetime.fromtimestamp(after_s - after_s % 60, UTC)
    for _ in range(minutes):
        moment += timedelta(minutes=1)
        local = moment.astimezone(times.zone)
        days = local.day in times.days, local.isoweekday() % 7 in times.weekdays
        is_day = all(days) if times.starred else any(days)
        if local.minute in times.minutes and local.hour in times.hours and local.month in times.months and is_day:
            return int(moment.timestamp())
    return None


@settings(max_examples=50, deadline=None)
@given(_SCHEDULES, _ZONES, _TIMES)
def test_the_next_time_is_the_first_minute_that_matches(schedule: str, zone: str, after_s: int) -> None:
    times = read(f"CRON_TZ={zone} {schedule}")
    assert isinstance(times, Calendar)
    minutes = 3 * 24 * 60
    found_ns = times.next_ns(after_s * SECOND_NS, 0)
    expected = stepped(times, after_s, minutes)
    if expected is None:
        assert found_ns is None or found_ns // SECOND_NS > after_s + (minutes - 1) * 60
    else:
        assert found_ns == expected * SECOND_NS


@given(st.integers(1, 10_000), st.integers(0, 10**12), st.integers(0, 10**12))
def test_an_interval_is_counted_from_the_time_before(seconds: int, after_ms: int, later_ms: int) -> None:
    times = read(f"@every {seconds}s")
    assert times is not None
    after_ns, earliest_ns = after_ms * 10**6, (after_ms + later_ms) * 10**6
    next_ns = times.next_ns(after_ns, earliest_ns)
    assert next_ns is not None
    assert next_ns > after_ns
    assert next_ns >= earliest_ns
    assert (next_ns // SECOND_NS - after_ns // SECOND_NS) % seconds == 0
    assert next_ns - seconds * SECOND_NS < max(after_ns + 1, earliest_ns)


@pytest.mark.parametrize(
    ("schedule", "scheduled_ms", "now_ms", "seconds"),
    [
        ("@every 10s", 0, 0, 10),
        ("@every 10s", 0, 3_500, 7),  # rounded up
        ("@every 10s", 0, 10_000, 0),  # now is a time
        ("@every 10s", 0, 25_000, 5),  # what was missed is not made up for
        ("@every 10s", 8_000, 3_000, 5),  # it ended before it was to begin
        ("* * * * *", 0, 60_000, 0),
        ("* * * * *", 0, 60_001, 60),
    ],
)
def test_the_backoff_until_the_next_time(schedule: str, scheduled_ms: int, now_ms: int, seconds: int) -> None:
    assert backoff_ns(schedule, scheduled_ms * 10**6, now_ms * 10**6) == seconds * SECOND_NS


@pytest.mark.parametrize("schedule", ["", "no schedule", "0 0 31 2 *"])
def test_no_backoff_without_a_next_time(schedule: str) -> None:
    assert backoff_ns(schedule, 0, 0) is None


def test_the_backoff_fits_into_a_timestamp() -> None:
    assert backoff_ns("@every 9999999h", 0, 0) == DURATION_NS_MAX


def test_every_number_one_by_one_is_a_schedule_and_a_longer_one_is_not_read() -> None:
    ranges = (range(60), range(24), range(1, 32), range(1, 13), range(7))
    every = " ".join(",".join(map(str, numbers)) for numbers in ranges)
    assert read("CRON_TZ=America/Argentina/ComodRivadavia " + every) is not None
    assert read("1," * 500_000 + "1 * * * *") is None
