"""How state follows from an override of the run's worker version, by its start or by an operator.

It is a search attribute too, in the place of the one that lists the builds of unversioned workers.
"""

from temporalio.api.common.v1 import Payload
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionVersioningInfo

from perdure.workflow.events.task import BUILD_IDS, note_unversioned
from perdure.workflow.state import Run
from perdure.workflow.versioning import behavior_name

BEHAVIOR = "TemporalWorkflowVersioningBehavior"


def overridden(run: Run, override: VersioningOverride) -> None:
    """From now on the run has this override."""
    info = WorkflowExecutionVersioningInfo(versioning_override=override)
    run.facts.versioning = info.SerializeToString(deterministic=True)
    name = behavior_name(run.facts.versioning)
    payload = Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"}, data=f'"{name}"'.encode())
    run.put("search_attributes", BEHAVIOR, payload.SerializeToString(deterministic=True))
    run.drop("search_attributes", BUILD_IDS)


def no_longer_overridden(run: Run) -> None:
    """An override, if there was one, is taken away."""
    if run.facts.versioning:
        run.facts.versioning = b""
        run.drop("search_attributes", BEHAVIOR)
        note_unversioned(run)
