"""Checks that need no state, shared by several methods. Messages are the reference's: SDKs' suites compare them.

Each raises InvalidArgument. Lengths are in bytes of UTF-8.
"""

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import Link, Priority, RetryPolicy, WorkflowExecution
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import TaskQueueKind, WorkerVersioningMode
from temporalio.api.taskqueue.v1 import TaskQueue

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.base.limits import Limits
from perdure.base.uuids import is_uuid
from perdure.workflow.durations import duration_fault
from perdure.workflow.priorities import priority_fault
from perdure.workflow.retry_policy import check, filled
from perdure.workflow.task_queue_names import RESERVED_PREFIX, check_task_queue

_NORMAL = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
LINK_BYTES_MAX = 4_000
# Link kind -> what it must have, in the order of the messages: (field, its name in them).
_LINK_FIELDS: dict[str, tuple[str, tuple[tuple[str, str], ...]]] = {
    "workflow_event": (
        "workflow event link",
        (("namespace", "namespace field"), ("workflow_id", "workflow ID field"), ("run_id", "run ID field")),
    ),
    "batch_job": ("batch job link", (("job_id", "job ID"),)),
    "nexus_operation": (
        "nexus operation link",
        (("namespace", "namespace field"), ("operation_id", "operation ID field"), ("run_id", "run ID field")),
    ),
    "activity": (
        "activity link",
        (("namespace", "namespace field"), ("activity_id", "activity ID field"), ("run_id", "run ID field")),
    ),
    "workflow": (
        "workflow link",
        (("namespace", "namespace field"), ("workflow_id", "workflow ID field"), ("run_id", "run ID field")),
    ),
}


def too_long(text: str, limit: int) -> bool:
    """True if `text` has more than `limit` bytes."""
    return len(text) * 4 > limit and len(text.encode()) > limit


def check_execution(request: Message, field: str) -> None:
    """The execution that a request names: present, with an id, and a run id only if it is a UUID."""
    if not request.HasField(field):
        raise InvalidArgument("Execution is not set on request.")
    execution: WorkflowExecution = getattr(request, field)
    if not execution.workflow_id:
        raise InvalidArgument("WorkflowId is not set on request.")
    if execution.run_id and not is_uuid(execution.run_id):
        raise InvalidArgument("Invalid RunId.")


def check_run_id(run_id: str) -> None:
    """Raises InvalidArgument for what is no run's id; "" = the current run's."""
    if run_id and not is_uuid(run_id):
        raise InvalidArgument("RunId is not valid UUID.")


def check_workflow_id(workflow_id: str, limits: Limits) -> None:
    """The id of a workflow to start."""
    if not workflow_id:
        raise InvalidArgument("WorkflowId is not set on request.")
    if too_long(workflow_id, limits.id_bytes_max):
        length = len(workflow_id.encode())
        raise InvalidArgument(f"WorkflowId exceeds maximum allowed length ({length}/{limits.id_bytes_max})")


def check_identity(identity: str, limits: Limits) -> None:
    """A worker's name for itself."""
    if too_long(identity, limits.id_bytes_max):
        raise InvalidArgument("Identity length exceeds limit.")


def check_instance_key(key: str, limits: Limits) -> None:
    """The key of a worker's process, by which matching remembers it."""
    if too_long(key, limits.id_bytes_max):
        raise InvalidArgument("WorkerInstanceKey length exceeds limit.")


def check_blob(message: Message, limits: Limits) -> None:
    """A payload that goes into history."""
    if message.ByteSize() > limits.blob_bytes_max:
        raise InvalidArgument("Blob data size exceeds limit.")


def check_priority(priority: Priority) -> None:
    """Priority and fairness of a workflow."""
    if fault := priority_fault(priority):
        raise InvalidArgument(fault)


def check_duration(duration: Duration, message: str) -> None:
    """A timeout or delay: not negative. `message` is what the refusal says first."""
    if fault := duration_fault(duration):
        raise InvalidArgument(f"{message} cause: {fault}")


def fill_retry_policy(request: Message, limits: Limits) -> None:
    """Defaults of the request's retry policy, if it has one, and whether it makes sense."""
    if request.HasField("retry_policy"):
        policy: RetryPolicy = request.retry_policy  # type: ignore[attr-defined]  # every caller's request has it
        policy.CopyFrom(filled(policy, limits))
        check(policy)


def fill_queue(request: Message, limits: Limits, *, user_defined: bool) -> None:
    """The request's `task_queue`: named properly, its kind filled in. `user_defined`: not one of the server's own."""
    if not request.HasField("task_queue"):
        raise InvalidArgument("taskQueue is not set")
    queue: TaskQueue = request.task_queue  # type: ignore[attr-defined]  # every caller's request has it
    if not queue.kind:
        queue.kind = _NORMAL
    if user_defined:
        check_task_queue(queue.name, limits.id_bytes_max)
    elif not queue.name:
        raise InvalidArgument("missing task queue name")
    elif too_long(queue.name, limits.id_bytes_max):
        raise InvalidArgument("taskQueue length exceeds limit")
    elif queue.name.startswith(RESERVED_PREFIX):
        raise InvalidArgument(f"task queue name cannot start with reserved prefix {RESERVED_PREFIX}")
    if queue.kind == _STICKY and too_long(queue.normal_name, limits.id_bytes_max):
        raise InvalidArgument("taskQueue length exceeds limit")


def check_links(links: Sequence[Link], limits: Limits) -> None:
    """Links that a request attaches."""
    if len(links) > limits.links_max:
        raise InvalidArgument(f"cannot attach more than {limits.links_max} links per request, got {len(links)}")
    for link in links:
        size = link.ByteSize()
        if size > LINK_BYTES_MAX:
            raise InvalidArgument(f"link exceeds allowed size of {LINK_BYTES_MAX}, got {size}")
        kind = link.WhichOneof("variant")
        if kind is None or kind not in _LINK_FIELDS:
            raise InvalidArgument("unsupported link variant")
        name, needed = _LINK_FIELDS[kind]
        for field, shown in needed:
            if not getattr(getattr(link, kind), field):
                raise InvalidArgument(f"{name} must not have an empty {shown}")
        reference = link.workflow_event.event_ref
        if kind == "workflow_event" and reference.event_id and not reference.event_type:
            raise InvalidArgument(
                "workflow event link ref cannot have an unspecified event type and a non-zero event ID"
            )


def refuse_versioned(options: WorkerDeploymentOptions, uses_versioning: bool) -> None:
    """Versioned workers aren't served yet: no run has a version, so that none of them was handed a task."""
    if uses_versioning or options.worker_versioning_mode == _VERSIONED:
        raise Unimplemented("worker versioning is not implemented by this server yet")
