"""Our dashboards: an overview by role, hosts and shards, task queues, the store, errors."""

from perdure.base import series
from perdure.server.panels import Board, Panel, Row, latency
from perdure.server.queries import increase, level, observed, rate

_HEALTH = level(series.HOST_HEALTH, "service_name instance", "max")


def _role(service: str) -> Row:
    """What one role gets, and how it answers."""
    return Row(
        service.capitalize(),
        (
            Panel(
                "Calls", "reqps", ((rate(series.SERVICE_REQUESTS, "operation", service_name=service), "{{operation}}"),)
            ),
            latency(
                "Latency",
                "operation",
                series.SERVICE_LATENCY,
                "Long polls are as long as they wait.",
                service_name=service,
            ),
            Panel(
                "Errors",
                "reqps",
                (
                    (rate(series.SERVICE_ERRORS, "operation", service_name=service), "unexpected {{operation}}"),
                    (
                        rate(
                            series.SERVICE_ERRORS_RESOURCE_EXHAUSTED, "resource_exhausted_cause", service_name=service
                        ),
                        "over a limit: {{resource_exhausted_cause}}",
                    ),
                ),
            ),
        ),
    )


_OVERVIEW = Board(
    "perdure-overview",
    "Perdure: overview",
    "What the cluster does and how well, by role.",
    (
        Row(
            "Cluster",
            (
                Panel(
                    "Processes that serve",
                    "none",
                    (
                        (
                            f"count by (service_name) ({_HEALTH} == 1)",
                            "{{service_name}}",
                        ),
                    ),
                ),
                Panel(
                    "State transitions",
                    "ops",
                    ((observed(series.STATE_TRANSITION_COUNT, "namespace"), "{{namespace}}"),),
                ),
                Panel(
                    "Workflows closed",
                    "ops",
                    tuple(
                        (rate(definition), legend)
                        for definition, legend in (
                            (series.WORKFLOW_SUCCESS, "completed"),
                            (series.WORKFLOW_FAILED, "failed"),
                            (series.WORKFLOW_TIMEOUT, "timed out"),
                            (series.WORKFLOW_TERMINATE, "terminated"),
                            (series.WORKFLOW_CANCEL, "cancelled"),
                            (series.WORKFLOW_CONTINUED_AS_NEW, "continued as new"),
                        )
                    ),
                ),
                Panel("Actions", "ops", ((rate(series.ACTION, "action_type"), "{{action_type}}"),)),
                Panel(
                    "Calls between roles",
                    "reqps",
                    (
                        (
                            rate(series.CLIENT_REQUESTS, "service_name service_role"),
                            "{{service_name}} to {{service_role}}",
                        ),
                    ),
                ),
                latency("Latency between roles", "service_name service_role", series.CLIENT_LATENCY),
            ),
        ),
        _role("frontend"),
        _role("history"),
        _role("matching"),
        Row(
            "Processes",
            (
                Panel("Memory", "bytes", ((level(series.MEMORY_ALLOCATED, "instance", "max"), "{{instance}}"),)),
                Panel(
                    "Tasks of the event loop",
                    "none",
                    ((level(series.NUM_GOROUTINES, "instance", "max"), "{{instance}}"),),
                ),
                latency("Pauses for garbage", "", series.MEMORY_GC_PAUSE),
                Panel(
                    "Starts",
                    "none",
                    ((increase(series.RESTARTS, "service_name", "1h"), "{{service_name}}"),),
                    "In an hour.",
                ),
            ),
        ),
    ),
)

_SHARDS = Board(
    "perdure-shards",
    "Perdure: hosts and shards",
    "Who is in the cluster, who owns which shards, how they move, and what history does in the background.",
    (
        Row(
            "Members",
            (
                Panel(
                    "Members",
                    "none",
                    ((level(series.MEMBERS, "member_role state", "max"), "{{member_role}} {{state}}"),),
                ),
                Panel(
                    "Version of the members",
                    "none",
                    ((level(series.MEMBERS_VERSION, "instance", "max"), "{{instance}}"),),
                    "Lines that stay apart: hosts with views that differ.",
                ),
                Panel(
                    "Changes of the members",
                    "none",
                    (
                        (increase(series.MEMBERSHIP_CHANGED, "instance", "5m"), "{{instance}}"),
                        (increase(series.LEASES_LOST, "instance", "5m"), "lease lost by {{instance}}"),
                    ),
                ),
            ),
        ),
        Row(
            "Shards",
            (
                Panel("Shards by owner", "none", ((level(series.NUMSHARDS, "instance", "max"), "{{instance}}"),)),
                Panel(
                    "Taken and lost",
                    "ops",
                    (
                        (rate(series.SHARD_CREATED), "taken"),
                        (rate(series.SHARD_REMOVED), "lost or released"),
                        (rate(series.SHARD_CLOSED), "closed"),
                    ),
                ),
                latency("Time to take a shard", "", series.SHARD_ACQUISITION),
                Panel(
                    "Hand-overs",
                    "none",
                    ((increase(series.SHARD_HANDOVERS, "operation outcome", "5m"), "{{operation}} {{outcome}}"),),
                ),
                Panel(
                    "Splits and merges",
                    "none",
                    ((increase(series.SHARDS_RESHAPED, "operation outcome", "5m"), "{{operation}} {{outcome}}"),),
                ),
                latency("Time to take all at start", "", series.ACQUIRE_SHARDS),
            ),
        ),
        Row(
            "Tasks of history",
            (
                Panel("Attempts", "ops", ((rate(series.TASK_REQUESTS, "operation"), "{{operation}}"),)),
                latency("Delay, all attempts included", "task_type", series.TASK_LATENCY_QUEUE),
                Panel(
                    "Failed attempts",
                    "ops",
                    (
                        (rate(series.TASK_ERRORS, "operation"), "{{operation}}"),
                        (rate(series.TASK_ERRORS_DISCARDED, "operation"), "given up: {{operation}}"),
                    ),
                ),
                latency("How late timers are", "task_category", series.SHARD_QUEUE_LAG),
                Panel(
                    "What the auditor repaired",
                    "none",
                    ((increase(series.AUDITOR_REPAIRS, "task_type", "1h"), "{{task_type}}"),),
                    "In an hour. Each is a defect.",
                ),
                Panel(
                    "What walks found",
                    "none",
                    (
                        (increase(series.ORPHAN_SEGMENTS, "", "1h"), "orphaned segments"),
                        (increase(series.OVERDUE_RUNS, "", "1h"), "overdue runs"),
                    ),
                    "In an hour.",
                ),
            ),
        ),
    ),
)

_QUEUES = Board(
    "perdure-task-queues",
    "Perdure: task queues",
    "Tasks and polls that wait for one another.",
    (
        Row(
            "Backlog",
            (
                Panel(
                    "Tasks that wait",
                    "none",
                    (
                        (
                            f"topk(20, {level(series.BACKLOG_COUNT, 'namespace taskqueue task_type')})",
                            "{{namespace}} {{taskqueue}} {{task_type}}",
                        ),
                    ),
                ),
                Panel(
                    "Age of the oldest",
                    "s",
                    (
                        (
                            f"topk(20, {level(series.BACKLOG_AGE, 'namespace taskqueue task_type', 'max')})",
                            "{{namespace}} {{taskqueue}} {{task_type}}",
                        ),
                    ),
                ),
                latency("From scheduled to started", "task_type", series.TASK_SCHEDULE_TO_START),
                Panel(
                    "Tasks nobody polls for",
                    "ops",
                    ((rate(series.NO_POLLER_TASKS, "namespace taskqueue"), "{{namespace}} {{taskqueue}}"),),
                ),
                Panel(
                    "Held back by a rate",
                    "ops",
                    ((rate(series.SYNC_THROTTLE, "namespace taskqueue"), "{{namespace}} {{taskqueue}}"),),
                ),
                Panel("Partitions in memory", "none", ((level(series.LOADED_PARTITIONS, "instance"), "{{instance}}"),)),
            ),
        ),
        Row(
            "Polls",
            (
                Panel(
                    "Polls by what they got",
                    "ops",
                    (
                        (rate(series.POLL_SUCCESS), "a task"),
                        (rate(series.POLL_SUCCESS_SYNC), "a task at once"),
                        (rate(series.POLL_TIMEOUTS), "nothing"),
                    ),
                ),
                Panel(
                    "Polls that wait",
                    "none",
                    (
                        (
                            level(series.PENDING_POLLS, "namespace taskqueue task_type"),
                            "{{namespace}} {{taskqueue}} {{task_type}}",
                        ),
                    ),
                ),
                Panel(
                    "Matches",
                    "ops",
                    (
                        (rate(series.LOCAL_MATCHES, "task_type"), "same partition, {{task_type}}"),
                        (rate(series.REMOTE_MATCHES, "task_type"), "another partition, {{task_type}}"),
                    ),
                ),
                latency("Tasks that came to a waiting poll", "operation", series.SYNC_MATCH),
                latency("Tasks that had to wait", "operation", series.ASYNC_MATCH),
            ),
        ),
        Row(
            "Workers",
            (
                Panel("Commands", "ops", ((rate(series.COMMAND, "commandType"), "{{commandType}}"),)),
                Panel(
                    "Failed workflow tasks", "ops", ((rate(series.FAILED_WORKFLOW_TASKS, "failure"), "{{failure}}"),)
                ),
                Panel(
                    "Who keeps the run in its cache",
                    "ops",
                    ((rate(series.STICKY_COMPLETIONS), "sticky"), (rate(series.UNSTICKY_COMPLETIONS), "not sticky")),
                ),
            ),
        ),
    ),
)

_STORE = Board(
    "perdure-store",
    "Perdure: store",
    "What the roles ask of the store, and how it answers.",
    (
        Row(
            "All stores",
            (
                Panel("Operations", "ops", ((rate(series.PERSISTENCE_REQUESTS, "operation"), "{{operation}}"),)),
                latency("Latency", "operation", series.PERSISTENCE_LATENCY),
                Panel(
                    "Errors",
                    "ops",
                    (
                        (
                            rate(series.PERSISTENCE_ERROR_WITH_TYPE, "operation error_type"),
                            "{{operation}} {{error_type}}",
                        ),
                        (rate(series.PERSISTENCE_ERRORS), "all"),
                    ),
                ),
                Panel(
                    "Operations on lists", "ops", ((rate(series.VISIBILITY_REQUESTS, "operation"), "{{operation}}"),)
                ),
                latency("Latency of lists", "operation", series.VISIBILITY_LATENCY),
                Panel(
                    "Errors of lists",
                    "ops",
                    (
                        (
                            rate(series.VISIBILITY_ERROR_WITH_TYPE, "operation error_type"),
                            "{{operation}} {{error_type}}",
                        ),
                        (rate(series.VISIBILITY_ERRORS), "all"),
                    ),
                ),
            ),
        ),
        Row(
            "Cache of executions",
            (
                Panel(
                    "Look-ups",
                    "ops",
                    (
                        (rate(series.CACHE_REQUESTS), "all"),
                        (rate(series.CACHE_MISS), "read from the store"),
                        (rate(series.CACHE_ERRORS), "failed"),
                    ),
                ),
                Panel(
                    "Bytes",
                    "bytes",
                    (
                        (level(series.CACHE_USAGE, "instance"), "held by {{instance}}"),
                        (level(series.CACHE_SIZE, "instance"), "room of {{instance}}"),
                    ),
                ),
                latency("Time of a miss", "", series.CACHE_LATENCY),
            ),
        ),
        Row(
            "Cassandra",
            (
                Panel("Statements", "ops", ((rate(series.CASSANDRA_REQUESTS, "kind"), "{{kind}}"),)),
                Panel(
                    "Trouble",
                    "ops",
                    (
                        (rate(series.CASSANDRA_ERRORS, "kind"), "failed: {{kind}}"),
                        (rate(series.CASSANDRA_UNKNOWN), "in doubt"),
                        (rate(series.CASSANDRA_NOT_APPLIED), "condition not met"),
                    ),
                ),
                Panel(
                    "Nodes, and statements under way",
                    "none",
                    (
                        (level(series.CASSANDRA_NODES, "", "min", state="up"), "up"),
                        (level(series.CASSANDRA_NODES, "", "max", state="down"), "down"),
                        (level(series.CASSANDRA_IN_FLIGHT, "instance"), "under way from {{instance}}"),
                    ),
                ),
            ),
        ),
    ),
)

_ERRORS = Board(
    "perdure-errors",
    "Perdure: errors",
    "What went wrong, whose fault it was, and what can't be used.",
    (
        Row(
            "Calls",
            (
                Panel(
                    "Errors by kind",
                    "reqps",
                    (
                        (
                            rate(series.SERVICE_ERROR_WITH_TYPE, "error_type service_name"),
                            "{{service_name}} {{error_type}}",
                        ),
                    ),
                ),
                Panel(
                    "Defects",
                    "reqps",
                    ((rate(series.SERVICE_PANICS, "operation service_name"), "{{service_name}} {{operation}}"),),
                ),
                Panel(
                    "Errors between roles",
                    "reqps",
                    (
                        (
                            rate(series.CLIENT_ERRORS, "error_type service_name service_role"),
                            "{{service_name}} to {{service_role}}: {{error_type}}",
                        ),
                    ),
                ),
            ),
        ),
        Row(
            "Workflows and activities",
            (
                Panel(
                    "Timeouts",
                    "ops",
                    (
                        (rate(series.SCHEDULE_TO_START_TIMEOUT), "scheduled to started"),
                        (rate(series.START_TO_CLOSE_TIMEOUT), "started to closed"),
                        (rate(series.SCHEDULE_TO_CLOSE_TIMEOUT), "scheduled to closed"),
                        (rate(series.HEARTBEAT_TIMEOUT), "heartbeat"),
                    ),
                ),
                Panel(
                    "Failed workflow tasks", "ops", ((rate(series.FAILED_WORKFLOW_TASKS, "failure"), "{{failure}}"),)
                ),
                Panel("Callbacks", "ops", ((rate(series.CALLBACK_REQUESTS, "outcome"), "{{outcome}}"),)),
            ),
        ),
        Row(
            "Security and configuration",
            (
                Panel(
                    "Calls without permission",
                    "reqps",
                    ((rate(series.SERVICE_UNAUTHORIZED, "operation"), "{{operation}}"),),
                ),
                Panel(
                    "Keys and audit log",
                    "none",
                    (
                        (increase(series.JWKS_REFRESHES, "outcome", "5m"), "keys: {{outcome}}"),
                        (increase(series.AUDIT_RECORDS, "outcome", "5m"), "audit: {{outcome}}"),
                    ),
                ),
                Panel(
                    "Certificates expire in",
                    "s",
                    ((level(series.CERTIFICATE_EXPIRY, "certificate", "min"), "{{certificate}}"),),
                ),
                Panel(
                    "Values of the dynamic configuration that can't be used",
                    "none",
                    ((level(series.DYNAMIC_CONFIG_FAULTS, "instance"), "{{instance}}"),),
                ),
                latency("Time to decide on a call", "", series.AUTHORIZATION_LATENCY),
            ),
        ),
    ),
)

BOARDS = (_OVERVIEW, _SHARDS, _QUEUES, _STORE, _ERRORS)
