"""Activities that begin on the worker that scheduled them, without going through matching.

It is a worker's wish and a favour: granted while the run is open and not paused, and only as many as the caller can
hand out with its answer. What is not granted is offered like any other activity.
"""

from perdure.workflow.activity_attempts import start
from perdure.workflow.commands import Completion
from perdure.workflow.deciders.start_activity_task import started_reply
from perdure.workflow.requests import ActivityTaskStarted


def start_eagerly(completion: Completion, granted_max: int) -> tuple[ActivityTaskStarted, ...]:
    """Start the first `granted_max` activities of the completion that its worker asked for; one may be gone again."""
    draft = completion.draft
    run = draft.run
    if not granted_max or not run.is_open or run.durable.paused:
        return ()
    started = []
    for scheduled_event_id in completion.eager_activities[:granted_max]:
        activity = run.facts.activities.get(scheduled_event_id)
        if activity is None:
            continue
        request_id = draft.context.new_id("eager", scheduled_event_id)
        attempt = run.durable.attempts[scheduled_event_id]
        attempt = start(draft, activity, attempt, request_id, completion.identity)
        started.append(started_reply(run, run.facts.activities[scheduled_event_id], attempt))
    return tuple(started)
