"""All of the core, loaded: importing any part of `perdure.workflow` imports this.

Deciders, event handlers, commands, derivations and timers register themselves in tables when their module is
imported. A table
with a hole would not raise: replay would quietly give another state. So the list is explicit, and the package imports
it.
"""

from perdure.workflow import (
    cancel,
    cancel_activity,
    complete_activity,
    complete_workflow_task,
    delete_run,
    describe,
    events_activity,
    events_task,
    events_timer,
    events_workflow,
    fail_activity,
    fail_workflow_task,
    fire_activity_timer,
    fire_timer,
    fire_user_timer,
    heartbeat_activity,
    look,
    outstanding_activity,
    outstanding_run,
    outstanding_timer,
    overgrown,
    query,
    reset_sticky,
    signal,
    signal_with_start,
    start,
    start_activity_task,
    start_workflow_task,
    terminate,
)
from perdure.workflow.commands import (
    cancel_timer,
    close_workflow,
    modify_properties,
    record_marker,
    request_cancel_activity,
    schedule_activity,
    start_timer,
    upsert_search_attributes,
)
from perdure.workflow.decide import Decision, decide
from perdure.workflow.evolve import replay
from perdure.workflow.visibility import visibility_row

__all__ = ["MODULES", "Decision", "decide", "replay", "visibility_row"]

MODULES = (
    cancel,
    cancel_activity,
    cancel_timer,
    close_workflow,
    complete_activity,
    complete_workflow_task,
    delete_run,
    describe,
    events_activity,
    events_task,
    events_timer,
    events_workflow,
    fail_activity,
    fail_workflow_task,
    fire_activity_timer,
    fire_timer,
    fire_user_timer,
    heartbeat_activity,
    look,
    modify_properties,
    outstanding_activity,
    outstanding_run,
    outstanding_timer,
    overgrown,
    query,
    record_marker,
    request_cancel_activity,
    reset_sticky,
    schedule_activity,
    signal,
    signal_with_start,
    start,
    start_activity_task,
    start_timer,
    start_workflow_task,
    terminate,
    upsert_search_attributes,
)
