"""Ids that follow from the event that wants something done at another workflow id.

Invariant: one initiation, one id, on every machine and for ever: repeating an errand makes the same one again. Two runs
never share an initiation, so that their ids differ.
"""

from perdure.base.entropy import derive_id


def errand_id(run_id: str, purpose: str, initiated_event_id: int) -> str:
    """A UUID for `purpose` ("signal", "cancel", "child", …) of the run's event `initiated_event_id`."""
    return derive_id(run_id.encode(), purpose, initiated_event_id)
