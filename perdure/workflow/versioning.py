"""A run's versioning override: what an operator says about the worker versions that it is for, whatever its code says.

Deployments are not there yet, so that no version exists that a run could be pinned to: the only override that is
accepted is "always the newest". Older clients have words of their own for it; kept is the newest form only. Source: the
reference (`updateVersioningOverride`, `ValidateVersioningOverrideStructure`).
"""

from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionVersioningInfo

from perdure.base.errors import FailedPrecondition, InvalidArgument

_AUTO_UPGRADE = VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE
_PINNED = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
_ABSENT = "Pinned version '{}:{}' is not present in task queue '{}' of type 'Workflow'"


def check_override(override: VersioningOverride, task_queue: str) -> None:
    """Raises InvalidArgument where an override contradicts itself, FailedPrecondition where it names a version."""
    version = _named(override)
    if version is not None:
        raise FailedPrecondition(_ABSENT.format(version.deployment_name, version.build_id, task_queue))


def kept_override(override: VersioningOverride) -> VersioningOverride:
    """The override in its newest form, as events and state have it."""
    return VersioningOverride(auto_upgrade=True)


def behavior_name(versioning: bytes | None) -> str:
    """The behaviour that a run has by its override, as messages and lists name it."""
    return "AutoUpgrade" if versioning else "Unspecified"


def shown_versioning(versioning: bytes) -> WorkflowExecutionVersioningInfo:
    """What Describe tells of it, in the words of older clients too."""
    info = WorkflowExecutionVersioningInfo.FromString(versioning)
    if info.versioning_override.auto_upgrade:
        info.versioning_override.behavior = _AUTO_UPGRADE
    return info


def _named(override: VersioningOverride) -> WorkerDeploymentVersion | None:
    match override.WhichOneof("override"):
        case "auto_upgrade":
            if not override.auto_upgrade:
                raise InvalidArgument("auto-upgrade override must be true")
            return None
        case "pinned":
            if not override.pinned.HasField("version"):
                raise InvalidArgument("must provide version if override is pinned.")
            if not override.pinned.behavior:
                raise InvalidArgument("must specify pinned override behavior if override is pinned.")
            return override.pinned.version
        case "one_time":
            if not override.one_time.HasField("target_deployment_version"):
                raise InvalidArgument("must provide target deployment version if override is one-time.")
            return override.one_time.target_deployment_version
    return _named_before(override)


def _named_before(override: VersioningOverride) -> WorkerDeploymentVersion | None:
    """The same in the words of older clients."""
    deployment = override.deployment
    if override.behavior == _PINNED:
        if override.HasField("deployment"):
            if not deployment.series_name:
                raise InvalidArgument("deployment name cannot be empty")
            if not deployment.build_id:
                raise InvalidArgument("deployment build ID cannot be empty")
            return WorkerDeploymentVersion(deployment_name=deployment.series_name, build_id=deployment.build_id)
        if not override.pinned_version:
            raise InvalidArgument("must provide deployment (deprecated) or pinned version if behavior is 'PINNED'")
        name, dot, build = override.pinned_version.partition(".")
        if not dot:
            quoted = override.pinned_version
            text = f'invalid version string "{quoted}", expected format is "<deployment_name>.<build_id>"'
            raise InvalidArgument(text)
        return WorkerDeploymentVersion(deployment_name=name, build_id=build)
    if override.behavior == _AUTO_UPGRADE:
        if override.HasField("deployment"):
            raise InvalidArgument("only provide deployment if behavior is 'PINNED'")
        if override.pinned_version:
            raise InvalidArgument("only provide pinned version if behavior is 'PINNED'")
        return None
    if override.behavior:
        raise InvalidArgument(f"override behavior {int(override.behavior)} not recognized")
    raise InvalidArgument("override behavior is required")
