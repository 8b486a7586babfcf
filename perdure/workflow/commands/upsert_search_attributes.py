"""Command upsert_workflow_search_attributes: change what lists can find the run by."""

from temporalio.api.command.v1 import Command, UpsertWorkflowSearchAttributesCommandAttributes
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import UpsertWorkflowSearchAttributesEventAttributes

from perdure.base.errors import InvalidArgument
from perdure.workflow.close import show
from perdure.workflow.commands import BadCommand, Completion, check_size, commands, marks, require
from perdure.workflow.search_attributes import check_sizes, typed

_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES
_NAME = "UpsertWorkflowSearchAttributes"


@commands(CommandType.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
def upsert_search_attributes(
    completion: Completion, command: Command, attributes: UpsertWorkflowSearchAttributesCommandAttributes
) -> None:
    """Merge the given attributes into the run's."""
    require(command, _NAME, _BAD)
    draft = completion.draft
    if not attributes.HasField("search_attributes"):
        raise BadCommand(_BAD, f"SearchAttributes is not set on {_NAME}Command.")
    if not attributes.search_attributes.indexed_fields:
        raise BadCommand(_BAD, f"IndexedFields is not set on {_NAME}Command.")
    try:
        given = typed(attributes.search_attributes, draft.context)
    except InvalidArgument as error:
        raise BadCommand(_BAD, error.message) from error
    size = sum(len(name.encode()) + len(payload.data) for name, payload in given.indexed_fields.items())
    limit = draft.context.limits.blob_bytes_max
    check_size(size, limit, _BAD, f"{_NAME}CommandAttributes exceeds size limit.")
    try:
        check_sizes({**draft.run.facts.search_attributes, **given.indexed_fields}, draft.context.limits)
    except InvalidArgument as error:
        raise BadCommand(_BAD, error.message, terminate=True) from error
    draft.add(
        UpsertWorkflowSearchAttributesEventAttributes(
            workflow_task_completed_event_id=completion.completed_event_id, search_attributes=given
        ),
        **marks(command),
    )
    show(draft)
