"""How the reference spells the causes of workflow-task failures in messages: `BadSearchAttributes`."""

from functools import cache

from temporalio.api.enums.v1 import WorkflowTaskFailedCause


@cache
def cause_name(cause: WorkflowTaskFailedCause.ValueType) -> str:
    """`WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES` as `BadSearchAttributes`."""
    words = WorkflowTaskFailedCause.Name(cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_").split("_")
    return "".join(word.capitalize() for word in words)
