"""The outstanding workflow task: scheduling it, and waking a run that has something new.

Other modules call `wake` after they added an event that a worker must see.
"""

from perdure.workflow.draft import Draft


def wake(draft: Draft) -> None:
    """Schedule a workflow task unless one is outstanding, the run is closed or paused, or its first task is still delayed."""
    raise NotImplementedError(draft)
