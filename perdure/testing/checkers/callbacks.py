"""Rules of completion callbacks: each chain's are called, with the end of its last run and never before it."""

import re
from collections.abc import Iterator

from temporalio.api.enums.v1 import EventType, RetryState

from perdure.testing.checkers.evidence import Evidence, RunHistory, Violation
from perdure.workflow.evolve import attributes_of

_RUN = re.compile(r"/workflows/[^/]*/([^/]*)/history")
_STATES: dict[int, str] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "succeeded",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "canceled",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: "failed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: "failed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: "failed",
}


def callbacks_tell_the_end(evidence: Evidence) -> Iterator[Violation]:
    """36: whoever asked for it is told at least once, and only how the run ended that nothing followed."""
    for url in evidence.uncalled:
        yield Violation(36, url, "was never called")
    runs = {history.run_id: history for history in evidence.histories}
    for url, told in evidence.told:
        found = _RUN.search(told.get("Nexus-Link", ""))
        run = runs.get(found[1]) if found is not None else None
        if run is None:
            yield Violation(36, url, "was told of a run that is not there")
        elif told.get("Nexus-Operation-State") != _state(run):
            yield Violation(
                36, url, f"was told {told.get('Nexus-Operation-State')} of {run.name}, which ended otherwise"
            )


def _state(run: RunHistory) -> str:
    """How the run ended, in the words of a call; "" if it is open, or another goes on for it."""
    event = run.terminal
    if event is None or getattr(attributes_of(event), "retry_state", 0) == RetryState.RETRY_STATE_IN_PROGRESS:
        return ""
    return _STATES.get(event.event_type, "")
