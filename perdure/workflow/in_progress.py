"""Whether anybody is at work for a run, or could be: what a server-wide clock that skips idle time has to wait for.

Source: the SDKs' test server, whose clock stands still for a workflow task from its schedule to its answer, for an
activity's attempt from its schedule to its end (but not in its backoff), and for what workflows do to one another. The
last are timers that are due at once, so they aren't repeated here.
"""

from perdure.workflow.state import Run


def is_in_progress(run: Run) -> bool:
    """True while a workflow task is outstanding, or an activity's attempt is offered to workers or with one, or a
    client waits for an answer of the workflow.
    """
    ephemeral = run.ephemeral
    if run.durable.workflow_task is not None or ephemeral.speculative_task is not None:
        return run.is_open
    if ephemeral.queries or ephemeral.admitted_updates:
        return True
    return run.is_open and any(
        attempt.started_time_ns or not (attempt.waiting or attempt.paused) for attempt in run.durable.attempts.values()
    )
