"""Which dynamic configuration keys there are: those that self-hosters know, where the thing they configure exists here.

Invariant: every key sets a field that something reads; the defaults are the fields' own, which are the reference's
but where the field says why not. What people set elsewhere and is not here is listed, with the reason.
"""

import difflib
from enum import StrEnum

import msgspec

from perdure.base.limits import MIB
from perdure.server.dynamic_readers import (
    Read,
    addresses,
    count,
    duration_ms,
    duration_ns,
    flag,
    number,
    pause_ns,
    retry,
    up_to,
    whole,
)


class Scope(StrEnum):
    """What a key's values may be constrained to."""

    GLOBAL = "the server"
    NAMESPACE = "a namespace"
    QUEUE = "a namespace, a task queue"


GLOBAL, NAMESPACE, QUEUE = Scope


class Key(msgspec.Struct, frozen=True):
    """A key. `part`, `field`: what it sets in `Settings`. `is_live`: changes apply at once, else at a start.
    `is_gathered`: its field has what holds for each task queue, for those who ask for a namespace once.
    """

    name: str
    scope: Scope
    part: str
    field: str
    read: Read
    is_live: bool = True
    is_gathered: bool = False


_ALL = (
    Key("limit.maxIDLength", GLOBAL, "limits", "id_bytes_max", up_to(10_000)),
    Key("limit.blobSize.error", NAMESPACE, "limits", "blob_bytes_max", whole),
    Key("limit.memoSize.error", NAMESPACE, "limits", "memo_bytes_max", up_to(8 * MIB)),
    Key("limit.historySize.error", NAMESPACE, "limits", "history_bytes_max", whole),
    Key("limit.historySize.suggestContinueAsNew", NAMESPACE, "limits", "history_bytes_suggest_continue", whole),
    Key("limit.historyCount.error", NAMESPACE, "limits", "history_events_max", whole),
    Key("limit.historyCount.suggestContinueAsNew", NAMESPACE, "limits", "history_events_suggest_continue", whole),
    Key("limit.historySize.warn", NAMESPACE, "limits", "history_bytes_warn", whole),
    Key("limit.historyCount.warn", NAMESPACE, "limits", "history_events_warn", whole),
    Key("limit.mutableStateSize.error", NAMESPACE, "limits", "state_bytes_max", up_to(12 * MIB)),
    Key("limit.mutableStateSize.warn", NAMESPACE, "limits", "state_bytes_warn", whole),
    Key("limit.numPendingActivities.error", NAMESPACE, "limits", "pending_activities_max", whole),
    Key("limit.numPendingChildExecutions.error", NAMESPACE, "limits", "pending_children_max", whole),
    Key("limit.numPendingSignals.error", NAMESPACE, "limits", "pending_signals_max", whole),
    Key("limit.numPendingCancelRequests.error", NAMESPACE, "limits", "pending_cancel_requests_max", whole),
    Key("system.transactionSizeLimit", GLOBAL, "limits", "transaction_bytes_max", up_to(8 * MIB)),
    Key("system.enableActivityEagerExecution", NAMESPACE, "limits", "eager_activities", flag),
    Key("system.enableEagerWorkflowStart", NAMESPACE, "limits", "eager_starts", flag),
    Key("history.maximumSignalsPerExecution", NAMESPACE, "limits", "signals_max", whole),
    Key("history.maximumBufferedEventsBatch", NAMESPACE, "limits", "buffered_events_max", whole),
    Key("history.maximumBufferedEventsSizeInBytes", NAMESPACE, "limits", "buffered_events_bytes_max", whole),
    Key("history.maxBufferedQueryCount", GLOBAL, "limits", "buffered_queries_max", whole),
    Key("history.defaultWorkflowTaskTimeout", NAMESPACE, "limits", "workflow_task_timeout_ns", duration_ns),
    Key("history.longPollExpirationInterval", NAMESPACE, "limits", "long_poll_ns", duration_ns),
    Key("history.workflowIdReuseMinimalInterval", NAMESPACE, "limits", "continue_as_new_interval_ns", pause_ns),
    Key("history.defaultActivityRetryPolicy", NAMESPACE, "limits", "activity_retry", retry),
    Key("history.defaultWorkflowRetryPolicy", NAMESPACE, "limits", "workflow_retry", retry),
    Key("history.hostLevelCacheMaxSizeBytes", GLOBAL, "", "cache_bytes_max", whole, is_live=False),
    Key("matching.longPollExpirationInterval", QUEUE, "limits", "matching_poll_ns", duration_ns),
    Key("matching.enableFairness", QUEUE, "limits", "fairness", flag, is_gathered=True),
    Key("frontend.workflowTimeSkippingEnabled", NAMESPACE, "limits", "time_skipping", flag),
    Key("frontend.workflowTimeSkippingMaxSkipPerSession", NAMESPACE, "limits", "time_skips_max", whole),
    Key("frontend.rps", GLOBAL, "limits", "host_rps", whole),
    Key("history.rps", GLOBAL, "limits", "history_rps", count),
    Key("matching.rps", GLOBAL, "limits", "matching_rps", count),
    Key("frontend.namespaceRPS", NAMESPACE, "limits", "namespace_rps", whole),
    Key("frontend.namespaceRPS.visibility", NAMESPACE, "limits", "visibility_rps", whole),
    Key("frontend.namespaceBurstRatio", NAMESPACE, "limits", "burst_ratio", number),
    Key("frontend.namespaceCount", NAMESPACE, "limits", "waiting_polls_max", whole),
    Key("frontend.visibilityMaxPageSize", NAMESPACE, "limits", "list_page_max", whole),
    Key("frontend.historyMaxPageSize", NAMESPACE, "limits", "history_page_max", whole),
    Key("frontend.searchAttributesNumberOfKeysLimit", NAMESPACE, "limits", "search_attributes_max", whole),
    Key("frontend.searchAttributesSizeOfValueLimit", NAMESPACE, "limits", "search_attribute_bytes_max", whole),
    Key("frontend.searchAttributesTotalSizeLimit", NAMESPACE, "limits", "search_attributes_bytes_max", whole),
    Key("callback.maxPerExecution", NAMESPACE, "limits", "callbacks_max", whole),
    Key("frontend.callbackURLMaxLength", NAMESPACE, "limits", "callback_url_bytes_max", whole),
    Key("frontend.callbackHeaderMaxLength", NAMESPACE, "limits", "callback_header_bytes_max", whole),
    Key("callback.allowedAddresses", NAMESPACE, "limits", "callback_addresses", addresses),
    Key("callback.request.timeout", NAMESPACE, "limits", "callback_timeout_ns", duration_ns),
    Key("callback.retryPolicy.initialInterval", GLOBAL, "limits", "callback_retry_ns", duration_ns),
    Key("callback.retryPolicy.maxInterval", GLOBAL, "limits", "callback_retry_ns_max", duration_ns),
    Key("history.maxInFlightUpdates", NAMESPACE, "limits", "updates_in_flight_max", count),
    Key("history.maxInFlightUpdatePayloads", NAMESPACE, "limits", "updates_in_flight_bytes_max", count),
    Key("history.maxTotalUpdates", NAMESPACE, "limits", "updates_max", count),
    Key(
        "history.maxTotalUpdates.suggestContinueAsNewThreshold",
        NAMESPACE,
        "limits",
        "updates_suggest_continue_ratio",
        number,
    ),
    Key("history.discardSpeculativeWorkflowTaskMaximumEventsCount", NAMESPACE, "limits", "discarded_events_max", count),
    Key("frontend.maxLinksPerRequest", NAMESPACE, "limits", "links_max", whole),
    Key(
        "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute",
        NAMESPACE,
        "limits",
        "reported_problems_min",
        count,
    ),
    Key("frontend.workflowPauseEnabled", NAMESPACE, "limits", "workflow_pause", flag),
    Key("frontend.keepAliveMinTime", GLOBAL, "listener", "ping_interval_ms_min", duration_ms, is_live=False),
    Key("frontend.keepAliveMaxConnectionIdle", GLOBAL, "listener", "connection_idle_ms", duration_ms, is_live=False),
    Key("frontend.keepAliveMaxConnectionAge", GLOBAL, "listener", "connection_age_ms", duration_ms, is_live=False),
    Key(
        "frontend.keepAliveMaxConnectionAgeGrace", GLOBAL, "listener", "connection_grace_ms", duration_ms, is_live=False
    ),
    Key("frontend.keepAliveTime", GLOBAL, "listener", "keepalive_ms", duration_ms, is_live=False),
    Key("frontend.keepAliveTimeout", GLOBAL, "listener", "keepalive_timeout_ms", duration_ms, is_live=False),
    Key("frontend.enableUpdateWorkflowExecution", NAMESPACE, "limits", "updates", flag),
    Key("frontend.enableUpdateWorkflowExecutionAsyncAccepted", NAMESPACE, "limits", "updates_async_accepted", flag),
    Key("frontend.WorkerHeartbeatsEnabled", NAMESPACE, "limits", "worker_heartbeats", flag),
    Key("frontend.ListWorkersEnabled", NAMESPACE, "limits", "worker_lists", flag),
    Key("frontend.globalRPS", GLOBAL, "limits", "global_rps", count),
    Key("frontend.globalNamespaceRPS", NAMESPACE, "limits", "global_namespace_rps", count),
    Key("frontend.globalNamespaceRPS.visibility", NAMESPACE, "limits", "global_visibility_rps", count),
    Key("frontend.globalNamespaceCount", NAMESPACE, "limits", "global_waiting_polls_max", count),
    Key("frontend.shutdownDrainDuration", GLOBAL, "", "shutdown_pause_ns", pause_ns),
)
# By the name in lower case.
KEYS: dict[str, Key] = {key.name.lower(): key for key in _ALL}

_NO_STORE_RATES = "requests to the store are not limited by rate: bytes in memory and waiting calls are bounded instead"
_NO_VERSIONS = "worker versioning is not there yet"
_INNER = "an internal switch of the reference"
_NO_WORKER = "there are no workers of the server's own"
# What people set elsewhere, and why it has no effect here.
ABSENT: dict[str, str] = {
    "system.forceSearchAttributesCacheRefreshOnRead": "search attributes are read with their namespace, within seconds",
    "history.persistenceMaxQPS": _NO_STORE_RATES,
    "frontend.persistenceMaxQPS": _NO_STORE_RATES,
    "matching.persistenceMaxQPS": _NO_STORE_RATES,
    "worker.persistenceMaxQPS": _NO_STORE_RATES,
    "history.persistenceGlobalMaxQPS": _NO_STORE_RATES,
    "history.persistencePerShardNamespaceMaxQPS": _NO_STORE_RATES,
    "frontend.persistenceNamespaceMaxQPS": _NO_STORE_RATES,
    "system.visibilityPersistenceMaxReadQPS": _NO_STORE_RATES,
    "system.visibilityPersistenceMaxWriteQPS": _NO_STORE_RATES,
    "frontend.workerVersioningDataAPIs": _NO_VERSIONS,
    "frontend.workerVersioningWorkflowAPIs": _NO_VERSIONS,
    "frontend.workerVersioningRuleAPIs": _NO_VERSIONS,
    "system.enableDeploymentVersions": _NO_VERSIONS,
    "matching.numTaskqueueReadPartitions": "task queues have as many partitions as their load asks for",
    "matching.numTaskqueueWritePartitions": "task queues have as many partitions as their load asks for",
    "matching.priorityLevels": "five",
    "history.enableCHASMCallbacks": _INNER,
    "history.enableChasm": _INNER,
    "history.enableTransitionHistory": _INNER,
    "frontend.enableCancelWorkerPollsOnShutdown": "polls of a worker that shuts down always end",
    "system.secondaryVisibilityWritingMode": "there is one visibility store",
    "system.enableReadFromSecondaryVisibility": "there is one visibility store",
    "limit.blobSize.warn": "sizes are in metrics; nothing is logged below the limit",
    "limit.memoSize.warn": "sizes are in metrics; nothing is logged below the limit",
    "frontend.keepAlivePermitWithoutStream": "pings without a call are always permitted",
    "frontend.enableServerVersionCheck": "no version is asked for anywhere",
    "frontend.throttledLogRPS": "no log is written by rate",
    "history.hostLevelCacheMaxSize": "the cache is bounded in bytes: history.hostLevelCacheMaxSizeBytes",
    "history.cacheSizeBasedLimit": "the cache is bounded in bytes: history.hostLevelCacheMaxSizeBytes",
    "worker.perNamespaceWorkerCount": _NO_WORKER,
    "worker.schedulerNamespaceStartWorkflowRPS": _NO_WORKER,
}
_ABSENT = {name.lower(): why for name, why in ABSENT.items()}


def without_effect(name: str) -> str:
    """Why a key that is none of `KEYS` has no effect, for people."""
    why = _ABSENT.get(name.lower())
    if why is not None:
        return f"has no effect here: {why}"
    close = difflib.get_close_matches(name.lower(), KEYS, 1, 0.8)
    meant = f"; did you mean {KEYS[close[0]].name}?" if close else ""
    return f"not known here, and without effect{meant}"
