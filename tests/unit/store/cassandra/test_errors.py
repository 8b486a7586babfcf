"""What is definite about an error of Cassandra, and what is not (rule L3)."""

import pytest
from cassandra import (
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
    Unavailable,
    WriteFailure,
    WriteTimeout,
    WriteType,
)
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionShutdown
from cassandra.protocol import ErrorMessage, OverloadedErrorMessage, ServerError, SyntaxException

from perdure.base.errors import StoreUnavailable
from perdure.store.cassandra.driver import told
from perdure.store.cassandra.errors import Failure, Refusal, meaning
from perdure.store.cassandra.statements import REGISTRY, Kind, Statement
from perdure.store.contract import OutcomeUnknown

# 0x1700: the nodes don't know whether a conditional write was decided. The driver has no class for it.
CAS_UNKNOWN = ErrorMessage(0x1700, "CAS operation result is unknown", {})
IN_DOUBT = [
    Unavailable("no quorum"),
    WriteTimeout("late", write_type=WriteType.CAS),
    WriteFailure("failed", write_type=WriteType.SIMPLE),
    OverloadedErrorMessage(0x1001, "busy", {}),
    ServerError(0, "broken", {}),
    CAS_UNKNOWN,
    ConnectionShutdown("closed"),
    OperationTimedOut(),
    NoHostAvailable("nobody", {"127.0.0.1:9042": ConnectionShutdown("closed")}),
    NoHostAvailable("nobody", []),
    RuntimeError("anything else"),
]
DEFINITE = [InvalidRequest("too large"), Unauthorized("no right"), SyntaxException(0x2000, "nonsense", {})]


def _statement(kind: Kind) -> Statement:
    made = Statement("SELECT a FROM one", kind)
    REGISTRY.remove(made)
    return made


@pytest.mark.parametrize("error", IN_DOUBT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", [Kind.CONDITIONAL, Kind.STAMPED])
def test_a_write_that_was_not_refused_is_in_doubt(error: Exception, kind: Kind) -> None:
    assert isinstance(told(error), Failure)
    meant = meaning(_statement(kind), told(error))
    assert isinstance(meant, OutcomeUnknown)
    assert "one" in meant.message


@pytest.mark.parametrize("error", DEFINITE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", list(Kind))
def test_what_was_refused_was_not_done(error: Exception, kind: Kind) -> None:
    assert isinstance(told(error), Refusal)
    meant = meaning(_statement(kind), told(error))
    assert isinstance(meant, StoreUnavailable)


@pytest.mark.parametrize("error", IN_DOUBT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", [Kind.READ, Kind.SETTLED_READ])
def test_a_read_that_failed_did_nothing(error: Exception, kind: Kind) -> None:
    assert isinstance(meaning(_statement(kind), told(error)), StoreUnavailable)


@pytest.mark.parametrize("error", [TypeError("an int for a text"), AttributeError("timeout"), KeyError("rows")])
def test_a_mistake_is_no_answer_of_cassandra(error: Exception) -> None:
    assert told(error) is error


def test_a_sentence_says_the_cause() -> None:
    nobody = NoHostAvailable("nobody", {"a": ConnectionShutdown("closed by 127.0.0.1")})
    assert str(told(nobody)) == "no node takes requests (closed by 127.0.0.1)"
    assert str(told(OperationTimedOut(last_host="127.0.0.1"))) == "no answer in time from 127.0.0.1"
    said = InvalidRequest('Error from server: code=2200 [Invalid query] message="Unknown \\"x\\"."')
    assert str(told(said)) == 'Unknown \\"x\\"'
