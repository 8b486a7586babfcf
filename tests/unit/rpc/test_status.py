"""What an error may cost its client: trailers stay below what clients accept."""

import pytest
from temporalio.api.common.v1 import GrpcStatus
from temporalio.api.failure.v1 import Failure

from perdure.base.errors import InvalidArgument, NamespaceNotFound, QueryFailed
from perdure.rpc.status import DETAILS_KEY, shortened, status_of


@pytest.mark.parametrize("message", ["", "short", "x" * 2000, "ü" * 333, "100 %"])
def test_a_message_that_may_travel_is_left_alone(message: str) -> None:
    assert shortened(message) == message


@pytest.mark.parametrize(("message", "kept"), [("x" * 2001, 1997), ("ü" * 1000, 332), ("%" * 1000, 665)])
def test_a_longer_message_ends_in_dots(message: str, kept: int) -> None:
    assert shortened(message) == message[:kept] + "..."


def test_details_name_the_shortened_message() -> None:
    _, message, trailing = status_of(NamespaceNotFound("n" * 3000))
    assert len(message) == 2000
    assert not trailing  # the detail itself names the namespace once more: there is no room for it
    _, message, trailing = status_of(NamespaceNotFound("n" * 1000))
    details = dict(trailing)[DETAILS_KEY]
    assert isinstance(details, bytes)
    assert GrpcStatus.FromString(details).message == message


def test_details_without_room_are_left_out() -> None:
    assert status_of(QueryFailed("m", Failure(message="x" * 1000)))[2]
    assert not status_of(QueryFailed("m", Failure(message="x" * 5000)))[2]


def test_an_error_without_details_has_no_trailers() -> None:
    assert status_of(InvalidArgument("x" * 9000))[2] == ()
