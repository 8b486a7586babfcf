"""The error tree: every class has a status, and the details that SDKs branch on."""

from collections.abc import Iterator

import pytest
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.errordetails.v1 import (
    MultiOperationExecutionFailure,
    ResourceExhaustedFailure,
    WorkflowExecutionAlreadyStartedFailure,
)

from perdure.base import errors


def _tree(root: type[errors.PerdureError]) -> Iterator[type[errors.PerdureError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def test_every_class_has_a_status_of_the_protocol() -> None:
    assert all(1 <= cls.status <= 16 for cls in _tree(errors.PerdureError))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidArgument("x"), 3),
        (errors.NotFound("x"), 5),
        (errors.AlreadyExists("x"), 6),
        (errors.FailedPrecondition("x"), 9),
        (errors.Unimplemented("x"), 12),
        (errors.Bug("x"), 13),
        (errors.ShardLost("x"), 14),
        (errors.QueryFailed("x"), 3),
    ],
)
def test_statuses_are_those_that_sdks_expect(error: errors.PerdureError, status: int) -> None:
    assert error.status == status
    assert error.message == "x"


def test_already_started_names_the_winner() -> None:
    details = errors.WorkflowAlreadyStarted("m", start_request_id="q", run_id="r").details()
    assert (
        details.SerializeToString()
        == WorkflowExecutionAlreadyStartedFailure(start_request_id="q", run_id="r").SerializeToString()
    )


def test_an_exhausted_resource_says_which() -> None:
    cause = ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT
    details = errors.ResourceExhausted("m", cause).details()
    assert isinstance(details, ResourceExhaustedFailure)
    assert details.cause == cause


def test_operations_that_failed_say_each_what_became_of_it() -> None:
    refused = errors.NotFound("gone")
    failed = errors.OperationsFailed([None, refused])
    details = failed.details()
    assert isinstance(details, MultiOperationExecutionFailure)
    assert [(status.code, status.message) for status in details.statuses] == [(0, ""), (5, "gone")]
    assert failed.status == refused.status
    assert errors.OperationsFailed([errors.OperationAborted(), refused]).status == refused.status
    assert errors.OperationsFailed([errors.OperationAborted(), errors.Aborted("again")]).status == errors.Aborted.status
