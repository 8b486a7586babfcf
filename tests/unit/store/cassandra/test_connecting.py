"""What is waited for when a cluster can't be connected, and what is told at once."""

from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from perdure.base.clock import SECOND_NS
from perdure.base.errors import FailedPrecondition, InvalidArgument, StoreUnavailable
from perdure.store.cassandra import connecting, driver
from perdure.store.cassandra.connecting import connected
from perdure.store.cassandra.errors import Away, Denied, Misfit
from perdure.store.cassandra.options import CassandraOptions
from perdure.store.cassandra.reactor import LoopConnection
from tests.unit.store.cassandra.links import HandLink

OPTIONS = CassandraOptions(contact_points=("db",), user="me", password="s3cret", connect_wait_s=10.0)
Answers = Callable[..., list[CassandraOptions]]


class _Clock:
    """A second goes by whenever it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def now_ns(self) -> int:
        raise AssertionError("nothing here is about wall time")

    def monotonic_ns(self) -> int:
        self.asked += 1
        return self.asked * SECOND_NS


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Let attempts to connect end with these errors, the last one again and again; None: connected."""
    monkeypatch.setattr(connecting, "_FIRST_PAUSE_S", 0.0)

    def answers(*errors: Exception | None) -> list[CassandraOptions]:
        attempts: list[CassandraOptions] = []

        def connect(options: CassandraOptions, _connections: type[LoopConnection]) -> HandLink:
            attempts.append(options)
            error = errors[min(len(attempts), len(errors)) - 1]
            if error is not None:
                raise error
            return HandLink()

        monkeypatch.setattr(driver, "connect", connect)
        return attempts

    return answers


async def test_a_cluster_that_is_there(answers: Answers) -> None:
    attempts = answers(None)
    session = await connected(OPTIONS, _Clock())
    assert session.datacenter == "here"
    assert attempts == [OPTIONS]


async def test_a_cluster_that_comes_is_waited_for(answers: Answers) -> None:
    attempts = answers(Away("refused"), Away("refused"), None)
    with capture_logs() as logs:
        await connected(OPTIONS, _Clock())
    assert len(attempts) == 3
    assert [(entry["event"], entry["cause"]) for entry in logs] == [("waiting for Cassandra", "refused")] * 2


async def test_a_cluster_that_does_not_come_is_given_up(answers: Answers) -> None:
    attempts = answers(Away("refused"))
    with pytest.raises(StoreUnavailable, match="Cassandra can't be reached: refused"):
        await connected(OPTIONS, _Clock())
    assert 1 < len(attempts) < 10


async def test_a_password_that_is_refused_is_told_at_once(answers: Answers) -> None:
    attempts = answers(Denied("wrong"))
    with pytest.raises(FailedPrecondition, match="refuses the user me or its password: wrong") as raised:
        await connected(OPTIONS, _Clock())
    assert len(attempts) == 1
    assert "s3cret" not in raised.value.message


async def test_a_cluster_that_has_just_come_up_may_make_its_user_yet(answers: Answers) -> None:
    attempts = answers(Away("refused"), Denied("wrong"), None)
    await connected(OPTIONS, _Clock())
    assert len(attempts) == 3
    answers(Away("refused"), Denied("wrong"))
    with pytest.raises(FailedPrecondition, match="refuses the user me"):
        await connected(OPTIONS, _Clock())


async def test_what_waiting_does_not_mend_is_told_at_once(answers: Answers) -> None:
    attempts = answers(Misfit("there is no datacenter mars"))
    with pytest.raises(FailedPrecondition, match="there is no datacenter mars"):
        await connected(OPTIONS, _Clock())
    assert len(attempts) == 1


async def test_options_are_checked_before_anybody_is_asked(answers: Answers) -> None:
    attempts = answers(None)
    with pytest.raises(InvalidArgument, match="contact_points"):
        await connected(CassandraOptions(contact_points=()), _Clock())
    assert attempts == []
