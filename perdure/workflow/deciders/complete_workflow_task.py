"""CompleteWorkflowTask: a worker answers its workflow task with commands and query results.

All commands or none take effect: a bad one throws the whole completion away and fails the task instead, and the worker
is told why. Events that wait for their ids get them after those of the commands. Source: the reference's handler of the
call.
"""

from temporalio.api.enums.v1 import TimeoutType, WorkerVersioningMode, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure, ServerFailureInfo
from temporalio.api.history.v1 import (
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowTaskCompletedEventAttributes,
)
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from perdure.base.clock import SECOND_NS, from_duration
from perdure.base.errors import FailedPrecondition, InvalidArgument, NotFound, Refused
from perdure.workflow.cause_names import cause_name
from perdure.workflow.close import SERVER_IDENTITY, close, release_queries, show
from perdure.workflow.commands import BadCommand, Completion
from perdure.workflow.commands.run import check_sequence, run_commands
from perdure.workflow.decide import QueryAnswered, QueryReleased, Work, decides
from perdure.workflow.deciders.start_workflow_task import handed_out, send_queries
from perdure.workflow.draft import Draft
from perdure.workflow.eager_activities import start_eagerly
from perdure.workflow.flush import flush
from perdure.workflow.lookup import find_run
from perdure.workflow.lost_task import clear_sticky, fail, keep_sticky, note_cause, started_task, time_out
from perdure.workflow.overgrown import TOO_MANY_EVENTS, terminate_overgrown
from perdure.workflow.requests import CompleteWorkflowTask, WorkflowTaskCompleted
from perdure.workflow.reset_points import note_reset_point
from perdure.workflow.server_attributes import no_more_problems
from perdure.workflow.state import WorkflowTask
from perdure.workflow.updates import (
    carried_over,
    has_unsent,
    may_discard,
    refuse_sent,
    reject_unprocessed,
    send,
    unsend,
)
from perdure.workflow.workflow_task import (
    end_task,
    schedule,
    schedule_speculative,
    set_attempt,
    start,
    wake,
    write_provisional,
)

_VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
_UNHANDLED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
_INLINE_REQUEST_ID = "request-from-RespondWorkflowTaskCompleted"
_HEARTBEATS_NS_MAX = 30 * 60 * SECOND_NS
_MESSAGE_LENGTH_MAX = 4_000


@decides(CompleteWorkflowTask)
def complete_workflow_task(work: Work, request: CompleteWorkflowTask) -> WorkflowTaskCompleted | None:
    """Complete the task that the token names."""
    answer = request.request
    run = find_run(work, request.token.run_id)
    task = started_task(run, request.token)
    if run.durable.paused and answer.force_create_new_workflow_task:
        raise FailedPrecondition("Workflow is paused and force create new workflow task is not allowed.")
    _check(answer, work)
    draft = work.draft(run.run_id)
    if _heartbeats_end(draft, task, answer):
        _end_heartbeats(work, draft, answer)
        return None
    try:
        check_sequence(answer.commands)
        if len(answer.commands) > work.context.limits.history_events_max:
            # Each is an event at least: carrying them out would take long, and the run could not keep them.
            terminate_overgrown(work, run.run_id, TOO_MANY_EVENTS)
            return None
        completion = _carry_out(work, draft, task, answer)
    except BadCommand as bad:
        _reject(work, run.run_id, task, answer, bad)
        return None
    except Refused as refusal:
        if not task.speculative:
            raise
        _carry_again(work, run.run_id, refusal)
        return None
    activities = start_eagerly(completion, request.eager_activities_max)
    again = _schedule_next(completion, task, answer)
    next_task = None
    if again and answer.return_new_workflow_task:
        start(draft, _INLINE_REQUEST_ID, answer.identity)
        _answer_queries(work, draft, answer, again=True)
        send_queries(draft.run)
        # The worker that asked for the next task has the run in its cache. To one that only asks for time nothing is
        # repeated that it has.
        carried = send(draft.run, again=not answer.force_create_new_workflow_task)
        next_task = handed_out(draft.run, answer.identity, carried, partial=True)
    else:
        _answer_queries(work, draft, answer, again=again)
    # Where nothing was written the worker has to go back to the last task that was.
    back_to = 0 if completion.completed_event_id else run.facts.last_completed_started_event_id
    return WorkflowTaskCompleted(next_task, reset_history_event_id=back_to, activities=activities)


def _check(answer: RespondWorkflowTaskCompletedRequest, work: Work) -> None:
    """Raises Refused for what no state could make right."""
    if answer.intermediate_page or answer.page_number:
        name = work.context.namespace.name
        raise FailedPrecondition(f"workflow task completion pagination is disabled for this namespace {name}")
    if (
        answer.versioning_behavior
        and not answer.HasField("deployment")
        and answer.deployment_options.worker_versioning_mode != _VERSIONED
    ):
        raise InvalidArgument(
            "versioning behavior cannot be specified without deployment options being set with versioned mode"
        )


def _carry_out(work: Work, draft: Draft, task: WorkflowTask, answer: RespondWorkflowTaskCompletedRequest) -> Completion:
    """Write the completion and carry its commands out. Raises BadCommand; the draft is worthless then."""
    carried = carried_over(draft.run)
    if task.speculative and may_discard(draft.run, answer, work.context.limits):
        end_task(draft)
        _keep_sticky(draft, answer)
        completed_event_id = 0
    else:
        completed_event_id = _write(draft, task, answer)
    completion = Completion(work, draft, completed_event_id, answer.identity, answer.messages)
    draft.holding = True
    run_commands(completion, answer)
    draft.holding = False
    if draft.run.is_open:
        _answer_updates(completion, [each for each in carried if each not in completion.updates], answer)
    return completion


def _answer_updates(completion: Completion, carried: list[str], answer: RespondWorkflowTaskCompletedRequest) -> None:
    """What the worker said nothing of it does not want, unless it asks for more time. `carried`: over a reset."""
    draft = completion.draft
    waiting = tuple(carried) if answer.force_create_new_workflow_task else ()
    if not answer.force_create_new_workflow_task:
        reject_unprocessed(completion.work, draft.run, carried)
    if draft.run.durable.unanswered_updates != waiting:
        draft.assign("unanswered_updates", waiting)


def _write(draft: Draft, task: WorkflowTask, answer: RespondWorkflowTaskCompletedRequest) -> int:
    """Write the Completed event, and what it says of the worker; returns its id."""
    if task.speculative:
        end_task(draft)
    if task.transient or task.speculative:
        task = write_provisional(draft, task, answer.identity, answer.worker_version_stamp.SerializeToString())
    attributes = draft.run.facts.search_attributes
    event = draft.add(_completed(task, answer))
    if draft.run.durable.workflow_task is not None:
        draft.assign("workflow_task", None)
    set_attempt(draft, 1)
    note_cause(draft, 0)
    no_more_problems(draft)
    _keep_sticky(draft, answer)
    note_reset_point(draft, event, answer)
    version = answer.worker_version_stamp.SerializeToString()
    if version != draft.run.durable.most_recent_worker_version:
        draft.assign("most_recent_worker_version", version)
    if draft.run.facts.search_attributes is not attributes:
        show(draft)  # builds that worked on the run are among them
    return event.event_id


def _schedule_next(completion: Completion, task: WorkflowTask, answer: RespondWorkflowTaskCompletedRequest) -> bool:
    """Schedule the workflow task that follows at once, if there is something for it to do."""
    draft = completion.draft
    if not draft.run.is_open:
        return False
    paused = draft.run.durable.paused
    if (completion.unhandled or draft.woken or answer.force_create_new_workflow_task) and not paused:
        heartbeat = answer.force_create_new_workflow_task and _is_empty(answer)
        schedule(draft, original_time_ns=task.original_scheduled_time_ns if heartbeat else 0)
        return True
    flush(draft)
    if paused or not has_unsent(draft.run):
        return False
    if answer.return_new_workflow_task:
        schedule_speculative(draft)
    else:
        schedule(draft)
    return True


def _completed(task: WorkflowTask, answer: RespondWorkflowTaskCompletedRequest) -> WorkflowTaskCompletedEventAttributes:
    attributes = WorkflowTaskCompletedEventAttributes(
        scheduled_event_id=task.scheduled_event_id,
        started_event_id=task.started_event_id,
        identity=answer.identity,
        binary_checksum=answer.binary_checksum,
        worker_deployment_name=answer.deployment_options.deployment_name or answer.deployment.series_name,
    )
    if answer.HasField("worker_version_stamp"):
        attributes.worker_version.CopyFrom(answer.worker_version_stamp)
    if answer.HasField("sdk_metadata"):
        attributes.sdk_metadata.CopyFrom(answer.sdk_metadata)
    if answer.HasField("metering_metadata"):
        attributes.metering_metadata.CopyFrom(answer.metering_metadata)
    options = answer.deployment_options
    versioned = options.worker_versioning_mode == _VERSIONED
    if versioned and options.build_id:
        attributes.deployment_version.deployment_name = options.deployment_name
        attributes.deployment_version.build_id = options.build_id
    elif answer.deployment.build_id:
        attributes.deployment_version.deployment_name = answer.deployment.series_name
        attributes.deployment_version.build_id = answer.deployment.build_id
    if versioned or not answer.HasField("deployment_options"):
        attributes.versioning_behavior = answer.versioning_behavior
    return attributes


def _keep_sticky(draft: Draft, answer: RespondWorkflowTaskCompletedRequest) -> None:
    """Remember the worker that has the run in its cache, if it wants to get the next task itself."""
    queue = answer.sticky_attributes.worker_task_queue
    if not answer.sticky_attributes.HasField("worker_task_queue") or not queue.name:
        clear_sticky(draft)
        return
    keep_sticky(draft, queue.name, from_duration(answer.sticky_attributes.schedule_to_start_timeout))


def _reject(
    work: Work, run_id: str, task: WorkflowTask, answer: RespondWorkflowTaskCompletedRequest, bad: BadCommand
) -> None:
    """The task fails instead, and its answers to queries are void too. A repeated attempt's failure is not even noted:
    it times out, so that it is not tried at full speed for ever.
    """
    # It names what is wrong, which may be megabytes of id.
    message = cause_name(bad.cause) + (f": {bad.message[:_MESSAGE_LENGTH_MAX]}" if bad.message else "")
    draft = work.restart(run_id)
    refuse_sent(work, draft.run)
    work.refusal = InvalidArgument(message)
    if task.attempt > 1 and bad.cause != _UNHANDLED:
        return
    failure = Failure(message=message, server_failure_info=ServerFailureInfo())
    fail(draft, bad.cause, failure, answer.identity, answer.binary_checksum)
    if bad.terminate:
        flush(draft)
        close(draft, WorkflowExecutionTerminatedEventAttributes(reason=message, identity=SERVER_IDENTITY))
    else:
        wake(draft)
    _queries_unanswered(work, draft, again=draft.run.durable.workflow_task is not None)


def _carry_again(work: Work, run_id: str, refusal: Refused) -> None:
    """The answer to a speculative task was none at all, and the task leaves no trace: another one carries its updates,
    to a worker that may know nothing of the workflow.
    """
    draft = work.restart(run_id)
    end_task(draft)
    clear_sticky(draft)
    unsend(work, draft.run)
    if draft.run.ephemeral.admitted_updates:
        schedule_speculative(draft)
    _queries_unanswered(work, draft, again=draft.run.workflow_task is not None)
    work.refusal = refusal


def _is_empty(answer: RespondWorkflowTaskCompletedRequest) -> bool:
    """A heartbeat that makes no progress."""
    return not answer.commands and not answer.messages


def _heartbeats_end(draft: Draft, task: WorkflowTask, answer: RespondWorkflowTaskCompletedRequest) -> bool:
    return (
        answer.force_create_new_workflow_task
        and _is_empty(answer)
        and draft.context.now_ns > task.original_scheduled_time_ns + _HEARTBEATS_NS_MAX
    )


def _end_heartbeats(work: Work, draft: Draft, answer: RespondWorkflowTaskCompletedRequest) -> None:
    """A worker that did nothing but ask for more time has had enough; another one tries."""
    time_out(draft, TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE)
    clear_sticky(draft)
    schedule(draft)
    _answer_queries(work, draft, answer, again=True)
    work.refusal = NotFound("workflow task heartbeat timeout")


def _answer_queries(work: Work, draft: Draft, answer: RespondWorkflowTaskCompletedRequest, *, again: bool) -> None:
    """Hand out the results."""
    run = draft.run
    for query_id, result in answer.query_results.items():
        if query_id not in run.ephemeral.queries:
            continue
        run.drop("queries", query_id)
        if result.answer.ByteSize() > work.context.limits.blob_bytes_max:
            error = InvalidArgument("Blob data size exceeds limit.")
            work.notices.append(QueryReleased(run.run_id, query_id, error))
        else:
            work.notices.append(QueryAnswered(run.run_id, query_id, result.SerializeToString()))
    _queries_unanswered(work, draft, again=again)


def _queries_unanswered(work: Work, draft: Draft, *, again: bool) -> None:
    """What is left waits for the next task, or is dispatched directly if there is none."""
    run = draft.run
    if run.ephemeral.queries_sent:
        run.assign("queries_sent", ())
    if not again:
        release_queries(work, run)
