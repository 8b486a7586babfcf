"""The table of metrics: every name that a process exports, its labels, and what it tells.

Names and labels are those that dashboards and alerts for Temporal's server ask for; docs/metrics.md is written from
this table. Invariant: what has no feature behind it here has no line here. Refuses to know who measures.
"""

from perdure.base.metrics import BYTES, COUNTS, Counter, Definition, Gauge, Histogram, counter, gauge, histogram

_RPC = "namespace operation service_name"
_CLIENT = "namespace operation service_name service_role"
_LISTS = "operation service_name visibility_index_name visibility_plugin_name visibility_type"
_CACHE = "cache_type namespace_id operation service_name"
_TASK = "archetype namespace operation service_name task_type"
_TASK_PRIORITY = "archetype namespace operation service_name task_priority task_type"
_CLOSED = "namespace namespace_state operation service_name taskqueue workflowType"
_TIMEOUT = "first_attempt namespace operation service_name versioning_behavior"
_QUEUE = "namespace operation partition service_name task_type taskqueue"

# --------------------------------------------------------------------------------- calls: of clients, and between roles

SERVICE_REQUESTS = counter("service_requests", _RPC, "Calls that arrived.")
SERVICE_LATENCY = histogram("service_latency", _RPC, "Seconds from a call's arrival to its answer.")
SERVICE_PENDING_REQUESTS = gauge("service_pending_requests", _RPC, "Calls that have no answer yet.")
SERVICE_ERRORS = counter("service_errors", _RPC, "Calls that failed unexpectedly: not by the caller's fault.")
SERVICE_ERROR_WITH_TYPE = counter("service_error_with_type", f"error_type {_RPC}", "All calls that failed, by error.")
SERVICE_ERRORS_RESOURCE_EXHAUSTED = counter(
    "service_errors_resource_exhausted",
    f"{_RPC} resource_exhausted_cause resource_exhausted_scope",
    "Calls that met a limit.",
)
# Dashboards ask for the rate of all `service_errors_*` at once: no two may have a series of the same labels.
_ERROR = f"error_type {_RPC}"
SERVICE_NOT_FOUND = counter("service_errors_entity_not_found", _ERROR, "Calls for something that isn't there.")
SERVICE_ALREADY_STARTED = counter(
    "service_errors_execution_already_started", _ERROR, "Starts of a workflow whose id is taken."
)
SERVICE_UNAUTHORIZED = counter("service_errors_unauthorized", _ERROR, "Calls without the permission for it.")
SERVICE_PANICS = counter("service_panics", _RPC, "Calls that failed by a defect.")
CLIENT_REQUESTS = counter("client_requests", _CLIENT, "Calls of one role (service_name) to another (service_role).")
CLIENT_LATENCY = histogram("client_latency", _CLIENT, "Seconds that calls between roles took.")
CLIENT_ERRORS = counter("client_errors", f"error_type {_CLIENT}", "Calls between roles that failed, by error.")
ADD_SEARCH_ATTRIBUTES_FAILURES = counter(
    "add_search_attributes_failures", "service_name", "Search attributes that could not be added."
)
ACTION = counter("action", f"action_type {_RPC}", "What clients and commands set going, by kind.")

# ---------------------------------------------------------------------------------------------------------------- store

PERSISTENCE_REQUESTS = counter("persistence_requests", _RPC, "Operations asked of the store, but those on lists.")
PERSISTENCE_LATENCY = histogram("persistence_latency", _RPC, "Seconds that operations of the store took.")
PERSISTENCE_ERRORS = counter("persistence_errors", _RPC, "Operations of the store that failed.")
PERSISTENCE_ERROR_WITH_TYPE = counter("persistence_error_with_type", f"error_type {_RPC}", "The same, by error.")
VISIBILITY_REQUESTS = counter("visibility_persistence_requests", _LISTS, "Operations on lists asked of the store.")
VISIBILITY_LATENCY = histogram("visibility_persistence_latency", _LISTS, "Seconds that operations on lists took.")
VISIBILITY_ERRORS = counter("visibility_persistence_errors", _LISTS, "Operations on lists that failed.")
VISIBILITY_ERROR_WITH_TYPE = counter("visibility_persistence_error_with_type", f"error_type {_LISTS}", "By error.")
# Dashboards of older versions ask for each kind by a name of its own.
VISIBILITY_INVALID = counter("visibility_persistence_invalid_argument", _LISTS, "Of those: queries that can't be read.")
VISIBILITY_EXHAUSTED = counter("visibility_persistence_resource_exhausted", _LISTS, "Of those: over a limit.")
VISIBILITY_CONDITION = counter("visibility_persistence_condition_failed", _LISTS, "Of those: lost to another one.")
VISIBILITY_TIMEOUT = counter("visibility_persistence_timeout", _LISTS, "Of those: out of time.")
VISIBILITY_NOT_FOUND = counter("visibility_persistence_not_found", _LISTS, "Of those: of nothing that is there.")
VISIBILITY_INTERNAL = counter("visibility_persistence_internal", _LISTS, "Of those: unexpected.")
VISIBILITY_UNAVAILABLE = counter("visibility_persistence_unavailable", _LISTS, "Of those: the store was away.")

_KIND = "kind service_name"
CASSANDRA_REQUESTS = counter(
    "cassandra_requests", _KIND, "Statements sent to Cassandra: read, settled_read, stamped (a write), conditional."
)
CASSANDRA_ERRORS = counter("cassandra_errors", _KIND, "Those that failed, or of which nothing was heard in time.")
CASSANDRA_NOT_APPLIED = counter(
    "cassandra_not_applied", "service_name", "Conditional writes that were not applied: another state stood there."
)
CASSANDRA_UNKNOWN = counter(
    "cassandra_unknown_outcomes", "service_name", "Conditional writes in doubt; each is sent again until it is settled."
)
CASSANDRA_IN_FLIGHT = gauge("cassandra_requests_in_flight", "service_name", "Statements that have no answer yet.")
CASSANDRA_NODES = gauge("cassandra_nodes", "service_name state", "Nodes that are up and down, as seen from here.")

# ------------------------------------------------------------------------------------------ history: caches and shards

CACHE_REQUESTS = counter("cache_requests", _CACHE, "Look-ups in the cache of executions.")
CACHE_MISS = counter("cache_miss", _CACHE, "Look-ups that had to read from the store.")
CACHE_LATENCY = histogram("cache_latency", _CACHE, "Seconds that a missing execution took to read.")
CACHE_ERRORS = counter("cache_errors", _CACHE, "Look-ups that failed.")
CACHE_SIZE = gauge("cache_size", "cache_type service_name", "What the cache may hold, in bytes.")
CACHE_USAGE = gauge("cache_usage", "cache_type service_name", "What the cache holds, in bytes.")
NUMSHARDS = gauge("numshards_gauge", "operation service_name", "Shards that this process owns.")
SHARD_CREATED = counter("sharditem_created_count", "operation service_name", "Shards that were taken.")
SHARD_REMOVED = counter("sharditem_removed_count", "operation service_name", "Shards that were lost or released.")
SHARD_CLOSED = counter("shard_closed_count", "operation service_name", "Shards that were closed.")
SHARD_ACQUISITION = histogram("sharditem_acquisition_latency", "operation service_name", "Seconds to take a shard.")
SHARD_HANDOVERS = counter(
    "shard_handovers", "operation outcome service_name", "Shards asked of another host (released), or given to one."
)
SHARDS_RESHAPED = counter(
    "shards_reshaped", "operation outcome service_name", "Splits and merges of shards, by how they ended."
)
SHARD_QUEUE_LAG = histogram(
    "shardinfo_scheduled_queue_lag",
    "operation service_name task_category",
    "Seconds by which a shard's first timer is late, of each shard, when the page is read.",
)
AUDITOR_REPAIRS = counter(
    "auditor_repairs", "operation service_name task_type", "Outstanding tasks that no index had; each is a defect."
)
ORPHAN_SEGMENTS = counter(
    "orphan_segments", "operation service_name", "Segments of shards' logs that nothing led to any more, and dropped."
)
OVERDUE_RUNS = counter(
    "overdue_runs", "operation service_name", "Closed runs that were kept, or listed, since their timer was lost."
)
ACQUIRE_SHARDS_COUNT = counter("acquire_shards_count", "operation service_name", "Times that all shards were taken.")
ACQUIRE_SHARDS = histogram("acquire_shards_latency", "operation service_name", "Seconds to take all shards at start.")

# ------------------------------------------------------------------------------------------------------ history: tasks

TASK_REQUESTS = counter("task_requests", _TASK_PRIORITY, "Attempts at tasks of history: timers, offers, list rows.")
TASK_LATENCY = histogram("task_latency", _TASK_PRIORITY, "Seconds that an attempt took, its waiting included.")
TASK_LATENCY_PROCESSING = histogram("task_latency_processing", _TASK, "Seconds that an attempt took.")
TASK_LATENCY_QUEUE = histogram(
    "task_latency_queue",
    "archetype namespace operation queue_reader_id service_name task_priority task_type",
    "Seconds from when a task was due to its end, all attempts included.",
)
TASK_ATTEMPT = histogram("task_attempt", _TASK, "Attempts that a task needed.", COUNTS)
TASK_ERRORS = counter("task_errors", _TASK, "Attempts that failed.")
TASK_ERRORS_DISCARDED = counter("task_errors_discarded", _TASK, "Tasks given up after attempts that failed.")

# ------------------------------------------------------------------------------------------- history: what became of it

WORKFLOW_SUCCESS = counter("workflow_success", _CLOSED, "Runs that completed.")
WORKFLOW_FAILED = counter("workflow_failed", _CLOSED, "Runs that failed.")
WORKFLOW_CANCEL = counter("workflow_cancel", _CLOSED, "Runs that were cancelled.")
WORKFLOW_TERMINATE = counter("workflow_terminate", _CLOSED, "Runs that were terminated.")
WORKFLOW_TIMEOUT = counter("workflow_timeout", _CLOSED, "Runs that timed out.")
WORKFLOW_CONTINUED_AS_NEW = counter("workflow_continued_as_new", _CLOSED, "Runs that continued as new ones.")
WORKFLOW_LATENCY = histogram("workflow_schedule_to_close_latency", _CLOSED, "Seconds from a run's start to its close.")
SCHEDULE_TO_START_TIMEOUT = counter("schedule_to_start_timeout", _TIMEOUT, "Tasks that nobody took in time.")
SCHEDULE_TO_CLOSE_TIMEOUT = counter("schedule_to_close_timeout", _TIMEOUT, "Activities that weren't done in time.")
START_TO_CLOSE_TIMEOUT = counter("start_to_close_timeout", _TIMEOUT, "Tasks that weren't answered in time.")
HEARTBEAT_TIMEOUT = counter("heartbeat_timeout", _TIMEOUT, "Activities whose heartbeat stopped.")
HISTORY_SIZE = histogram("history_size", _RPC, "Bytes of a run's history, at each of its transitions.", BYTES)
HISTORY_COUNT = histogram("history_count", _RPC, "Events of a run, at each of its transitions.", COUNTS)
STATE_SIZE = histogram("persisted_mutable_state_size", _RPC, "Bytes of a run's state, at its checkpoints.", BYTES)
STATE_TRANSITION_COUNT = histogram(
    "state_transition_count", f"namespace_state {_RPC}", "Transitions of a run, at each of them.", COUNTS
)
TASK_SCHEDULE_TO_START = histogram(
    "task_schedule_to_start_latency", _QUEUE, "Seconds from when a task was scheduled until a worker began it."
)

# What workers answered their workflow tasks with.
COMMAND = counter("command", f"commandType {_RPC}", "Commands of workflow tasks that were completed.")
EMPTY_COMPLETIONS = counter("empty_completion_commands", _RPC, "Completed workflow tasks without a command.")
MULTIPLE_COMPLETIONS = counter("multiple_completion_commands", _RPC, "Completed workflow tasks with several commands.")
STICKY_COMPLETIONS = counter(
    "complete_workflow_task_sticky_enabled_count", _RPC, "Completed workflow tasks whose worker keeps the run."
)
UNSTICKY_COMPLETIONS = counter(
    "complete_workflow_task_sticky_disabled_count", _RPC, "Completed workflow tasks whose worker doesn't."
)
FAILED_WORKFLOW_TASKS = counter("failed_workflow_tasks", f"failure {_TIMEOUT}", "Workflow tasks that failed, by cause.")

_CALLBACK = "destination namespace operation outcome service_name"
CALLBACK_REQUESTS = counter("callback_outbound_requests", _CALLBACK, "Calls of completion callbacks.")
CALLBACK_LATENCY = histogram("callback_outbound_latency", _CALLBACK, "Seconds that a call of a callback took.")

# ------------------------------------------------------------------------------------------------------------- matching

_POLL = (
    "namespace namespace_state operation partition service_name task_type taskqueue worker_build_id "
    "worker_deployment_name worker_version"
)
POLL_SUCCESS = counter("poll_success", _POLL, "Polls that got a task.")
POLL_SUCCESS_SYNC = counter("poll_success_sync", _POLL, "Polls that got a task that hadn't waited for them.")
POLL_TIMEOUTS = counter("poll_timeouts", _POLL, "Polls that got nothing.")
NO_POLLER_TASKS = counter("no_poller_tasks", _POLL, "Tasks that came to a queue which nobody polled lately.")
SYNC_THROTTLE = counter("sync_throttle_count", _POLL, "Times that a queue's rate held a task back.")
SYNC_MATCH = histogram("syncmatch_latency", _QUEUE, "Seconds from a task's offer to a poller that waited for it.")
ASYNC_MATCH = histogram("asyncmatch_latency", _QUEUE, "Seconds from when a task was scheduled to its late poller.")
LOCAL_MATCHES = counter("local_to_local_matches", _POLL, "Matches of a task and a poll of the same partition.")
REMOTE_MATCHES = counter(
    "local_to_remote_matches", _POLL, "Matches of a queue's task and a poll of this further partition."
)
FORWARDED = counter("forwarded", _POLL, "Calls for tasks by which further partitions told this one of polls.")
BACKLOG_COUNT = gauge("approximate_backlog_count", _POLL, "Tasks that wait for a poller.")
BACKLOG_AGE = gauge("approximate_backlog_age_seconds", _POLL, "Age of the oldest of them, in seconds.", max)
PENDING_POLLS = gauge("pending_polls", _POLL, "Polls that wait for a task.")
LOADED_PARTITIONS = gauge("loaded_task_queue_partition_count", "operation service_name", "Partitions in memory.")

# -------------------------------------------------------------------------------------------------------------- cluster

MEMBERSHIP_CHANGED = counter(
    "membership_changed_count", "operation service_name", "Views of the members that differed from the former one."
)
MEMBERS = gauge("membership_members", "member_role service_name state", "Hosts as seen from here, by role.", max)
MEMBERS_VERSION = gauge("membership_version", "service_name", "Version of the newest view of the members.", max)
LEASES_LOST = counter("membership_leases_lost", "service_name", "Times that this host lost its lease.")

# ------------------------------------------------------------------------------- security and dynamic configuration

AUTHORIZATION_LATENCY = histogram(
    "service_authorization_latency", _RPC, "Seconds to decide whether a call may be made."
)
JWKS_REFRESHES = counter("jwks_refreshes", "outcome service_name", "Fetches of the keys that tokens are checked by.")
AUDIT_RECORDS = counter("audit_records", "outcome service_name", "Lines of the audit log, written and lost.")
CERTIFICATE_EXPIRY = gauge(
    "certificate_expiry_seconds", "certificate service_name", "Seconds until a certificate in use expires.", min
)
DYNAMIC_CONFIG_FAULTS = gauge(
    "dynamic_config_faults", "service_name", "Values of the dynamic configuration that can't be read; the former hold."
)
DYNAMIC_CONFIG_UPDATES = counter(
    "dynamic_config_updates", "outcome service_name", "Times that the dynamic configuration was read anew."
)

# -------------------------------------------------------------------------------------------------------------- process

RESTARTS = counter("restarts", "service_name", "Starts of this process.")
BUILD_INFORMATION = gauge(
    "build_information",
    "build_date build_platform build_version git_revision python_version service_name",
    "What runs; always 1.",
)
HOST_HEALTH = gauge("host_health", "service_name", "1 it serves, 2 it doesn't.")
TOTAL_NAMESPACES = gauge("total_namespaces", "operation service_name", "Namespaces that this process knows of.")
NUM_GOROUTINES = gauge("num_goroutines", "service_name", "Tasks of the event loop.")
MEMORY_ALLOCATED = gauge("memory_allocated", "service_name", "Resident memory, in bytes.")
MEMORY_HEAP = gauge("memory_heap", "service_name", "Resident memory that is no file's, in bytes.")
MEMORY_STACK = gauge("memory_stack", "service_name", "The main thread's stack, in bytes.")
MEMORY_NUM_GC = histogram("memory_num_gc", "service_name", "Collections of garbage since the last look.", BYTES)
MEMORY_GC_PAUSE = histogram("memory_gc_pause_ms", "service_name", "Seconds, whatever its name says, of collections.")


def table() -> list[Definition[Counter] | Definition[Gauge] | Definition[Histogram]]:
    """All metrics, as they stand above."""
    return [value for value in globals().values() if isinstance(value, Definition)]
