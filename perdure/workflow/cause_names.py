"""How the reference spells the causes of workflow-task failures in messages: `BadSearchAttributes`."""

from temporalio.api.enums.v1 import WorkflowTaskFailedCause


def cause_name(cause: WorkflowTaskFailedCause.ValueType) -> str:
    """`WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES` as `BadSearchAttributes`; of an unknown one its number."""
    return _NAMES.get(cause) or str(cause)


def _spelled(name: str) -> str:
    return "".join(word.capitalize() for word in name.removeprefix("WORKFLOW_TASK_FAILED_CAUSE_").split("_"))


_NAMES = {number: _spelled(name) for name, number in WorkflowTaskFailedCause.items()}
