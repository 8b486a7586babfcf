"""The table of differences between the servers that are meant, or that a moment decides: each with its reason.

A rule changes how a field is shown on both sides. Nothing else is left out of the comparison.
"""

from __future__ import annotations

from tests.conformance.harness.render import Rule, Wording

INTENDED: tuple[Rule | Wording, ...] = (
    Rule(
        "WorkflowExecutionStartedEventAttributes.first_workflow_task_backoff",
        "what is left of the second that runs of a chain are apart depends on how long the run before took",
    ),
)
