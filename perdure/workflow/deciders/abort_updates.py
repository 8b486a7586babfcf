"""What becomes of updates whose run closes, whatever closed it.

It stands behind every decision, so that no way of closing a run can leave the caller of an update waiting. It is the
last of the guards: another one may close a run.
"""

from typing import Any

from perdure.workflow.decide import Work, guards
from perdure.workflow.updates import abort_all


@guards
def abort_updates(work: Work, request: Any) -> None:
    """Tell whoever waits for an update of a run that this decision closes."""
    for run_id, draft in work.drafts.items():
        run = draft.run
        if run.is_open or not (run.ephemeral.admitted_updates or run.facts.open_updates):
            continue
        before = work.chain.runs.get(run_id)
        if before is not None and before.is_open:
            abort_all(work, run, continues=bool(run.facts.successor_run_id) or _is_reset(work))


def _is_reset(work: Work) -> bool:
    """True if the run that is the current one now is new, and began as another one."""
    draft = work.drafts.get(work.current.run_id) if work.current is not None else None
    if draft is None or draft.run.run_id in work.chain.runs:
        return False
    return draft.run.facts.original_run_id not in ("", draft.run.run_id)
