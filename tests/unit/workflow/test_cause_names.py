"""How causes are spelled, also those that only their sender knows."""

from temporalio.api.enums.v1 import WorkflowTaskFailedCause

from perdure.workflow.cause_names import cause_name


def test_causes_are_spelled_as_the_reference_does() -> None:
    assert cause_name(WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES) == "BadSearchAttributes"


def test_a_cause_that_nobody_knows_is_its_number() -> None:
    for number in (-1, 999, 2**31 - 1):
        assert cause_name(number) == str(number)  # type: ignore[arg-type]  # whatever a worker sends
