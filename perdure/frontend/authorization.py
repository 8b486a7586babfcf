"""Who may do what: the need of each method, what a caller may, and whether that is enough.

Invariant: a method that is not in the table is for nobody; a call is judged before anything is done, looked up or
charged for it, but for a namespace that its id alone names, and a refusal is the same whatever there is. Every
namespace that a request names is judged, not only the outer one. Refuses to know tokens and certificates: who a caller
is comes from an `Identities`.

Source of scopes and access: `common/api/metadata.go`. Beyond it, `worker` is enough for what workers call.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, Protocol

import msgspec

from perdure.base.errors import NamespaceNotFound, Unauthorized
from perdure.frontend.grades import grade_of
from perdure.frontend.inner_names import inner_names
from perdure.frontend.lookups import Lookups
from perdure.rpc.call import CallMeta


class Role:
    """What a caller may in a namespace, or everywhere: bits of plain numbers, as flags of an enum are slow to test."""

    WORKER = 1
    READ = 2
    WRITE = 4
    ADMIN = 8


class Reach(Enum):
    """Whose a method is."""

    OPEN = "nobody's: it shows no data"
    NAMESPACE = "that of the namespaces which the request names"
    CLUSTER = "the whole cluster's"


# Each of these is enough.
_WORK = Role.WORKER | Role.WRITE | Role.ADMIN
_READ = Role.READ | Role.WRITE | Role.ADMIN
_READ_OR_WORK = _READ | Role.WORKER
_WRITE = Role.WRITE | Role.ADMIN
_ADMIN = Role.ADMIN


class Need(msgspec.Struct, frozen=True):
    """`roles`: any of them is enough. `changes`: the method changes something."""

    reach: Reach
    roles: int
    changes: bool = False


class Claims(msgspec.Struct, frozen=True):
    """What a caller has proved. `system`: in every namespace, and for the cluster."""

    subject: str = ""
    system: int = 0
    namespaces: dict[str, int] = {}

    def may(self, namespace: str, roles: int) -> bool:
        """Whether one of `roles` is the caller's in the namespace of this name."""
        return bool((self.system | self.namespaces.get(namespace, 0)) & roles)


NOBODY = Claims()

_WORKERS = """
PollWorkflowTaskQueue PollActivityTaskQueue PollNexusTaskQueue
RespondWorkflowTaskCompleted RespondWorkflowTaskFailed RespondQueryTaskCompleted
RespondActivityTaskCompleted RespondActivityTaskCompletedById RespondActivityTaskFailed RespondActivityTaskFailedById
RespondActivityTaskCanceled RespondActivityTaskCanceledById RecordActivityTaskHeartbeat RecordActivityTaskHeartbeatById
RespondNexusTaskCompleted RespondNexusTaskFailed ResetStickyTaskQueue ShutdownWorker RecordWorkerHeartbeat
"""
# Workers begin with the first, and read on with the second where a task's history has several pages.
_READS_OF_WORKERS = """
DescribeNamespace GetWorkflowExecutionHistory FetchWorkerConfig
"""
_READS = """
GetWorkflowExecutionHistoryReverse DescribeWorkflowExecution QueryWorkflow PollWorkflowExecutionUpdate
PollWorkflowExecutionTimeSkipping
ListOpenWorkflowExecutions ListClosedWorkflowExecutions ListWorkflowExecutions ListArchivedWorkflowExecutions
ScanWorkflowExecutions CountWorkflowExecutions
CountActivityExecutions DescribeActivityExecution PollActivityExecution ListActivityExecutions
CountNexusOperationExecutions DescribeNexusOperationExecution PollNexusOperationExecution ListNexusOperationExecutions
DescribeTaskQueue ListTaskQueuePartitions GetWorkerBuildIdCompatibility GetWorkerVersioningRules
GetWorkerTaskReachability DescribeWorkerDeployment DescribeWorkerDeploymentVersion ListWorkerDeployments
DescribeDeployment ListDeployments GetDeploymentReachability GetCurrentDeployment
ValidateWorkerDeploymentVersionComputeConfig ListWorkers CountWorkers DescribeWorker
DescribeSchedule ListScheduleMatchingTimes ListSchedules CountSchedules
DescribeBatchOperation ListBatchOperations DescribeWorkflowRule ListWorkflowRules
ListSearchAttributes
Diagnose
"""
_WRITES = """
StartWorkflowExecution SignalWorkflowExecution SignalWithStartWorkflowExecution UpdateWorkflowExecution
ExecuteMultiOperation RequestCancelWorkflowExecution TerminateWorkflowExecution ResetWorkflowExecution
DeleteWorkflowExecution PauseWorkflowExecution UnpauseWorkflowExecution UpdateWorkflowExecutionOptions
UpdateActivityOptions PauseActivity UnpauseActivity ResetActivity
UpdateActivityExecutionOptions PauseActivityExecution UnpauseActivityExecution ResetActivityExecution
StartActivityExecution RequestCancelActivityExecution TerminateActivityExecution DeleteActivityExecution
StartNexusOperationExecution RequestCancelNexusOperationExecution TerminateNexusOperationExecution
DeleteNexusOperationExecution
CreateSchedule UpdateSchedule PatchSchedule DeleteSchedule StartBatchOperation StopBatchOperation
UpdateWorkerBuildIdCompatibility UpdateWorkerVersioningRules UpdateTaskQueueConfig UpdateWorkerConfig
SetCurrentDeployment CreateWorkerDeployment CreateWorkerDeploymentVersion DeleteWorkerDeployment
DeleteWorkerDeploymentVersion SetWorkerDeploymentCurrentVersion SetWorkerDeploymentRampingVersion
SetWorkerDeploymentManager UpdateWorkerDeploymentVersionMetadata UpdateWorkerDeploymentVersionComputeConfig
CreateWorkflowRule DeleteWorkflowRule TriggerWorkflowRule
"""
_ADMINS = """
RegisterNamespace UpdateNamespace DeprecateNamespace DeleteNamespace AddSearchAttributes RemoveSearchAttributes
"""
_READS_OF_CLUSTER = """
ListNamespaces GetSearchAttributes GetClusterInfo
"""
_ADMINS_OF_CLUSTER = """
AddOrUpdateRemoteCluster RemoveRemoteCluster CreateNexusEndpoint UpdateNexusEndpoint DeleteNexusEndpoint
SplitShard MergeShards MoveShard
"""
_READING_ADMINS_OF_CLUSTER = """
ListClusters GetNexusEndpoint ListNexusEndpoints
Ring ListShards Queues Tasks
"""
_OPEN = """
GetSystemInfo
"""


def _table() -> Iterator[tuple[str, Need]]:
    here, cluster = Reach.NAMESPACE, Reach.CLUSTER
    for names, need in (
        (_WORKERS, Need(here, _WORK, changes=True)),
        (_READS_OF_WORKERS, Need(here, _READ_OR_WORK)),
        (_READS, Need(here, _READ)),
        (_WRITES, Need(here, _WRITE, changes=True)),
        (_ADMINS, Need(here, _ADMIN, changes=True)),
        (_READS_OF_CLUSTER, Need(cluster, _READ)),
        (_ADMINS_OF_CLUSTER, Need(cluster, _ADMIN, changes=True)),
        (_READING_ADMINS_OF_CLUSTER, Need(cluster, _ADMIN)),
        (_OPEN, Need(Reach.OPEN, 0)),
    ):
        for name in names.split():
            yield name, need


# Every method of the API and of the admin service, by its name.
NEEDS: dict[str, Need] = dict(_table())
_FOR_NOBODY = Need(Reach.CLUSTER, 0, changes=True)


def need_of(method: str) -> Need:
    """What calling the method needs; of one that isn't in the table, what nobody has."""
    return NEEDS.get(method, _FOR_NOBODY)


def roles_of(permissions: Iterable[str]) -> tuple[int, dict[str, int]]:
    """`<namespace>:<read|write|worker|admin>` as what may be done everywhere (`temporal-system:`), and where. What is
    none of these gives nothing.
    """
    system, namespaces = 0, dict[str, int]()
    for permission in permissions:
        namespace, separator, name = permission.rpartition(":")
        role = _ROLES.get(name.lower())
        if not separator or not namespace or role is None:
            continue
        if namespace == SYSTEM:
            system |= role
        else:
            namespaces[namespace] = namespaces.get(namespace, 0) | role
    return system, namespaces


SYSTEM = "temporal-system"
_ROLES = {"read": Role.READ, "write": Role.WRITE, "worker": Role.WORKER, "admin": Role.ADMIN}


class Identities(Protocol):
    """Who knows callers."""

    async def identify(self, meta: CallMeta) -> Claims:
        """What the caller has proved, `NOBODY` without any proof. Raises Unauthorized for a proof that is none."""
        ...


class Authorization:
    """Judges calls."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    async def identify(self, meta: CallMeta) -> Claims:
        """See `Identities`."""
        return await self._identities.identify(meta)

    async def check(self, claims: Claims, method: str, request: Any, lookups: Lookups) -> None:
        """Raises Unauthorized unless the caller may do all of it. `lookups`: for a namespace that an id names; raises
        ResourceExhausted where that has to be looked for, and there are too many calls.
        """
        need = need_of(method)
        if need.reach is Reach.OPEN:
            return
        if need.reach is Reach.CLUSTER:
            if not claims.system & need.roles:
                raise Unauthorized
            return
        if claims.system & need.roles & ~Role.WORKER:
            return  # everywhere, so that nothing inside can be elsewhere
        if not claims.system and not claims.namespaces:
            raise Unauthorized  # before anything is looked up for nobody
        names = inner_names(request)
        own = request.namespace
        if not own and names.namespace_id:
            own = await _name_of(names.namespace_id, lookups, grade_of(method))
        if not own or not claims.may(own, need.roles):
            raise Unauthorized
        if names.namespace_id and names.namespace_id != (await _id_of(own, lookups, grade_of(method))):
            raise Unauthorized
        for other in names.others:
            if other not in ("", own) and not claims.may(other, need.roles & ~Role.WORKER):
                raise Unauthorized


async def _name_of(namespace_id: str, lookups: Lookups, grade: int) -> str:
    try:
        return (await lookups.by_id(namespace_id, grade)).name
    except NamespaceNotFound:
        return ""


async def _id_of(name: str, lookups: Lookups, grade: int) -> str:
    try:
        return (await lookups.by_name(name, grade)).id
    except NamespaceNotFound:
        return ""
