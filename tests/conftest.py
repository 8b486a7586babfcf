"""What all suites share: a Cassandra for those that need one, and logs that commands leave alone."""

import pytest

from perdure.server import logs

pytest_plugins = ["tests.cassandra.fixtures"]


@pytest.fixture(autouse=True)
def _logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is run in this process would configure its logs for good: loggers keep what they first had."""

    def unchanged(level: str, form: str, service: str) -> None:
        assert level in logs.LEVELS

    monkeypatch.setattr(logs, "configure", unchanged)
