"""Which texts are cron schedules, as far as a start has to know."""

import pytest

from perdure.frontend.cron import is_cron


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "0 12 1-15/2 jan,FEB mon-fri",
        "*/5 ? * * 0",
        "@daily",
        "@every 1h30m",
        "CRON_TZ=Europe/Berlin 0 9 * * *",
        "TZ=UTC @hourly",
    ],
)
def test_a_schedule(schedule: str) -> None:
    assert is_cron(schedule)


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
        "5-1 * * * *",
        "*/0 * * * *",
        "@sometimes",
        "@every",
        "@every x",
        "CRON_TZ=Nowhere/Land * * * * *",
        "CRON_TZ=../etc/passwd * * * * *",
        "",
    ],
)
def test_no_schedule(schedule: str) -> None:
    assert not is_cron(schedule)
