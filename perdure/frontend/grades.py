"""Which calls go first when there are too many, and which of them wait.

Invariant: every method of the API and of the admin service has a grade; 0 goes first. Source:
`service/frontend/configs/quotas.go`, but that answers of workers are a grade above starts and signals: a refused
answer is work done twice.
"""

from collections.abc import Iterator
from typing import Any

_BY_GRADE: tuple[str, ...] = (
    # What clients need to begin at all, and answers.
    """
    Ring ListShards SplitShard MergeShards MoveShard
    GetClusterInfo GetSystemInfo GetSearchAttributes DescribeNamespace ListNamespaces DeprecateNamespace
    RecordActivityTaskHeartbeat RecordActivityTaskHeartbeatById RespondActivityTaskCompleted
    RespondActivityTaskCompletedById RespondWorkflowTaskCompleted RespondQueryTaskCompleted RespondNexusTaskCompleted
    """,
    # What comes from outside.
    """
    StartWorkflowExecution SignalWorkflowExecution SignalWithStartWorkflowExecution UpdateWorkflowExecution
    ExecuteMultiOperation CreateSchedule StartBatchOperation StartActivityExecution StartNexusOperationExecution
    RegisterNamespace UpdateNamespace DeleteNamespace AddSearchAttributes RemoveSearchAttributes
    AddOrUpdateRemoteCluster RemoveRemoteCluster CreateNexusEndpoint UpdateNexusEndpoint DeleteNexusEndpoint
    """,
    # What changes state, and the history that a replay needs.
    """
    RequestCancelWorkflowExecution TerminateWorkflowExecution ResetWorkflowExecution DeleteWorkflowExecution
    GetWorkflowExecutionHistory UpdateSchedule PatchSchedule DeleteSchedule StopBatchOperation UpdateActivityOptions
    PauseActivity UnpauseActivity ResetActivity UpdateActivityExecutionOptions PauseActivityExecution
    UnpauseActivityExecution ResetActivityExecution UpdateWorkflowExecutionOptions SetCurrentDeployment
    CreateWorkerDeployment CreateWorkerDeploymentVersion UpdateWorkerDeploymentVersionComputeConfig
    SetWorkerDeploymentCurrentVersion SetWorkerDeploymentRampingVersion SetWorkerDeploymentManager
    DeleteWorkerDeployment DeleteWorkerDeploymentVersion UpdateWorkerDeploymentVersionMetadata CreateWorkflowRule
    DescribeWorkflowRule DeleteWorkflowRule ListWorkflowRules TriggerWorkflowRule UpdateTaskQueueConfig
    UpdateWorkerBuildIdCompatibility UpdateWorkerVersioningRules RequestCancelActivityExecution
    TerminateActivityExecution DeleteActivityExecution RequestCancelNexusOperationExecution
    TerminateNexusOperationExecution DeleteNexusOperationExecution PauseWorkflowExecution UnpauseWorkflowExecution
    """,
    # What looks, and failures of tasks, which will be tried again anyway.
    """
    Diagnose Queues Tasks
    DescribeWorkflowExecution DescribeActivityExecution DescribeTaskQueue GetWorkerBuildIdCompatibility
    GetWorkerVersioningRules ListTaskQueuePartitions QueryWorkflow DescribeSchedule ListScheduleMatchingTimes
    DescribeBatchOperation DescribeDeployment GetCurrentDeployment DescribeWorkerDeploymentVersion
    DescribeWorkerDeployment DescribeNexusOperationExecution ValidateWorkerDeploymentVersionComputeConfig ListWorkers
    DescribeWorker CountWorkers ListSearchAttributes ListClusters GetNexusEndpoint ListNexusEndpoints
    RespondActivityTaskCanceled RespondActivityTaskCanceledById RespondActivityTaskFailed RespondActivityTaskFailedById
    RespondWorkflowTaskFailed RespondNexusTaskFailed
    """,
    # What waits for something to do, and what may well come later.
    """
    PollWorkflowTaskQueue PollActivityTaskQueue PollNexusTaskQueue PollWorkflowExecutionUpdate PollActivityExecution
    PollNexusOperationExecution ResetStickyTaskQueue ShutdownWorker GetWorkflowExecutionHistoryReverse
    RecordWorkerHeartbeat FetchWorkerConfig UpdateWorkerConfig
    CountWorkflowExecutions ScanWorkflowExecutions ListOpenWorkflowExecutions ListClosedWorkflowExecutions
    ListWorkflowExecutions ListArchivedWorkflowExecutions CountActivityExecutions ListActivityExecutions
    CountNexusOperationExecutions ListNexusOperationExecutions GetWorkerTaskReachability ListSchedules CountSchedules
    ListBatchOperations ListDeployments GetDeploymentReachability ListWorkerDeployments
    """,
    # What waits for something to see.
    """
    PollWorkflowExecutionTimeSkipping
    """,
)


def _grades() -> Iterator[tuple[str, int]]:
    for grade, names in enumerate(_BY_GRADE):
        for name in names.split():
            yield name, grade


LOWEST = len(_BY_GRADE) - 1
# Every one of them, by its name.
GRADE: dict[str, int] = dict(_grades())
# These may wait for a worker or for an event; so many of each, in a namespace, at once.
_WAITING = """
PollWorkflowTaskQueue PollActivityTaskQueue PollNexusTaskQueue PollWorkflowExecutionUpdate PollActivityExecution
PollNexusOperationExecution PollWorkflowExecutionTimeSkipping QueryWorkflow UpdateWorkflowExecution
ExecuteMultiOperation GetWorkflowExecutionHistory
"""
WAITING = frozenset(_WAITING.split())


def waits(method: str, request: Any) -> bool:
    """Whether this call may wait."""
    if method == "GetWorkflowExecutionHistory":
        return bool(request.wait_new_event)
    return method in WAITING


def grade_of(method: str) -> int:
    """The grade of a method's calls, but for those that only wait."""
    return GRADE.get(method, LOWEST)
