"""An operator of the simulator: pauses, unpauses, resets and changes activities, and pauses whole workflows, at random
until it is calmed.

Invariant: once calm it lets go on whatever is paused, again and again, so that everything can settle. It changes
nothing that would let an attempt end sooner than its schedule says.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Priority, RetryPolicy, WorkflowExecution
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseWorkflowExecutionRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateActivityOptionsRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from perdure.base.clock import MS_NS, SECOND_NS, to_duration
from perdure.base.entropy import new_id
from perdure.base.errors import PerdureError
from perdure.testing.cluster import SimCluster
from perdure.testing.oplog import Kind
from perdure.testing.party import Party

_OPTIONS = ActivityOptions(
    start_to_close_timeout=to_duration(8 * SECOND_NS),
    retry_policy=RetryPolicy(initial_interval=to_duration(100 * MS_NS)),
    priority=Priority(priority_key=1),
)
_OF_WORKFLOWS = ("workflow pauses", "workflow goes on", "workflow hurries")
_PATHS = ("start_to_close_timeout", "retry_policy.initial_interval", "priority")


class Operator(Party):
    """Looks after these workflows of one namespace."""

    def __init__(self, name: str, namespace: str, cluster: SimCluster, workflow_ids: Sequence[str]) -> None:
        super().__init__(name, namespace, cluster)
        self._workflow_ids = workflow_ids
        self._is_calm = False

    def calm(self) -> None:
        """From now on, only let things go on."""
        self._is_calm = True

    async def run(self) -> None:
        """Act, until cancelled."""
        while self._workflow_ids:
            await self.pause(2.0)
            if self._is_calm:
                for workflow_id in self._workflow_ids:
                    await self._act(workflow_id, "go on")
                    await self._act(workflow_id, "workflow goes on")
            else:
                workflow_id = self._workflow_ids[self.chance.below(len(self._workflow_ids))]
                choices: tuple[str, ...] = (
                    "pause",
                    "pause",
                    "go on",
                    "unpause",
                    "reset",
                    "keep paused",
                    "update",
                    "restore",
                )
                choices += _OF_WORKFLOWS
                await self._act(workflow_id, choices[self.chance.below(len(choices))])

    async def _act(self, workflow_id: str, what: str) -> None:
        op = self.log.invoke(
            Kind.OPERATE, self.name, namespace=self.namespace, workflow_id=workflow_id, args={"what": what}
        )
        execution = WorkflowExecution(workflow_id=workflow_id)
        given = {"namespace": self.namespace, "execution": execution, "identity": op.identity}
        method, request = self._of_workflow(what, given) if what in _OF_WORKFLOWS else self._request(what, given)
        try:
            await self.call(op, method, request)
        except PerdureError:
            return
        self.log.returned(op)

    def _of_workflow(self, what: str, given: dict[str, Any]) -> tuple[str, Message]:
        execution = given.pop("execution")
        if what == "workflow pauses":
            return "PauseWorkflowExecution", PauseWorkflowExecutionRequest(
                **given, workflow_id=execution.workflow_id, reason="operated", request_id=new_id(self.chance)
            )
        if what == "workflow goes on":
            return "UnpauseWorkflowExecution", UnpauseWorkflowExecutionRequest(
                **given, workflow_id=execution.workflow_id
            )
        options = WorkflowExecutionOptions(priority=Priority(priority_key=1 + self.chance.below(5)))
        return "UpdateWorkflowExecutionOptions", UpdateWorkflowExecutionOptionsRequest(
            **given,
            workflow_execution=execution,
            workflow_execution_options=options,
            update_mask=FieldMask(paths=["priority"]),
        )

    def _request(self, what: str, given: dict[str, Any]) -> tuple[str, Message]:
        yes, jitter = self.chance.fraction() < 0.5, to_duration(int(self.chance.fraction() * SECOND_NS))
        if what == "pause":
            return "PauseActivity", PauseActivityRequest(**given, type="step", request_id=new_id(self.chance))
        if what == "go on":
            return "UnpauseActivity", UnpauseActivityRequest(**given, unpause_all=True)
        if what == "unpause":
            return "UnpauseActivity", UnpauseActivityRequest(
                **given, unpause_all=True, reset_attempts=yes, reset_heartbeat=not yes, jitter=jitter
            )
        if what in ("reset", "keep paused"):
            return "ResetActivity", ResetActivityRequest(
                **given, match_all=True, keep_paused=what == "keep paused", reset_heartbeat=yes, jitter=jitter
            )
        if what == "restore":
            return "UpdateActivityOptions", UpdateActivityOptionsRequest(**given, match_all=True, restore_original=True)
        path = _PATHS[self.chance.below(len(_PATHS))]
        return "UpdateActivityOptions", UpdateActivityOptionsRequest(
            **given, match_all=True, activity_options=_OPTIONS, update_mask=FieldMask(paths=[path])
        )
