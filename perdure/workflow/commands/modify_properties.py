"""Command modify_workflow_properties: change the run's memo."""

from temporalio.api.command.v1 import Command, ModifyWorkflowPropertiesCommandAttributes
from temporalio.api.common.v1 import Memo, Payload
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import WorkflowPropertiesModifiedEventAttributes

from perdure.workflow.close import show
from perdure.workflow.commands import BadCommand, Completion, check_size, commands, marks, require
from perdure.workflow.events.workflow import is_nothing

_BAD = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES
_NAME = "ModifyWorkflowProperties"


@commands(CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES)
def modify_properties(
    completion: Completion, command: Command, attributes: ModifyWorkflowPropertiesCommandAttributes
) -> None:
    """Merge the given fields into the memo; empty ones are removed."""
    require(command, _NAME, _BAD)
    draft = completion.draft
    if not attributes.HasField("upserted_memo"):
        raise BadCommand(_BAD, f"UpsertedMemo is not set on {_NAME}Command.")
    given = attributes.upserted_memo.fields
    if not given:
        raise BadCommand(_BAD, f"UpsertedMemo.Fields is not set on {_NAME}Command.")
    limits = draft.context.limits
    size = sum(len(name.encode()) + len(payload.data) for name, payload in given.items())
    check_size(size, limits.blob_bytes_max, _BAD, f"{_NAME}CommandAttributes exceeds size limit.")
    memo = {name: Payload.FromString(value) for name, value in draft.run.facts.memo.items()}
    memo.update(given)
    kept = Memo(fields={name: payload for name, payload in memo.items() if not is_nothing(payload)})
    message = f"{_NAME}CommandAttributes. Memo exceeds size limit."
    check_size(kept.ByteSize(), limits.memo_bytes_max, _BAD, message)
    draft.add(
        WorkflowPropertiesModifiedEventAttributes(
            workflow_task_completed_event_id=completion.completed_event_id, upserted_memo=attributes.upserted_memo
        ),
        **marks(command),
    )
    show(draft)
