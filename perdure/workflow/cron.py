"""Cron schedules: reading them, and when their next time is.

Five fields with `* , - / ?` and names of months and days, a descriptor like `@daily`, or `@every` with a duration;
before it `CRON_TZ=` and a time zone. A calendar's times are the minutes whose local clock matches: one that a zone
skips never comes, one that it repeats comes twice. Source: the format that the reference takes. Refuses to know what
time it is.
"""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

import msgspec

from perdure.base.clock import SECOND_NS
from perdure.visibility.literals import duration_ns
from perdure.workflow.durations import DURATION_NS_MAX

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_SPANS = re.compile(r"[+-]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+)", re.ASCII)
_RANGE = re.compile(r"(\*|\?|\w{1,9})(?:-(\w{1,9}))?(?:/(\d{1,9}))?", re.ASCII)
_MINUTE = timedelta(minutes=1)
_LENGTH_MAX = 1_000  # every number of every field, listed one by one, is shorter
_YEARS_MAX = 5  # a time that far ahead never comes: 31 February


class Interval(msgspec.Struct, frozen=True):
    """Every so many seconds, counted from the time before."""

    seconds: int

    def next_ns(self, after_ns: int, earliest_ns: int) -> int | None:
        """The first time after `after_ns` that is not before `earliest_ns`."""
        step_ns = self.seconds * SECOND_NS
        first_ns = after_ns - after_ns % SECOND_NS + step_ns
        missed = max(0, -((first_ns - earliest_ns) // step_ns))
        return first_ns + missed * step_ns


class Calendar(msgspec.Struct, frozen=True):
    """Minutes by their local clock. A day has to be in both sets of days if one of them is starred, else in one."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 = Sunday
    starred: bool
    zone: tzinfo

    def next_ns(self, after_ns: int, earliest_ns: int) -> int | None:
        """The first time after `after_ns` that is not before `earliest_ns`; None if none comes within five years."""
        seconds = max(after_ns, earliest_ns - 1) // SECOND_NS
        moment = datetime.fromtimestamp(seconds - seconds % 60 + 60, UTC)
        local = moment.astimezone(self.zone)
        last_year = local.year + _YEARS_MAX
        while local.year <= last_year:
            step = self._step(moment, local)
            if step == moment:
                return int(moment.timestamp()) * SECOND_NS
            moment = step
            local = moment.astimezone(self.zone)
        return None

    def _step(self, moment: datetime, local: datetime) -> datetime:
        """`moment` if it matches, else a later minute before which none does."""
        if local.month not in self.months:
            first = datetime(local.year + local.month // 12, local.month % 12 + 1, 1, tzinfo=self.zone)
            return max(first.astimezone(UTC), moment + _MINUTE)
        if not self._is_day(local):
            midnight = datetime(local.year, local.month, local.day, tzinfo=self.zone) + timedelta(days=1)
            return max(midnight.astimezone(UTC), moment + _MINUTE)
        if local.hour not in self.hours:
            hour = moment + timedelta(minutes=60 - local.minute)
            same = hour.astimezone(self.zone).utcoffset() == local.utcoffset()
            return hour if same else moment + _MINUTE
        return moment if local.minute in self.minutes else moment + _MINUTE

    def _is_day(self, local: datetime) -> bool:
        in_month, in_week = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return in_month and in_week if self.starred else in_month or in_week


Schedule = Interval | Calendar


def read(text: str) -> Schedule | None:
    """The schedule that `text` says; None if it says none, or goes on for longer than there is something to say."""
    return _read(text) if len(text) <= _LENGTH_MAX else None


@lru_cache(maxsize=256)
def _read(text: str) -> Schedule | None:
    zone: tzinfo = UTC
    if text.startswith(("TZ=", "CRON_TZ=")):
        name, _, text = text.partition("=")[2].partition(" ")
        found = _zone(name)
        if found is None:
            return None
        zone, text = found, text.strip()
    if text.startswith(_EVERY):
        text = text.removeprefix(_EVERY)
        every_ns = duration_ns(text) if _SPANS.fullmatch(text) else None
        return None if every_ns is None else Interval(max(1, every_ns // SECOND_NS))
    fields = _DESCRIPTORS.get(text, text).split()
    if len(fields) != len(_FIELDS):
        return None
    sets = [_field(field, *bounds) for field, bounds in zip(fields, _FIELDS, strict=True)]
    if None in sets:
        return None
    minutes, hours, days, months, weekdays = (numbers or frozenset() for numbers in sets)
    return Calendar(minutes, hours, days, months, weekdays, _is_starred(fields[2]) or _is_starred(fields[4]), zone)


def backoff_ns(text: str, scheduled_ns: int, now_ns: int) -> int | None:
    """From now to the next time after `scheduled_ns`, in nanoseconds, rounded up to a second; None = no next time."""
    schedule = read(text) if text else None
    if schedule is None:
        return None
    next_ns = scheduled_ns if now_ns < scheduled_ns else schedule.next_ns(scheduled_ns, now_ns)
    if next_ns is None:
        return None
    return min(-(-(next_ns - now_ns) // SECOND_NS) * SECOND_NS, DURATION_NS_MAX)


def _zone(name: str) -> tzinfo | None:
    if name in ("", "Local"):
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _is_starred(field: str) -> bool:
    """Whether a field of days says any day: `*`, alone or in a list, but not every second one."""
    return any(
        part.partition("/")[0] in ("*", "?") and part.partition("/")[2] in ("", "1") for part in field.split(",")
    )


def _field(text: str, low: int, high: int, names: dict[str, int]) -> frozenset[int] | None:
    numbers: set[int] = set()
    for part in text.split(","):
        found = _range(part, low, high, names)
        if found is None:
            return None
        numbers.update(found)
    return frozenset(numbers)


def _range(text: str, low: int, high: int, names: dict[str, int]) -> range | None:
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    first, last, step = found.groups()
    if step is not None and int(step) == 0:
        return None
    every = int(step or 1)
    if first in ("*", "?"):
        return range(low, high + 1, every) if last is None else None
    start = _number(first, names)
    end = start if last is None else _number(last, names)
    if start is None or end is None or not low <= start <= end <= high:
        return None
    return range(start, (high if last is None and step is not None else end) + 1, every)


def _number(text: str, names: dict[str, int]) -> int | None:
    return int(text) if text.isdigit() else names.get(text.lower())
