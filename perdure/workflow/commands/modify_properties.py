"""Command modify_workflow_properties: change the run's memo."""

from collections.abc import Mapping

from temporalio.api.command.v1 import Command, ModifyWorkflowPropertiesCommandAttributes
from temporalio.api.common.v1 import Payload
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
    kept = _size_after(completion, given)
    message = f"{_NAME}CommandAttributes. Memo exceeds size limit."
    check_size(kept, limits.memo_bytes_max, _BAD, message)
    draft.add(
        WorkflowPropertiesModifiedEventAttributes(
            workflow_task_completed_event_id=completion.completed_event_id, upserted_memo=attributes.upserted_memo
        ),
        **marks(command),
    )
    completion.memo_bytes = kept
    show(draft)


def _size_after(completion: Completion, given: Mapping[str, Payload]) -> int:
    """Of the memo as it will be, as a message. Counted on from command to command: there may be as many as fields."""
    memo, size = completion.draft.run.facts.memo, completion.memo_bytes
    if size is None:
        size = sum(_entry_bytes(name, len(value)) for name, value in memo.items())
    for name, payload in given.items():
        before = memo.get(name)
        if before is not None:
            size -= _entry_bytes(name, len(before))
        if not is_nothing(payload):
            size += _entry_bytes(name, payload.ByteSize())
    return size


def _entry_bytes(name: str, payload_bytes: int) -> int:
    """Of an entry of a message's map."""
    return _field_bytes(_field_bytes(len(name.encode())) + _field_bytes(payload_bytes))


def _field_bytes(length: int) -> int:
    """Of a field of so many bytes, with its tag and its length."""
    return 1 + max(1, -(-length.bit_length() // 7)) + length
