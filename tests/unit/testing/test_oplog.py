"""What an error says about a call, and what a log remembers."""

import pytest

from perdure.base.errors import (
    Aborted,
    Bug,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PerdureError,
    ShardLost,
    Unavailable,
    WorkflowAlreadyStarted,
)
from perdure.store.contract import OutcomeUnknown
from perdure.testing.loop import VirtualClock, VirtualLoop
from perdure.testing.oplog import Kind, OpLog, Outcome, outcome_of


@pytest.fixture
def log() -> OpLog:
    loop = VirtualLoop()
    loop.close()
    return OpLog(VirtualClock(loop))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotFound(""), Outcome.FAIL),
        (InvalidArgument(""), Outcome.FAIL),
        (WorkflowAlreadyStarted("", start_request_id="", run_id=""), Outcome.FAIL),
        (Unavailable(""), Outcome.UNKNOWN),
        (ShardLost(""), Outcome.UNKNOWN),
        (OutcomeUnknown(""), Outcome.UNKNOWN),
        (DeadlineExceeded(""), Outcome.UNKNOWN),
        (Aborted(""), Outcome.UNKNOWN),
        (Bug(""), Outcome.UNKNOWN),
        (PerdureError(""), Outcome.UNKNOWN),
        (KeyError(""), Outcome.UNKNOWN),
    ],
)
def test_only_a_refusal_says_that_nothing_was_done(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


def test_a_call_that_never_returns_stays_unknown(log: OpLog) -> None:
    op = log.invoke(Kind.SIGNAL, "client", request_id="r")
    assert op.outcome is Outcome.UNKNOWN
    assert op.returned_ns == 0
    assert op.identity == "client#0"


def test_outcomes_and_errors_are_kept(log: OpLog) -> None:
    done, refused = log.invoke(Kind.START, "client"), log.invoke(Kind.START, "client")
    log.returned(done, run_id="r")
    log.failed(refused, NotFound("nothing here"))
    assert done.ok
    assert done.reply == {"run_id": "r"}
    assert refused.outcome is Outcome.FAIL
    assert refused.refused_as == "NotFound"


def test_the_digest_is_of_everything(log: OpLog) -> None:
    digests = {log.digest()}
    op = log.invoke(Kind.START, "client")
    digests.add(log.digest())
    log.returned(op)
    digests.add(log.digest())
    log.note("host-1 dies")
    digests.add(log.digest())
    assert len(digests) == 4
