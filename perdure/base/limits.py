"""Every limit in one place; the defaults are the reference's. Enforced before memory is spent.

Sizes are bytes, times nanoseconds. Who uses limits asks a `LimitsSource` each time, for the namespace it works for:
what operators change applies from the next call on. A `Limits` is its own source, the same for everybody.
"""

from typing import Protocol

import msgspec

from perdure.base.clock import SECOND_NS

KIB = 1 << 10
MIB = 1 << 20


class RetryDefaults(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry policy leaves out. The longest interval is the initial one times `maximum_coefficient`;
    `maximum_attempts` 0 = as many as it takes.
    """

    initial_interval_ns: int = SECOND_NS
    maximum_coefficient: float = 100.0
    backoff_coefficient: float = 2.0
    maximum_attempts: int = 0


class AddressRule(msgspec.Struct, frozen=True):
    """Hosts that callbacks may go to: `host:port` with `*` for anything; `insecure`: also by http."""

    pattern: str
    insecure: bool = False


class QueueRule(msgspec.Struct, frozen=True):
    """Whether something is in force at a task queue of this name and type (Workflow, Activity); "" = any."""

    value: bool
    task_queue: str = ""
    task_type: str = ""


class LimitsSource(Protocol):
    """Who knows the limits in force. Asking is one look into a table; an answer is not to be kept over an await."""

    def of(self, namespace: str = "", task_queue: str = "", task_type: str = "") -> "Limits":
        """Those of a namespace, by name, and of a task queue in it; "" = those of the whole process. `task_type`:
        Workflow, Activity or "".
        """
        ...


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one namespace may use. An instance is part of every decision's context."""

    id_bytes_max: int = 1000
    blob_bytes_max: int = 2 * MIB
    memo_bytes_max: int = 2 * MIB
    transaction_bytes_max: int = 4 * MIB
    history_bytes_max: int = 50 * MIB
    history_bytes_suggest_continue: int = 4 * MIB
    history_events_max: int = 51_200
    history_events_suggest_continue: int = 4_096
    history_bytes_warn: int = 10 * MIB
    history_events_warn: int = 10_240
    state_bytes_max: int = 8 * MIB
    state_bytes_warn: int = MIB
    activity_failure_bytes_max: int = 4 * KIB
    search_attributes_max: int = 100
    search_attribute_bytes_max: int = 2 * KIB
    search_attributes_bytes_max: int = 40 * KIB
    pending_activities_max: int = 2_000
    pending_children_max: int = 2_000
    pending_signals_max: int = 2_000
    pending_cancel_requests_max: int = 2_000
    signals_max: int = 10_000
    buffered_events_max: int = 100
    buffered_events_bytes_max: int = 2 * MIB
    buffered_queries_max: int = 1
    updates_in_flight_max: int = 10  # of one run, not completed yet; 0 = any number
    updates_in_flight_bytes_max: int = 20 * MIB  # of their requests; 0 = any
    updates_max: int = 2_000  # of one run, rejected ones not counted; 0 = any
    updates_suggest_continue_ratio: float = 0.9
    discarded_events_max: int = 10  # that may be shown again and again, by tasks whose updates were all rejected
    links_max: int = 10
    callbacks_max: int = 2_000
    callback_url_bytes_max: int = 1_000
    callback_header_bytes_max: int = 8 * KIB
    callback_addresses: tuple[AddressRule, ...] = ()
    callback_timeout_ns: int = 10 * SECOND_NS
    callback_retry_ns: int = SECOND_NS
    callback_retry_ns_max: int = 3600 * SECOND_NS
    history_page_max: int = 256
    list_page_max: int = 1_000
    list_filter_bytes_max: int = 32 * KIB
    list_filter_conditions_max: int = 500
    workflow_task_timeout_ns: int = 10 * SECOND_NS
    workflow_task_timeout_ns_max: int = 120 * SECOND_NS
    sticky_poller_ns: int = 10 * SECOND_NS
    long_poll_ns: int = 20 * SECOND_NS
    matching_poll_ns: int = 60 * SECOND_NS
    continue_as_new_interval_ns: int = SECOND_NS  # a run that is followed sooner makes its successor wait
    activity_retry: RetryDefaults = RetryDefaults()
    workflow_retry: RetryDefaults = RetryDefaults()
    updates: bool = True  # whether callers may send any
    updates_async_accepted: bool = True  # and wait for their acceptance alone
    worker_heartbeats: bool = True
    worker_lists: bool = True
    eager_activities: bool = True
    eager_starts: bool = True
    time_skipping: bool = False  # of executions that ask for it
    time_skips_max: int = 200  # without new configuration, where that gives no number
    workflow_pause: bool = False
    fairness: tuple[QueueRule, ...] = ()  # whether fairness keys count; of those that match a queue the last one holds
    reported_problems_min: int = 5  # workflow tasks that fail in a row until lists say so; 0 = never
    waiting_polls_max: int = 1_200
    host_rps: int = 2_400
    # Of other hosts' calls to one history, to one matching host; 0 = any number. Not the reference's 3,000 and 1,200:
    # a host of its is many cores, whose store is spared; one of ours is a core, bounded by what is in memory, and
    # takes several times as many where machines are fast.
    history_rps: int = 0
    matching_rps: int = 0
    namespace_rps: int = 2_400
    visibility_rps: int = 10
    burst_ratio: float = 2.0
    # Over all frontends, each of which has its part, in the place of those of one; 0 = there is none.
    global_waiting_polls_max: int = 0
    global_rps: int = 0
    global_namespace_rps: int = 0
    global_visibility_rps: int = 0

    def of(self, namespace: str = "", task_queue: str = "", task_type: str = "") -> "Limits":
        """Itself."""
        return self

    def is_fair(self, task_queue: str, task_type: str) -> bool:
        """Whether fairness keys count at a task queue. `task_type`: Workflow, Activity."""
        for rule in reversed(self.fairness):
            if rule.task_queue in ("", task_queue) and rule.task_type in ("", task_type):
                return rule.value
        return False
