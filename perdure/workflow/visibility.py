"""A run's row in lists, from its state."""

from temporalio.api.common.v1 import Memo, Payload, WorkflowExecution

from perdure.visibility.rows import VisibilityRow
from perdure.workflow.state import Run


def visibility_row(run: Run) -> VisibilityRow:
    """What lists show of `run` now. A run that is its own root has itself as root, like any other."""
    facts, durable = run.facts, run.durable
    parent = WorkflowExecution.FromString(facts.parent)
    root = WorkflowExecution.FromString(facts.root)
    return VisibilityRow(
        namespace_id=durable.namespace_id,
        workflow_id=durable.workflow_id,
        run_id=durable.run_id,
        version=durable.visibility_version,
        workflow_type=facts.workflow_type,
        task_queue=facts.task_queue,
        status=run.shown_status,
        start_time_ns=run.start_time_ns,
        execution_time_ns=durable.execution_time_ns,
        close_time_ns=facts.close_time_ns,
        history_length=facts.next_event_id - 1 if facts.close_time_ns else 0,
        history_bytes=durable.history_bytes if facts.close_time_ns else 0,
        state_transitions=durable.transition_count if facts.close_time_ns else 0,
        parent_workflow_id=parent.workflow_id,
        parent_run_id=parent.run_id,
        root_workflow_id=root.workflow_id or durable.workflow_id,
        root_run_id=root.run_id or durable.run_id,
        memo=encoded_memo(run),
        search_attributes={**facts.search_attributes, **durable.server_attributes, **_external_payloads(run)},
    )


def _external_payloads(run: Run) -> dict[str, bytes]:
    """What lists tell of a closed run's payloads that are kept elsewhere, if there are any."""
    durable = run.durable
    if run.is_open or not durable.external_payload_count:
        return {}
    figures = {
        "TemporalExternalPayloadCount": durable.external_payload_count,
        "TemporalExternalPayloadSizeBytes": durable.external_payload_bytes,
    }
    metadata = {"encoding": b"json/plain", "type": b"Int"}
    return {
        name: Payload(metadata=metadata, data=str(figure).encode()).SerializeToString(deterministic=True)
        for name, figure in figures.items()
    }


def encoded_memo(run: Run) -> bytes:
    """The run's memo as an encoded Memo; empty if it has none."""
    if not run.facts.memo:
        return b""
    fields = {name: Payload.FromString(value) for name, value in run.facts.memo.items()}
    return Memo(fields=fields).SerializeToString(deterministic=True)
