"""One who updates a workflow: waits for acceptance or completion, repeats what it is not sure of, and asks again later.

Invariant: an update has one id, however often it is repeated. Knows the public API and nothing behind it.
"""

from temporalio.api.update.v1 import UpdateRef, WaitPolicy
from temporalio.api.workflowservice.v1 import PollWorkflowExecutionUpdateRequest

from perdure.base.entropy import new_id
from perdure.base.errors import PerdureError
from perdure.testing.client import ACCEPTED, COMPLETED, Caller, update_request
from perdure.testing.oplog import Kind


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
        wanted = (ACCEPTED, COMPLETED)[self.chance.below(2)]
        found: list[str] = []

        async def attempt() -> bool:
            op = self.invoke(Kind.UPDATE, request_id=update_id)
            request = update_request(self.namespace, self.execution(""), update_id, op, wanted)
            response = await self.call(op, "UpdateWorkflowExecution", request, timeout_s=8.0)
            self.told(op, update_id, response)
            found.append(op.run_id)
            return True

        return found[-1] if await self.persist(attempt) else ""

    async def _poll(self, update_id: str, run_id: str) -> None:
        op = self.invoke(Kind.UPDATE, run_id, request_id=update_id)
        request = PollWorkflowExecutionUpdateRequest(
            namespace=self.namespace,
            update_ref=UpdateRef(workflow_execution=self.execution(run_id), update_id=update_id),
            identity=op.identity,
            wait_policy=WaitPolicy(lifecycle_stage=COMPLETED),
        )
        try:
            response = await self.call(op, "PollWorkflowExecutionUpdate", request, timeout_s=4.0)
        except PerdureError:
            return
        self.told(op, update_id, response)
