"""Lists and counts of workflows, by a filter over search attributes."""

from temporalio.api.common.v1 import Memo, Payload, SearchAttributes, WorkflowExecution, WorkflowType
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    ScanWorkflowExecutionsRequest,
    ScanWorkflowExecutionsResponse,
)

from perdure.base.clock import to_duration, to_timestamp
from perdure.base.errors import InvalidArgument
from perdure.cluster.namespaces import Namespace
from perdure.cluster.roles import Call
from perdure.frontend.checks import too_long
from perdure.frontend.methods import rpc
from perdure.frontend.services import Services
from perdure.visibility.literals import status_name
from perdure.visibility.parse import parse_count, parse_filter
from perdure.visibility.rows import VisibilityQuery, VisibilityRow
from perdure.visibility.tree import And, Filter


class Lists:
    """The RPCs that look at many workflows."""

    def __init__(self, services: Services) -> None:
        self._visibility = services.visibility
        self._limits = services.options.limits

    @rpc(ListWorkflowExecutionsRequest, visibility=True)
    async def ListWorkflowExecutions(
        self, request: ListWorkflowExecutionsRequest, namespace: Namespace, _call: Call
    ) -> ListWorkflowExecutionsResponse:
        longest = self._limits.of(namespace.name).list_page_max
        query = VisibilityQuery(
            namespace.id,
            self._filter(request.query, namespace),
            request.page_size if 0 < request.page_size <= longest else longest,
            request.next_page_token,
        )
        page = await self._visibility.list(query)
        return ListWorkflowExecutionsResponse(executions=map(execution_info, page.rows), next_page_token=page.token)

    @rpc(ScanWorkflowExecutionsRequest, visibility=True)
    async def ScanWorkflowExecutions(
        self, request: ScanWorkflowExecutionsRequest, namespace: Namespace, call: Call
    ) -> ScanWorkflowExecutionsResponse:
        """The older name of a list; in its order too."""
        same = ListWorkflowExecutionsRequest(
            namespace=request.namespace,
            query=request.query,
            page_size=request.page_size,
            next_page_token=request.next_page_token,
        )
        page = await self.ListWorkflowExecutions(same, namespace, call)
        return ScanWorkflowExecutionsResponse(executions=page.executions, next_page_token=page.next_page_token)

    @rpc(CountWorkflowExecutionsRequest, visibility=True)
    async def CountWorkflowExecutions(
        self, request: CountWorkflowExecutionsRequest, namespace: Namespace, _call: Call
    ) -> CountWorkflowExecutionsResponse:
        self._check_length(request.query)
        wanted = parse_count(request.query, namespace.search_attributes)
        query = VisibilityQuery(namespace.id, self._within(wanted.filter))
        if not wanted.by_status:
            return CountWorkflowExecutionsResponse(count=await self._visibility.count(query))
        counts = await self._visibility.count_by_status(query)
        return CountWorkflowExecutionsResponse(
            count=sum(counts.values()), groups=[_group(status, counts[status]) for status in sorted(counts)]
        )

    def _filter(self, query: str, namespace: Namespace) -> Filter | None:
        self._check_length(query)
        return self._within(parse_filter(query, namespace.search_attributes))

    def _check_length(self, query: str) -> None:
        """Reading a filter takes time by the byte."""
        if too_long(query, longest := self._limits.of().list_filter_bytes_max):
            raise InvalidArgument(f"invalid query: longer than {longest} bytes")

    def _within(self, found: Filter | None) -> Filter | None:
        """The tree, if it is small enough: databases take so many conditions and no more."""
        if isinstance(found, And) and len(found.parts) > (most := self._limits.of().list_filter_conditions_max):
            raise InvalidArgument(f"invalid query: more than {most} conditions")
        return found


def _group(status: int, count: int) -> CountWorkflowExecutionsResponse.AggregationGroup:
    value = Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"}, data=f'"{status_name(status)}"'.encode())
    return CountWorkflowExecutionsResponse.AggregationGroup(group_values=[value], count=count)


def execution_info(row: VisibilityRow) -> WorkflowExecutionInfo:
    """A row as the API shows it. Lengths and counts are known once a run is closed."""
    info = WorkflowExecutionInfo(
        execution=WorkflowExecution(workflow_id=row.workflow_id, run_id=row.run_id),
        type=WorkflowType(name=row.workflow_type),
        start_time=to_timestamp(row.start_time_ns),
        execution_time=to_timestamp(row.execution_time_ns or row.start_time_ns),
        status=row.status,  # type: ignore[arg-type]  # a stored number of the enum
        memo=Memo.FromString(row.memo),
        task_queue=row.task_queue,
    )
    fields = {name: Payload.FromString(payload) for name, payload in row.search_attributes.items()}
    info.search_attributes.CopyFrom(SearchAttributes(indexed_fields=fields))
    if row.close_time_ns:
        info.close_time.CopyFrom(to_timestamp(row.close_time_ns))
        info.execution_duration.CopyFrom(to_duration(row.close_time_ns - (row.execution_time_ns or row.start_time_ns)))
        info.history_length = row.history_length
        info.history_size_bytes = row.history_bytes
        info.state_transition_count = row.state_transitions
    if row.parent_workflow_id:
        parent = WorkflowExecution(workflow_id=row.parent_workflow_id, run_id=row.parent_run_id)
        info.parent_execution.CopyFrom(parent)
    if row.root_workflow_id:
        info.root_execution.workflow_id = row.root_workflow_id
        info.root_execution.run_id = row.root_run_id
    return info
