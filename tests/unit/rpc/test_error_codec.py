"""Errors between hosts: every class of the tree arrives as it was."""

import inspect
from collections.abc import Iterator, Sequence
from typing import Any, get_type_hints

import msgspec
import pytest
from temporalio.api.enums.v1 import NamespaceState, ResourceExhaustedCause
from temporalio.api.failure.v1 import Failure

from perdure.base import errors
from perdure.base.errors import (
    Bug,
    NotFound,
    OperationAborted,
    OperationsFailed,
    PerdureError,
    QueryFailed,
    Refused,
    ResourceExhausted,
    Unavailable,
    WorkflowAlreadyStarted,
)
from perdure.rpc.codec import Unreadable, write
from perdure.rpc.error_codec import read_error, write_error

VALUES: dict[Any, Any] = {
    str: "a name",
    int: 3,
    Failure | None: Failure(message="worse", cause=Failure(message="why")),
    Sequence[PerdureError | None]: [None, NotFound("gone"), OperationAborted()],
}


def tree(class_: type[PerdureError]) -> Iterator[type[PerdureError]]:
    yield class_
    for child in class_.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def made(class_: type[PerdureError]) -> PerdureError:
    hints = get_type_hints(class_.__init__)
    parameters = list(inspect.signature(class_.__init__).parameters.values())[1:]
    positional = [VALUES[hints[each.name]] for each in parameters if each.kind is not each.KEYWORD_ONLY]
    return class_(*positional, **{each.name: VALUES[str] for each in parameters if each.kind is each.KEYWORD_ONLY})


def told(error: PerdureError) -> dict[str, Any]:
    """All that there is to an error, with those inside it."""
    fields = {key: value for key, value in vars(error).items() if key != "errors"}
    inner = [each if each is None else told(each) for each in getattr(error, "errors", ())]
    return {**fields, "class": type(error), "args": error.args, "details": error.details(), "errors": inner}


@pytest.mark.parametrize(
    "class_",
    [class_ for class_ in tree(PerdureError) if class_ is not errors.HostUnreachable],
    ids=lambda class_: class_.__name__,
)
def test_every_class_arrives_as_it_was(class_: type[PerdureError]) -> None:
    error = made(class_)
    assert told(read_error(write_error(error))) == told(error)


def test_a_third_host_that_cannot_be_reached_does_not_say_that_nothing_was_done_here() -> None:
    found = read_error(write_error(errors.HostUnreachable("nobody there", "h:1")))
    assert type(found) is errors.Unavailable
    assert found.message == "nobody there"


def test_the_tree_is_walked() -> None:
    assert {Bug, WorkflowAlreadyStarted, OperationAborted, errors.ShardElsewhere} <= set(tree(PerdureError))


def test_a_class_from_elsewhere_arrives_as_its_nearest_ancestor() -> None:
    class ShardOnFire(ResourceExhausted):
        pass

    cause = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_RPS_LIMIT
    found = read_error(write_error(ShardOnFire("hot", cause)))
    assert type(found) is ResourceExhausted
    assert (found.message, found.cause) == ("hot", cause)


def sent(classes: list[str], status: int, fields: dict[str, Any]) -> bytes:
    return write((classes, status, "told", fields, "more of a newer release"))


def test_an_unknown_class_arrives_as_the_nearest_that_is_known() -> None:
    found = read_error(sent(["PageNotFound", "NotFound", "Refused"], 5, {"page": 7}))
    assert (type(found), found.message, found.details()) == (NotFound, "told", NotFound("").details())


def test_a_class_that_lacks_a_field_arrives_as_an_ancestor() -> None:
    found = read_error(sent(["NamespaceInvalidState", "FailedPrecondition", "Refused"], 9, {"namespace": "n"}))
    assert type(found) is errors.FailedPrecondition


@pytest.mark.parametrize(("status", "class_"), [(5, NotFound), (14, Unavailable), (13, Bug), (99, Bug)])
def test_a_class_without_known_ancestors_arrives_by_its_status(status: int, class_: type[PerdureError]) -> None:
    assert type(read_error(sent(["Strange"], status, {}))) is class_


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc0",
        b"\x93",
        write((["NotFound"], "5", "told")),
        sent(["ResourceExhausted"], 8, {"cause": "rps", "scope": 1}),
        sent(["NamespaceInvalidState"], 9, {"namespace": "n", "state": 77}),
        sent(["QueryFailed"], 3, {"failure": b"\xff"}),
        sent(["QueryFailed"], 3, {"failure": 7}),
        sent(["OperationsFailed"], 3, {"errors": [None] * 17}),
        sent(["OperationsFailed"], 3, {"errors": [7]}),
        b"\x91" * 5_000,
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_what_is_no_error_is_told(body: bytes) -> None:
    with pytest.raises(Unreadable, match=r"not readable|an error of 17"):
        read_error(body)


def test_errors_inside_each_other_have_an_end() -> None:
    error = OperationsFailed([OperationsFailed([None])])
    with pytest.raises(Unreadable, match="of others that are of others"):
        read_error(write_error(error))


def test_a_query_that_failed_keeps_all_of_its_failure() -> None:
    failure = Failure(message="x" * 1_000_000)
    found = read_error(write_error(QueryFailed("no", failure)))
    assert isinstance(found, QueryFailed)
    assert found.failure == failure


def test_operations_keep_whose_status_it_is() -> None:
    cause = NamespaceState.NAMESPACE_STATE_DELETED
    error = OperationsFailed([OperationAborted(), errors.NamespaceInvalidState("n", cause)])
    found = read_error(write_error(error))
    assert found.status == 9
    assert isinstance(found.details(), type(error.details()))
    assert issubclass(errors.NamespaceInvalidState, Refused)
    assert msgspec.msgpack.decode(write_error(error))[1] == 9
