"""Which part of a task queue a worker polls: that of the version it says it is.

Invariant: a versioned worker never polls the unversioned part. Runs can't be given a version yet, so versioned workers
find nothing: nothing of their own, and not the tasks of unversioned workers, which they must not have.
"""

from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import TaskQueueKind, WorkerVersioningMode
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    PollNexusTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
)

from perdure.base.errors import InvalidArgument
from perdure.frontend.checks import too_long

_STICKY = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_VERSIONED = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
_BUILD_ID_BYTES_MAX = 255
# Two names make one id of a thousand bytes, with what the reference puts around them.
_NAME_BYTES_MAX = 480
# Of either message, whatever is in it: matching shows it for as long as it remembers who polled.
_TOLD_BYTES_MAX = 2_000
PollRequest = PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest | PollNexusTaskQueueRequest


def polled_version(request: PollRequest) -> str:
    """The version that splits the queue, "" for an unversioned worker. Raises InvalidArgument.

    Source: the reference, `service/frontend/workflow_handler.go`, validateVersioningInfo.
    """
    options = request.deployment_options
    capabilities = request.worker_version_capabilities
    queue = request.task_queue
    named = capabilities.use_versioning or request.HasField("deployment_options")
    if queue.kind == _STICKY and not queue.normal_name and named:
        raise InvalidArgument(
            "NormalName must be set on sticky queue when UseVersioning is true or DeploymentOptions are set."
        )
    if capabilities.use_versioning and not capabilities.build_id:
        raise InvalidArgument("WorkerVersionStamp must be present if UseVersioning is true.")
    if too_long(capabilities.build_id, _BUILD_ID_BYTES_MAX):
        raise InvalidArgument("Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID.")
    if options.worker_versioning_mode == _VERSIONED:
        _check(options)
    for name, told in (("DeploymentOptions", options), ("WorkerVersionCapabilities", capabilities)):
        if told.ByteSize() > _TOLD_BYTES_MAX:
            raise InvalidArgument(f"{name} exceed {_TOLD_BYTES_MAX} bytes.")
    if options.worker_versioning_mode == _VERSIONED:
        return f"{options.deployment_name}:{options.build_id}"
    return capabilities.build_id if capabilities.use_versioning else ""


def _check(options: WorkerDeploymentOptions) -> None:
    if not (options.deployment_name and options.build_id):
        raise InvalidArgument("Deployment name and build id must be set together.")
    for field, text in (("WorkerDeploymentName", options.deployment_name), ("BuildID", options.build_id)):
        if too_long(text, _NAME_BYTES_MAX):
            raise InvalidArgument(f"size of {field} larger than the maximum allowed")
        if text.startswith("__"):
            raise InvalidArgument(f"{field} cannot start with '__'")
    for separator in ".:":
        if separator in options.deployment_name:
            raise InvalidArgument(f"worker deployment name cannot contain '{separator}'")
