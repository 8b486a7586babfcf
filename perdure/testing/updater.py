"""One who updates a workflow: waits for acceptance or completion, repeats what it is not sure of, and asks again later.

Invariant: an update has one id, however often it is repeated. Knows the public API and nothing behind it.
"""

from typing import Any

from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage
from temporalio.api.update.v1 import Input, Meta, Outcome, Request, UpdateRef, WaitPolicy
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest, UpdateWorkflowExecutionRequest

from perdure.base.entropy import new_id
from perdure.base.errors import PerdureError
from perdure.testing.checkers.evidence import digest_of
from perdure.testing.client import Caller
from perdure.testing.oplog import Kind, Op
from perdure.testing.party import header
from perdure.testing.programs import REJECTED

_ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
_COMPLETED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
_STAGES = {_ACCEPTED: "accepted", _COMPLETED: "completed"}


class Updater(Caller):
    """Updates whatever run of the errand's workflow is the current one."""

    async def run(self) -> None:
        """Make the errand's updates, one after the other."""
        for _ in range(self.errand.updates):
            await self.pause(6.0)
            update_id = new_id(self.chance)
            run_id = await self._update(update_id)
            for _ in range(1 + self.chance.below(2) if run_id else 0):
                await self.pause(2.0)
                await self._poll(update_id, run_id)

    async def _update(self, update_id: str) -> str:
        """The run that took the update; "" if none did."""
        wanted = (_ACCEPTED, _COMPLETED)[self.chance.below(2)]
        found: list[str] = []

        async def attempt() -> bool:
            op = self.invoke(Kind.UPDATE, request_id=update_id)
            request = UpdateWorkflowExecutionRequest(
                namespace=self.namespace,
                workflow_execution=self.execution(""),
                wait_policy=WaitPolicy(lifecycle_stage=wanted),
                request=Request(
                    meta=Meta(update_id=update_id, identity=op.identity),
                    input=Input(name="change", header=header(update_id)),
                ),
            )
            response = await self.call(op, "UpdateWorkflowExecution", request, timeout_s=8.0)
            self._told(op, update_id, response)
            found.append(op.run_id)
            return True

        return found[-1] if await self.persist(attempt) else ""

    async def _poll(self, update_id: str, run_id: str) -> None:
        op = self.invoke(Kind.UPDATE, run_id, request_id=update_id)
        request = PollWorkflowExecutionUpdateRequest(
            namespace=self.namespace,
            update_ref=UpdateRef(workflow_execution=self.execution(run_id), update_id=update_id),
            identity=op.identity,
            wait_policy=WaitPolicy(lifecycle_stage=_COMPLETED),
        )
        try:
            response = await self.call(op, "PollWorkflowExecutionUpdate", request, timeout_s=4.0)
        except PerdureError:
            return
        self._told(op, update_id, response)

    def _told(self, op: Op, update_id: str, response: Any) -> None:
        """Log what an update came to so far."""
        outcome: Outcome = response.outcome
        op.run_id = response.update_ref.workflow_execution.run_id
        stage = _STAGES.get(response.stage, "admitted")
        if outcome.failure.message == REJECTED:
            stage = "rejected"
        facts = {"outcome": digest_of(outcome)} if response.HasField("outcome") else {}
        self.log.returned(op, update_id=update_id, stage=stage, **facts)
