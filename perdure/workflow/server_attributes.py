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


def note_problem(draft: Draft, category: str, cause: str) -> None:
    """A workflow task ended badly, which has an event. `category`, `cause`: as the API's enums name them."""
    problem = f"category=WorkflowTask{category}", f"cause=WorkflowTask{category}Cause{cause}"
    if draft.run.durable.workflow_task_problem != problem:
        draft.assign("workflow_task_problem", problem)


def count_problem(draft: Draft) -> None:
    """A workflow task ended badly, with an event or without; after a number of them in a row the run says so."""
    count = draft.run.durable.workflow_task_problems + 1
    draft.assign("workflow_task_problems", count)
    if 0 < draft.context.limits.reported_problems_min <= count:
        _put(draft, PROBLEMS, draft.run.durable.workflow_task_problem)


def no_more_problems(draft: Draft) -> None:
    """A workflow task was completed."""
    if draft.run.durable.workflow_task_problems:
        draft.assign("workflow_task_problems", 0)
        _put(draft, PROBLEMS, ())


def _put(draft: Draft, name: str, entries: Sequence[str]) -> None:
    """Keep the entries; none at all takes the attribute away."""
    known = draft.run.durable.server_attributes
    if not entries:
        if name in known:
            draft.drop("server_attributes", name)
            draft.show()
        return
    payload = Payload(metadata={"encoding": b"json/plain", "type": b"KeywordList"}, data=msgspec.json.encode(entries))
    encoded = payload.SerializeToString(deterministic=True)
    if known.get(name) != encoded:
        draft.put("server_attributes", name, encoded)
        draft.show()
