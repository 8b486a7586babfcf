"""Every statement of this adapter but the lists' filters, by what it may do to which tables.

Invariant: `CONDITIONAL` tables are changed by statements that compare first, `STAMPED` tables by statements where the
highest stamp (of a run's list row: version) wins, and no table is in both. A test reads these lists.
"""

_SEGMENT = "shard = :shard AND opened_epoch = :opened_epoch AND number = :number"
_OPEN_AT = f"{_SEGMENT} AND epoch = :epoch AND last = :last AND next IS NULL"
_BY_SEGMENT = "ORDER BY shard, opened_epoch, number LIMIT :limit"
_QUEUE = "namespace_id = :namespace_id AND queue = :queue AND kind = :kind AND queue_version = :queue_version"
_ORDER = "priority, pass, scheduled_ns, run_id, event_id, attempt, task_stamp"
_ORDER_AFTER = ":priority, :pass, :scheduled_ns, :run_id, :event_id, :attempt, :task_stamp"
_TIMER = "due_ns, namespace_id, workflow_id, run_id, kind, event_id, attempt, task_stamp"
_TIMER_AFTER = ":due_ns, :namespace_id, :workflow_id, :run_id, :kind, :event_id, :attempt, :task_stamp"
_SLOTS = "slot >= :slot_first AND slot < :slot_end"
_NEWER = (
    "excluded.stamp_us > {0}.stamp_us OR (excluded.stamp_us = {0}.stamp_us "
    "AND ({0}.gone_us IS NULL OR excluded.gone_us IS NOT NULL))"
)
_ALIVE = "NOT EXISTS (SELECT 1 FROM tombstone AS t WHERE t.row = :row AND t.stamp_us >= :stamp_us)"

CONDITIONAL = {
    "open_segment": (
        "INSERT INTO log_segment (shard, opened_epoch, number, epoch, last, ceiling_us, next, end_n) "
        "VALUES (:shard, :opened_epoch, :number, :epoch, :last, :ceiling_us, :next, :end_n) ON CONFLICT DO NOTHING"
    ),
    "append_group": (
        "INSERT INTO log_group (shard, opened_epoch, number, n, ceiling_us, body) "
        f"SELECT shard, opened_epoch, number, :n, :ceiling_us, :body FROM log_segment WHERE {_OPEN_AT}"
    ),
    "append_header": f"UPDATE log_segment SET last = :n, ceiling_us = :ceiling_us WHERE {_OPEN_AT}",
    "link": f"UPDATE log_segment SET next = :next, end_n = last, epoch = :new_epoch WHERE {_OPEN_AT}",
    "initialise_shard": (
        "INSERT INTO shard (shard, first_slot, version, body) VALUES (:shard, :first_slot, :version, :body) "
        "ON CONFLICT DO NOTHING"
    ),
    "replace_shard": (
        "UPDATE shard SET first_slot = :first_slot, version = :version, body = :body "
        "WHERE shard = :shard AND version = :version - 1"
    ),
    "create_document": (
        "INSERT INTO document (kind, key, version, body) VALUES (:kind, :key, :version, :body) ON CONFLICT DO NOTHING"
    ),
    "replace_document": (
        "UPDATE document SET version = :version, body = :body "
        "WHERE kind = :kind AND key = :key AND version = :version - 1"
    ),
}

# The id of a segment, or of a shard, is never used again, so its end needs no condition.
FINAL = {
    "drop_shard": "DELETE FROM shard WHERE shard = ?",
    "drop_groups": f"DELETE FROM log_group WHERE {_SEGMENT}",
    "drop_header": f"DELETE FROM log_segment WHERE {_SEGMENT}",
}

STAMPED = {
    "snapshot": (
        "INSERT INTO snapshot (namespace_id, workflow_id, run_id, stamp_us, gone_us, applied, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace_id, workflow_id, run_id) DO UPDATE SET "
        "stamp_us = excluded.stamp_us, gone_us = excluded.gone_us, applied = excluded.applied, body = excluded.body "
        f"WHERE {_NEWER.format('snapshot')}"
    ),
    "pointer": (
        "INSERT INTO pointer (namespace_id, workflow_id, stamp_us, gone_us, applied, body) "
        "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (namespace_id, workflow_id) DO UPDATE SET "
        "stamp_us = excluded.stamp_us, gone_us = excluded.gone_us, applied = excluded.applied, body = excluded.body "
        f"WHERE {_NEWER.format('pointer')}"
    ),
    "node": (
        "INSERT INTO node (branch, first, end_id, stamp_us, body) "
        f"SELECT :branch, :first, :end_id, :stamp_us, :body WHERE {_ALIVE} "
        "ON CONFLICT (branch, first) DO UPDATE SET "
        "end_id = excluded.end_id, stamp_us = excluded.stamp_us, body = excluded.body "
        "WHERE excluded.stamp_us >= node.stamp_us"
    ),
    "drop_branch": "DELETE FROM node WHERE branch = ? AND stamp_us <= ?",
    "tombstone": (
        "INSERT INTO tombstone (row, stamp_us, gone_us) VALUES (:row, :stamp_us, :gone_us) "
        "ON CONFLICT (row) DO UPDATE SET stamp_us = excluded.stamp_us, gone_us = excluded.gone_us "
        "WHERE excluded.stamp_us > tombstone.stamp_us"
    ),
    "add_offer": (
        f"INSERT INTO offer (namespace_id, queue, kind, queue_version, {_ORDER}, slot, stamp_us, body) "
        f"SELECT :namespace_id, :queue, :kind, :queue_version, {_ORDER_AFTER}, :slot, :stamp_us, :body WHERE {_ALIVE} "
        f"ON CONFLICT (namespace_id, queue, kind, queue_version, {_ORDER}) DO UPDATE SET "
        "stamp_us = excluded.stamp_us, body = excluded.body WHERE excluded.stamp_us >= offer.stamp_us"
    ),
    "remove_offer": (f"DELETE FROM offer WHERE {_QUEUE} AND ({_ORDER}) = ({_ORDER_AFTER}) AND stamp_us <= :stamp_us"),
    "add_timer": (
        f"INSERT INTO timer ({_TIMER}, slot, stamp_us, body) "
        f"SELECT {_TIMER_AFTER}, :slot, :stamp_us, :body WHERE {_ALIVE} "
        f"ON CONFLICT ({_TIMER}) DO UPDATE SET stamp_us = excluded.stamp_us WHERE excluded.stamp_us >= timer.stamp_us"
    ),
    "remove_timer": f"DELETE FROM timer WHERE ({_TIMER}) = ({_TIMER_AFTER}) AND stamp_us <= :stamp_us",
    "run": (
        "INSERT INTO run (namespace_id, run_id, version, gone_us, workflow_id, workflow_type, task_queue, status, "
        "start_ns, execution_ns, close_ns, history_length, history_bytes, state_transitions, parent_workflow_id, "
        "parent_run_id, root_workflow_id, root_run_id, body) "
        f"VALUES ({', '.join('?' * 19)}) ON CONFLICT (namespace_id, run_id) DO UPDATE SET "
        "version = excluded.version, gone_us = excluded.gone_us, workflow_id = excluded.workflow_id, "
        "workflow_type = excluded.workflow_type, task_queue = excluded.task_queue, status = excluded.status, "
        "start_ns = max(excluded.start_ns, run.start_ns), "
        "execution_ns = excluded.execution_ns, close_ns = excluded.close_ns, "
        "history_length = excluded.history_length, history_bytes = excluded.history_bytes, "
        "state_transitions = excluded.state_transitions, parent_workflow_id = excluded.parent_workflow_id, "
        "parent_run_id = excluded.parent_run_id, root_workflow_id = excluded.root_workflow_id, "
        "root_run_id = excluded.root_run_id, body = excluded.body "
        "WHERE excluded.start_ns > run.start_ns OR (excluded.start_ns IN (run.start_ns, 0) "
        "AND (excluded.version > run.version OR (excluded.version = run.version "
        "AND (run.gone_us IS NULL OR excluded.gone_us IS NOT NULL)))) RETURNING id"
    ),
}

# These follow the row of `run` that has just won.
ATTRIBUTES = {
    "clear": "DELETE FROM run_attribute WHERE run = ?",
    "add": "INSERT INTO run_attribute (run, name, kind, value) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
}

# Deletions of long ago.
SWEEP = {
    "snapshot": "DELETE FROM snapshot WHERE gone_us <= ?",
    "pointer": "DELETE FROM pointer WHERE gone_us <= ?",
    "tombstone": "DELETE FROM tombstone WHERE gone_us <= ?",
    "run": "DELETE FROM run WHERE gone_us <= ?",
}

READ = {
    "header": f"SELECT epoch, last, ceiling_us, next, end_n FROM log_segment WHERE {_SEGMENT}",
    "groups": (
        f"SELECT n, body, ceiling_us FROM log_group WHERE {_SEGMENT} AND n > :after "
        f"AND n <= coalesce((SELECT end_n FROM log_segment WHERE {_SEGMENT}), {(1 << 63) - 1}) ORDER BY n LIMIT :limit"
    ),
    "segments": (
        "SELECT shard, opened_epoch, number FROM log_segment WHERE (shard, opened_epoch, number) > "
        f"(:shard, :opened_epoch, :number) {_BY_SEGMENT}"
    ),
    "segments_from_start": f"SELECT shard, opened_epoch, number FROM log_segment {_BY_SEGMENT}",
    "shards": "SELECT body FROM shard ORDER BY first_slot",
    "shard": "SELECT body FROM shard WHERE shard = ?",
    "document": "SELECT kind, key, version, body FROM document WHERE kind = ? AND key = ?",
    "documents": "SELECT kind, key, version, body FROM document WHERE kind = ? ORDER BY key",
    "snapshot": "SELECT applied, body FROM snapshot WHERE namespace_id = ? AND workflow_id = ? AND run_id = ?",
    "pointer": "SELECT applied, body FROM pointer WHERE namespace_id = ? AND workflow_id = ?",
    # Nodes of a branch don't overlap: the one that holds `first` is the last that begins at or before it.
    "nodes": (
        "SELECT first, end_id, body FROM node WHERE branch = :branch AND first < :end AND end_id > :first AND first >= "
        "coalesce((SELECT max(first) FROM node WHERE branch = :branch AND first <= :first), :first) ORDER BY first"
    ),
    "offers": (
        f"SELECT body FROM offer WHERE {_QUEUE} AND {_SLOTS} AND ({_ORDER}) > ({_ORDER_AFTER}) "
        f"ORDER BY {_ORDER} LIMIT :limit"
    ),
    "offers_from_start": f"SELECT body FROM offer WHERE {_QUEUE} AND {_SLOTS} ORDER BY {_ORDER} LIMIT :limit",
    "count_offers": (
        f"SELECT namespace_id, queue, kind, queue_version, count(*), min(scheduled_ns) FROM offer WHERE {_SLOTS} "
        "GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    ),
    "timers": (
        f"SELECT {_TIMER}, body FROM timer WHERE {_SLOTS} AND ({_TIMER}) > ({_TIMER_AFTER}) "
        f"ORDER BY {_TIMER} LIMIT :limit"
    ),
    "timers_from_start": f"SELECT {_TIMER}, body FROM timer WHERE {_SLOTS} ORDER BY {_TIMER} LIMIT :limit",
}
READ["nodes_back"] = READ["nodes"] + " DESC"
