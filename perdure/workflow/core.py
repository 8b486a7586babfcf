"""All of the core, loaded: importing any part of `perdure.workflow` imports this.

Deciders, event handlers, commands, derivations and timers register themselves in tables when their module is imported.
A table with a hole would not raise: replay would quietly give another state. So the list is explicit, and the package
imports it.
"""

from perdure.workflow import overgrown, skipping
from perdure.workflow.commands import (
    cancel_timer,
    close_workflow,
    continue_as_new,
    modify_properties,
    protocol_message,
    record_marker,
    request_cancel_activity,
    request_cancel_external,
    schedule_activity,
    signal_external,
    start_child,
    start_timer,
    upsert_search_attributes,
)
from perdure.workflow.decide import Decision, decide
from perdure.workflow.deciders import (
    abort_updates,
    admit_update,
    cancel,
    cancel_activity,
    complete_activity,
    complete_workflow_task,
    delete_run,
    describe,
    errand_done,
    fail_activity,
    fail_workflow_task,
    find_update,
    fire_activity_timer,
    fire_timer,
    fire_user_timer,
    heartbeat_activity,
    look,
    pause,
    pause_activity,
    plan_child,
    plan_errand,
    poll_forward,
    query,
    record_callback,
    record_child,
    record_external,
    reset,
    reset_activity,
    reset_sticky,
    signal,
    signal_with_start,
    start,
    start_activity_task,
    start_with_update,
    start_workflow_task,
    terminate,
    unpause_activity,
    update_activity_options,
    update_options,
    wake_child,
)
from perdure.workflow.deciders import start_child as child_starting
from perdure.workflow.deriving import activity as activity_tasks
from perdure.workflow.deriving import callback as callback_tasks
from perdure.workflow.deriving import child as child_tasks
from perdure.workflow.deriving import external as external_tasks
from perdure.workflow.deriving import run as run_tasks
from perdure.workflow.deriving import timer as timer_tasks
from perdure.workflow.events import activity as activity_events
from perdure.workflow.events import child as child_events
from perdure.workflow.events import external as external_events
from perdure.workflow.events import pause as pause_events
from perdure.workflow.events import task as task_events
from perdure.workflow.events import timer as timer_events
from perdure.workflow.events import update as update_events
from perdure.workflow.events import workflow as workflow_events
from perdure.workflow.evolve import replay
from perdure.workflow.visibility import visibility_row

__all__ = ["MODULES", "Decision", "decide", "replay", "visibility_row"]

MODULES = (
    abort_updates,
    activity_events,
    activity_tasks,
    admit_update,
    callback_tasks,
    cancel,
    cancel_activity,
    cancel_timer,
    child_events,
    child_starting,
    child_tasks,
    close_workflow,
    complete_activity,
    complete_workflow_task,
    continue_as_new,
    delete_run,
    describe,
    errand_done,
    external_events,
    external_tasks,
    fail_activity,
    fail_workflow_task,
    find_update,
    fire_activity_timer,
    fire_timer,
    fire_user_timer,
    heartbeat_activity,
    look,
    modify_properties,
    overgrown,
    pause,
    pause_activity,
    pause_events,
    plan_child,
    plan_errand,
    poll_forward,
    protocol_message,
    query,
    record_callback,
    record_child,
    record_external,
    record_marker,
    request_cancel_activity,
    request_cancel_external,
    reset_activity,
    reset,
    reset_sticky,
    run_tasks,
    schedule_activity,
    signal,
    signal_external,
    signal_with_start,
    skipping,
    start,
    start_activity_task,
    start_child,
    start_timer,
    start_with_update,
    start_workflow_task,
    task_events,
    terminate,
    timer_events,
    timer_tasks,
    unpause_activity,
    update_activity_options,
    update_events,
    update_options,
    upsert_search_attributes,
    wake_child,
    workflow_events,
)
