"""The table of differences between the servers that are meant, or that a moment decides: each with its reason.

A rule changes how a field is shown on both sides. Nothing else is left out of the comparison.
"""

from __future__ import annotations

from tests.conformance.harness.render import Rule, Wording

INTENDED: tuple[Rule | Wording, ...] = (
    Wording("proto:[\u00a0 ]", "the reference's library writes one space or the other", "proto: "),
    Rule(
        "WorkflowExecutionStartedEventAttributes.first_workflow_task_backoff",
        "what is left of the second that runs of a chain are apart depends on how long the run before took",
    ),
)

# What is not generated, or shown in another way than it came, because the servers are meant to differ in it.
AVOIDED = {
    "what comes after a refused request while an update waits and a worker has a task, or tasks keep failing, or two "
    "updates wait, or a reset brought one that has no answer in history": "the reference "
    "forgets that a worker has a speculative task, or the update, or in which order updates came, or that the task "
    "left the queue of a worker that is gone, as does a ResetStickyTaskQueue; a case "
    "ends there, but for commands that fail their task (comparing.py)",
    "an update while another one waits and tasks keep failing": "the reference refuses it and the other one as well, "
    "which it had admitted (steps/updates.py)",
    "an update beside a task that is offered again, with another priority": "the reference refuses the former offer, "
    "and forgets the update as above (steps/operators.py, steps/updates.py); so it does with a former offer of an "
    "activity that an operator changed (steps/activities.py)",
    "timeouts that a poll tells of an activity whose options were changed": "the reference tells those of its "
    "schedule, Perdure those in force, as a scenario shows; a poll shows those in force (steps/activities.py)",
    "a child with its parent's own id that terminates what runs": "the reference tries for ever (steps/commands.py)",
    "a reset, a pause, a close while an update waits": "the reference refuses or forgets what Perdure goes on with; "
    "scenarios show each (steps/operators.py, steps/workers.py)",
    "a reset of what has children that end with their parent": "the reference's new run is not their parent but for "
    "their completion; a scenario shows it (steps/operators.py)",
    "a signal repeated with its request id after a reset": "the reference takes it again (steps/operators.py)",
    "the end of an activity that is paused": "the reference lists its run as paused for ever "
    "(steps/operators.py, steps/commands.py)",
    "a pause of a run that has not begun": "the reference fails inside when its delay is over (steps/operators.py)",
    "a start, repeated with its request id when its run was followed by another": "the reference starts another "
    "chain, Perdure takes a request once (steps/starting.py)",
    "a start that asks for its first task only when it is repeated": "the reference gives it a task that another "
    "worker has (steps/starting.py)",
    "the id of an aborted update, asked again of a closed workflow": "the reference's words depend on what it has in "
    "memory; a scenario shows it (steps/updates.py)",
    "pages of a paused run's history": "the reference shows a task behind it that it does not hold, but not in pages "
    "(steps/clients.py)",
    "the end of a page": "a last page that is exactly full has a token in the reference, and an empty page follows; "
    "a read shows what all pages hold (steps/clients.py)",
    "a signal with start, repeated with its request id when its run has closed or is to be terminated": "the reference "
    "starts another run, Perdure takes a request once (steps/starting.py)",
}
