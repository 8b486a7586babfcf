-- The log: changed by conditional statements only.

CREATE TABLE log_segment (
    shard TEXT NOT NULL,
    opened_epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    last INTEGER NOT NULL,
    ceiling_us INTEGER NOT NULL,
    next BLOB,
    end_n INTEGER,
    PRIMARY KEY (shard, opened_epoch, number)
) WITHOUT ROWID;

CREATE TABLE log_group (
    shard TEXT NOT NULL,
    opened_epoch INTEGER NOT NULL,
    number INTEGER NOT NULL,
    n INTEGER NOT NULL,
    ceiling_us INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (shard, opened_epoch, number, n)
);

CREATE TABLE shard (
    shard TEXT PRIMARY KEY,
    first_slot INTEGER NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE document (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

-- Checkpoints: changed by stamped statements only, the highest stamp wins. `gone_us`: when the row was deleted, else NULL.

CREATE TABLE snapshot (
    namespace_id TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    stamp_us INTEGER NOT NULL,
    gone_us INTEGER,
    applied INTEGER NOT NULL,
    body BLOB,
    PRIMARY KEY (namespace_id, workflow_id, run_id)
);

CREATE INDEX snapshot_gone ON snapshot (gone_us) WHERE gone_us IS NOT NULL;

CREATE TABLE pointer (
    namespace_id TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    stamp_us INTEGER NOT NULL,
    gone_us INTEGER,
    applied INTEGER NOT NULL,
    body BLOB,
    PRIMARY KEY (namespace_id, workflow_id)
) WITHOUT ROWID;

CREATE INDEX pointer_gone ON pointer (gone_us) WHERE gone_us IS NOT NULL;

CREATE TABLE node (
    branch TEXT NOT NULL,
    first INTEGER NOT NULL,
    end_id INTEGER NOT NULL,
    stamp_us INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (branch, first)
);

-- The index columns are Offer.order; `pass` stands between priority and time.
CREATE TABLE offer (
    namespace_id TEXT NOT NULL,
    queue TEXT NOT NULL,
    kind INTEGER NOT NULL,
    queue_version TEXT NOT NULL,
    priority INTEGER NOT NULL,
    pass INTEGER NOT NULL,
    scheduled_ns INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    task_stamp INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    stamp_us INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (
        namespace_id, queue, kind, queue_version, priority, pass, scheduled_ns, run_id, event_id, attempt, task_stamp
    )
) WITHOUT ROWID;

-- `body`: only for a timer whose due time does not fit into `due_ns`, which then holds the greatest number.
CREATE TABLE timer (
    due_ns INTEGER NOT NULL,
    namespace_id TEXT NOT NULL,
    workflow_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    kind INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    task_stamp INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    stamp_us INTEGER NOT NULL,
    body BLOB,
    PRIMARY KEY (due_ns, namespace_id, workflow_id, run_id, kind, event_id, attempt, task_stamp)
) WITHOUT ROWID;

-- Deletions of rows that are read in order, kept apart so that reading never walks over them. `row`: a digest of the row's key.
CREATE TABLE tombstone (
    row BLOB PRIMARY KEY,
    stamp_us INTEGER NOT NULL,
    gone_us INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX tombstone_gone ON tombstone (gone_us);

-- Lists: the highest version of a run wins. `body` NULL: deleted. Attributes that a run does not have are NULL.

CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    namespace_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    gone_us INTEGER,
    workflow_id TEXT NOT NULL,
    workflow_type TEXT NOT NULL,
    task_queue TEXT NOT NULL,
    status INTEGER NOT NULL,
    start_ns INTEGER NOT NULL,
    execution_ns INTEGER,
    close_ns INTEGER,
    history_length INTEGER NOT NULL,
    history_bytes INTEGER NOT NULL,
    state_transitions INTEGER NOT NULL,
    parent_workflow_id TEXT,
    parent_run_id TEXT,
    root_workflow_id TEXT,
    root_run_id TEXT,
    body BLOB,
    UNIQUE (namespace_id, run_id)
);

CREATE INDEX run_by_start ON run (namespace_id, start_ns, run_id) WHERE body IS NOT NULL;
CREATE INDEX run_by_status ON run (namespace_id, status, start_ns, run_id) WHERE body IS NOT NULL;
CREATE INDEX run_by_type ON run (namespace_id, workflow_type, start_ns, run_id) WHERE body IS NOT NULL;
CREATE INDEX run_by_workflow ON run (namespace_id, workflow_id, start_ns, run_id) WHERE body IS NOT NULL;
CREATE INDEX run_gone ON run (gone_us) WHERE gone_us IS NOT NULL;

-- One row per value of a custom search attribute. `kind`: b, n or s; only values of one kind are equal.
CREATE TABLE run_attribute (
    run INTEGER NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    value NOT NULL,
    PRIMARY KEY (run, name, kind, value)
) WITHOUT ROWID;

CREATE INDEX run_attribute_by_value ON run_attribute (name, kind, value);
