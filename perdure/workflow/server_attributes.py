"""Search attributes that the server sets itself, from what no event says: what of a run is paused, and that its
workflow tasks keep failing.

They are beside the run's own in descriptions and lists. Invariant: whoever pauses, or ends a workflow task, calls the
one or the other here. Source: the reference (`updatePauseInfoSearchAttribute`,
`UpdateReportedProblemsSearchAttribute`).
"""

from collections.abc import Sequence

import msgspec
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import WorkflowExecutionPausedEventAttributes

from perdure.workflow.close import show
from perdure.workflow.draft import Draft

PAUSES = "TemporalPauseInfo"
PROBLEMS = "TemporalReportedProblems"


def note_pauses(draft: Draft) -> None:
    """The run or one of its activities was paused, or goes on."""
    facts, durable = draft.run.facts, draft.run.durable
    entries: list[str] = []
    if durable.paused:
        entries.append(f"Workflow:{durable.workflow_id}")
        if reason := WorkflowExecutionPausedEventAttributes.FromString(facts.pause).reason:
            entries.append(f"Reason:{reason}")
    pausing = {each for each, attempt in durable.attempts.items() if attempt.paused}
    types = {facts.activities[each].activity_type for each in pausing if each in facts.activities}
    entries += [f"property:activityType={name}" for name in sorted(types)]
    _put(draft, PAUSES, entries)


def _put(draft: Draft, name: str, entries: Sequence[str]) -> None:
    """Keep the entries; none at all takes the attribute away."""
    known = draft.run.durable.server_attributes
    if not entries:
        if name in known:
            draft.drop("server_attributes", name)
            show(draft)
        return
    payload = Payload(metadata={"encoding": b"json/plain", "type": b"KeywordList"}, data=msgspec.json.encode(entries))
    encoded = payload.SerializeToString(deterministic=True)
    if known.get(name) != encoded:
        draft.put("server_attributes", name, encoded)
        show(draft)
