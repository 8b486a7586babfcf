"""Alert rules: what somebody should look at, written by metric definitions.

Invariant: an alert says what it means and where to look. Rates are over five minutes, so that one scrape that was
missed neither raises nor hides one.
"""

from typing import Any

import msgspec

from perdure.base import series
from perdure.server.queries import increase, level, quantile, rate

_WINDOW = "5m"
_DAY_S = 24 * 3600
_SHARDS = level(series.NUMSHARDS)
_STARTS = rate(series.SERVICE_REQUESTS, window=_WINDOW, service_name="frontend", operation="StartWorkflowExecution")
_VIEWS = level(series.MEMBERS_VERSION, "instance", "max")
_FORMER_VIEWS = level(series.MEMBERS_VERSION, "instance", "max", ago="2m")
_CHANGES = increase(series.MEMBERSHIP_CHANGED, "instance", "10m")
# Each in as many roles as it has.
_MEMBERS = level(series.MEMBERS, "instance")
_SERVING = level(series.HOST_HEALTH, "service_name instance", "max")


class Alert(msgspec.Struct, frozen=True):
    """`query`: what it is raised for, once it has been so for `wait`. `severity`: critical = callers notice."""

    name: str
    query: str
    wait: str
    severity: str
    summary: str
    description: str


def _ratio(errors: str, all_: str, most: float) -> str:
    return f"{errors} / ({all_} > 0) > {most}"


_CLUSTER = (
    Alert(
        "PerdureNoShardOwner",
        f"{_SHARDS} == 0 or absent({_SHARDS})",
        "1m",
        "critical",
        "No process owns a shard.",
        "Nobody decides anything. Look at the logs of history, and whether the store answers.",
    ),
    Alert(
        "PerdureNotServing",
        f"{_SERVING} == 2",
        "5m",
        "warning",
        "{{ $labels.service_name }} at {{ $labels.instance }} doesn't serve.",
        "It is starting, stopping, or can't reach the store; history serves once it has its shards.",
    ),
    Alert(
        "PerdureHostsLeave",
        # A host that is restarted leaves, is gone, comes and serves: four changes.
        f"(max({_CHANGES}) > 20 and max({_CHANGES}) > 6 * max({_MEMBERS})) "
        f"or {increase(series.LEASES_LOST, window='10m')} > 0",
        "0m",
        "warning",
        "Hosts leave the cluster, or lose their leases.",
        "In ten minutes more hosts came and went than by a rolling restart, or one that ran lost its lease: it was "
        "stopped, overloaded, or couldn't reach the store.",
    ),
    Alert(
        "PerdureViewsDiffer",
        # Against the newest one of then: while hosts come and go, those that were scraped last know more.
        f"max({_FORMER_VIEWS}) - min({_VIEWS}) > 0",
        "2m",
        "warning",
        "Hosts see different members.",
        "A host doesn't read the members any more. Calls go astray and are followed; shards stay with who has them.",
    ),
    Alert(
        "PerdureShardsMove",
        # Each of them four times and more in a quarter of an hour; a rolling restart moves each about once.
        f"{increase(series.SHARD_REMOVED, window='15m')} > 4 * {_SHARDS}",
        "5m",
        "warning",
        "Shards move all the time.",
        "Owners lose their shards again and again: leases that aren't renewed in time, or a store that doesn't answer.",
    ),
    Alert(
        "PerdureAuditorRepairs",
        f"{increase(series.AUDITOR_REPAIRS, 'task_type', '1h')} > 0",
        "0m",
        "warning",
        "The auditor put back {{ $labels.task_type }}s that were not indexed.",
        "They are served again, but each is a defect of ours: please report the log lines.",
    ),
)  # fmt: skip

_CALLS = (
    Alert(
        "PerdureErrors",
        _ratio(
            rate(series.SERVICE_ERRORS, "service_name", _WINDOW),
            rate(series.SERVICE_REQUESTS, "service_name", _WINDOW),
            0.01,
        ),
        "5m",
        "critical",
        "More than 1 % of calls of {{ $labels.service_name }} fail unexpectedly.",
        "See the dashboard of errors for their kinds.",
    ),
    Alert(
        "PerdureDefects",
        f"{increase(series.SERVICE_PANICS, 'service_name', _WINDOW)} > 0",
        "0m",
        "warning",
        "Calls of {{ $labels.service_name }} fail by a defect.",
        "Each has a log line with its stack: please report it.",
    ),
    Alert(
        "PerdureSlowStarts",
        f"{_STARTS} > 0 and "
        + quantile(
            0.99, series.SERVICE_LATENCY, "", _WINDOW, service_name="frontend", operation="StartWorkflowExecution"
        )
        + " > 1",
        "10m",
        "warning",
        "Starts of workflows take longer than a second.",
        "One in a hundred does. See the latency of the store first.",
    ),
    Alert(
        "PerdureLimits",
        f"{rate(series.SERVICE_ERRORS_RESOURCE_EXHAUSTED, 'namespace resource_exhausted_cause', _WINDOW)} > 1",
        "10m",
        "warning",
        "Calls of namespace {{ $labels.namespace }} meet a limit: {{ $labels.resource_exhausted_cause }}.",
        "SDKs try again, more slowly. Raise the limit, or find out who calls so often.",
    ),
    Alert(
        "PerdureCallsBetweenRoles",
        _ratio(
            rate(series.CLIENT_ERRORS, "service_name service_role", _WINDOW, error_type="serviceerror_Unavailable"),
            rate(series.CLIENT_REQUESTS, "service_name service_role", _WINDOW),
            0.05,
        ),
        "5m",
        "warning",
        "More than 5 % of calls from {{ $labels.service_name }} to {{ $labels.service_role }} find nobody.",
        "Hosts are gone and not replaced, or the network between roles is cut.",
    ),
)

_QUEUES = (
    Alert(
        "PerdureBacklogAge",
        f"{level(series.BACKLOG_AGE, 'namespace taskqueue task_type', 'max')} > 300",
        "10m",
        "warning",
        "Tasks of queue {{ $labels.taskqueue }} in {{ $labels.namespace }} wait for longer than five minutes.",
        "There are too few workers, none at all, or a rate holds them back.",
    ),
    Alert(
        "PerdureLateTasks",
        f"{quantile(0.99, series.TASK_LATENCY_QUEUE, 'task_type', _WINDOW)} > 30",
        "10m",
        "warning",
        "Timers and offers ({{ $labels.task_type }}) are half a minute late.",
        "History has more to do than it can, or what it calls fails: see failed attempts.",
    ),
)

_STORE = (
    Alert(
        "PerdureStoreErrors",
        _ratio(rate(series.PERSISTENCE_ERRORS, "", _WINDOW), rate(series.PERSISTENCE_REQUESTS, "", _WINDOW), 0.01),
        "5m",
        "critical",
        "More than 1 % of operations of the store fail.",
        "See the dashboard of the store for which, and the store itself.",
    ),
    Alert(
        "PerdureSlowStore",
        f"{quantile(0.99, series.PERSISTENCE_LATENCY, 'operation', _WINDOW, operation='AppendGroup')} > 0.5",
        "10m",
        "warning",
        "Commits of the log take longer than half a second.",
        "One in a hundred does. Every transition waits for one.",
    ),
    Alert(
        "PerdureCassandraNodesDown",
        f"{level(series.CASSANDRA_NODES, 'state', 'max', state='down')} > 0",
        "5m",
        "warning",
        "Nodes of Cassandra are down.",
        "With two of three replicas the cluster serves; with one it doesn't.",
    ),
)

_CONFIGURATION = (
    Alert(
        "PerdureDynamicConfig",
        f"{level(series.DYNAMIC_CONFIG_FAULTS, 'instance', 'max')} > 0",
        "1m",
        "warning",
        "{{ $labels.instance }} can't use a value of the dynamic configuration.",
        "The former values hold. Its log names the key and what was expected.",
    ),
    Alert(
        "PerdureCertificateExpires",
        f"{level(series.CERTIFICATE_EXPIRY, 'certificate', 'min')} < {7 * _DAY_S}",
        "10m",
        "warning",
        "The certificate of {{ $labels.certificate }} expires within a week.",
        "Put a new one in the place of its file; it is taken without a restart.",
    ),
    Alert(
        "PerdureKeys",
        f"{increase(series.JWKS_REFRESHES, 'instance', '30m', outcome='failure')} > 0 "
        f"unless {increase(series.JWKS_REFRESHES, 'instance', '30m', outcome='success')} > 0",
        "5m",
        "critical",
        "{{ $labels.instance }} can't fetch the keys that tokens are checked by.",
        "Those that are known go on; tokens of new keys are refused.",
    ),
    Alert(
        "PerdureAuditLost",
        f"{increase(series.AUDIT_RECORDS, window=_WINDOW, outcome='failure')} > 0",
        "0m",
        "critical",
        "Lines of the audit log are lost.",
        "Its file or disk can't be written.",
    ),
)  # fmt: skip

GROUPS = {
    "perdure-cluster": _CLUSTER,
    "perdure-calls": _CALLS,
    "perdure-queues": _QUEUES,
    "perdure-store": _STORE,
    "perdure-configuration": _CONFIGURATION,
}


def groups(job: str) -> list[dict[str, Any]]:
    """The groups of rules as Prometheus has them. `job`: a regular expression."""
    return [{"name": name, "rules": [_rule(alert, job) for alert in alerts]} for name, alerts in GROUPS.items()]


def _rule(alert: Alert, job: str) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.query.replace("$job", job),
        "for": alert.wait,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }
