"""Whether a text is a cron schedule: five fields, a descriptor, or `@every`, with an optional time zone before it.

Source: the format that the reference takes (`* , - / ?`, names of months and days, `CRON_TZ=`). Refuses to compute
times.
"""

import re
import zoneinfo

from perdure.visibility.literals import duration_ns

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
_DESCRIPTORS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_RANGE = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d+))?", re.ASCII)


def is_cron(schedule: str) -> bool:
    """True if `schedule` can be read as one."""
    if schedule.startswith(("TZ=", "CRON_TZ=")):
        zone, _, schedule = schedule.partition("=")[2].partition(" ")
        if not _is_zone(zone):
            return False
    schedule = schedule.strip()
    if schedule.startswith("@every "):
        return duration_ns(schedule.removeprefix("@every ")) is not None
    if schedule.startswith("@"):
        return schedule in _DESCRIPTORS
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return False
    return all(_is_field(text, *bounds) for text, bounds in zip(fields, _FIELDS, strict=True))


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _is_field(text: str, low: int, high: int, names: dict[str, int]) -> bool:
    return all(_is_range(part, low, high, names) for part in text.split(","))


def _is_range(text: str, low: int, high: int, names: dict[str, int]) -> bool:
    found = _RANGE.fullmatch(text)
    if found is None:
        return False
    first, last, step = found.groups()
    if step is not None and int(step) == 0:
        return False
    if first in ("*", "?"):
        return last is None
    start = _number(first, names)
    end = start if last is None else _number(last, names)
    return start is not None and end is not None and low <= start <= end <= high


def _number(text: str, names: dict[str, int]) -> int | None:
    return int(text) if text.isdigit() else names.get(text.lower())
