"""Commands that a workflow task is failed for: the call's error, and the cause in the history."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import message_pb2 as command
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import command_type_pb2 as kinds
from temporalio.api.sdk.v1 import task_complete_metadata_pb2 as sdk
from temporalio.api.sdk.v1 import user_metadata_pb2 as metadata
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue

from tests.conformance.harness.commands import (
    cancel_activity,
    cancel_timer,
    complete_workflow,
    modify_properties,
    record_marker,
    schedule_activity,
    start_timer,
    upsert_search_attributes,
)
from tests.conformance.harness.payloads import duration, failure, memo, payload, retry_policy, search_attributes
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session


async def _refused(s: Session, *listed: command.Command, workflow: str = "wf") -> None:
    """Complete the first task of a new workflow with these commands, and show what became of it."""
    s.note(workflow)
    queue = taskqueue.TaskQueue(name=s.unique(f"queue-of-{workflow}"))
    await s.start_quietly(workflow, task_queue=queue)
    await s.complete(await s.take(task_queue=queue), *listed)
    await s.show_history(workflow, first=4)


@scenario()
async def activity_commands_refused(s: Session) -> None:
    """Activities without id, type, queue or timeouts."""
    await _refused(s, schedule_activity(s.queue, ""), workflow="no-id")
    await _refused(s, schedule_activity(s.queue, kind=""), workflow="no-type")
    no_type = schedule_activity(s.queue, activity_type=None)
    await _refused(s, no_type, workflow="type-unset")
    no_timeouts = schedule_activity(s.queue, start_to_close_timeout=None)
    await _refused(s, no_timeouts, workflow="no-timeouts")
    negative = schedule_activity(s.queue, start_to_close_timeout=Duration(seconds=-1))
    await _refused(s, negative, workflow="negative-timeout")
    long_id = schedule_activity(s.queue, "i" * 1001)
    await _refused(s, long_id, workflow="long-id")
    long_type = schedule_activity(s.queue, kind="t" * 1001)
    await _refused(s, long_type, workflow="long-type")
    bad_policy = schedule_activity(s.queue, retry_policy=retry_policy(coefficient=0.5))
    await _refused(s, bad_policy, workflow="bad-retry-policy")
    long_queue = schedule_activity(taskqueue.TaskQueue(name="q" * 1001))
    await _refused(s, long_queue, workflow="long-queue")


@scenario()
async def activity_command_without_queue(s: Session) -> None:
    """A command whose queue has no name: the workflow's own queue isn't taken for it."""
    await _refused(s, schedule_activity(taskqueue.TaskQueue()), workflow="empty-queue")


@scenario()
async def activity_id_in_use(s: Session) -> None:
    """Two pending activities with one id, in one completion."""
    await _refused(s, schedule_activity(s.queue), schedule_activity(s.queue))


@scenario()
async def timer_commands_refused(s: Session) -> None:
    """Timers without id, with a negative time or an id in use, and unknown ones cancelled."""
    await _refused(s, start_timer("", 1), workflow="no-id")
    await _refused(s, start_timer("t", start_to_fire_timeout=Duration(seconds=-1)), workflow="negative-time")
    await _refused(s, start_timer("t" * 1001), workflow="long-id")
    await _refused(s, start_timer("t", 9), start_timer("t", 9), workflow="id-in-use")
    await _refused(s, cancel_timer("unknown"), workflow="unknown")
    await _refused(s, cancel_timer(""), workflow="cancel-without-id")


@scenario()
async def cancel_activity_commands_refused(s: Session) -> None:
    """Cancellation of activities that were never scheduled."""
    await _refused(s, cancel_activity(0), workflow="no-id")
    await _refused(s, cancel_activity(99), workflow="unknown")


@scenario()
async def cancel_activity_already_completed(s: Session) -> None:
    """Cancellation of an activity that is completed already: a worker that knows its history never asks for it."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    await s.complete_activity((await s.take_activity()).task_token)
    await s.complete(await s.take(), cancel_activity(5))
    await s.show_history(first=9)


@scenario()
async def marker_and_property_commands_refused(s: Session) -> None:
    """Markers without name, and properties and search attributes without content or type."""
    await _refused(s, record_marker(""), workflow="marker-without-name")
    await _refused(s, record_marker("m" * 1001), workflow="marker-with-long-name")
    await _refused(s, upsert_search_attributes(None), workflow="no-attributes")
    await _refused(s, upsert_search_attributes(search_attributes(NoSuchAttribute="x")), workflow="unknown-attribute")
    wrong = common.SearchAttributes(
        indexed_fields={"CustomIntField": common.Payload(metadata={"encoding": b"json/plain"}, data=b'"text"')}
    )
    await _refused(s, upsert_search_attributes(wrong), workflow="attribute-of-wrong-type")
    await _refused(s, modify_properties(None), workflow="no-memo")


@scenario()
async def properties_and_attributes(s: Session) -> None:
    """What is upserted shows in the history and in the description."""
    await s.start_quietly(memo=memo(a="1", b="2"), search_attributes=search_attributes(CustomKeywordField="old"))
    await s.advance(
        upsert_search_attributes(search_attributes(CustomKeywordField="new")), modify_properties(memo(b="3", c="4"))
    )
    await s.show_history(first=4)
    await s.describe()


@scenario()
async def attributes_unset(s: Session) -> None:
    """Commands without their attributes."""
    for kind in (
        kinds.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        kinds.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK,
        kinds.COMMAND_TYPE_START_TIMER,
        kinds.COMMAND_TYPE_CANCEL_TIMER,
        kinds.COMMAND_TYPE_RECORD_MARKER,
        kinds.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        kinds.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        kinds.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
        kinds.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES,
        kinds.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES,
    ):
        name = kinds.CommandType.Name(kind).removeprefix("COMMAND_TYPE_").lower().replace("_", "-")
        await _refused(s, command.Command(command_type=kind), workflow=name)


@scenario()
async def command_of_no_type(s: Session) -> None:
    """A command of unspecified, and one of unknown type."""
    await _refused(s, command.Command(), workflow="unspecified")
    unknown = command.Command()
    unknown.MergeFromString(b"\x08\xe7\x07")
    await _refused(s, unknown, workflow="unknown")


@scenario()
async def good_commands_before_a_bad_one(s: Session) -> None:
    """One bad command discards them all."""
    await _refused(s, record_marker(), start_timer("t", 9), start_timer("", 1), complete_workflow())


@scenario()
async def commands_after_close(s: Session) -> None:
    """Nothing may follow the command that closes the workflow; the task stays started."""
    await _refused(s, complete_workflow(), record_marker(), workflow="marker")
    await _refused(s, complete_workflow("one"), complete_workflow("two"), workflow="complete-twice")


@scenario()
async def fail_command_with_cause(s: Session) -> None:
    """A workflow fails with a failure that has a cause."""
    attributes = command.FailWorkflowExecutionCommandAttributes(failure=failure("outer"))
    attributes.failure.cause.CopyFrom(failure("inner"))
    outer = command.Command(
        command_type=kinds.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        fail_workflow_execution_command_attributes=attributes,
    )
    await _refused(s, outer, workflow="with-cause")


@scenario()
async def failed_commands_keep_attempts(s: Session) -> None:
    """A worker that sends the same bad command again: the second failure is no event."""
    await s.start_quietly()
    await s.complete(await s.take(), start_timer("", 1))
    await s.complete(await s.take(), start_timer("", 1))
    await s.show_history(first=2)
    await s.complete(await s.take(), start_timer("good", 100))
    await s.show_history(first=4)


@scenario()
async def command_metadata(s: Session) -> None:
    """User metadata of a command goes to its event; metadata of the SDK to the completed event."""
    timer = start_timer("t", 100)
    timer.user_metadata.CopyFrom(metadata.UserMetadata(summary=payload("wait"), details=payload("more")))
    await s.start_quietly(user_metadata=metadata.UserMetadata(summary=payload("flow")))
    await s.complete(
        await s.take(),
        timer,
        schedule_activity(s.queue, start_to_close_timeout=duration(5)),
        sdk_metadata=sdk.WorkflowTaskCompletedMetadata(
            core_used_flags=[1, 2], lang_used_flags=[3], sdk_name="test-sdk", sdk_version="1.2.3"
        ),
        binary_checksum="build",
    )
    await s.show_history()
    await s.describe()
