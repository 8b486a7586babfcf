"""What a list shows of a run, and what may be asked."""

import msgspec

from perdure.visibility.tree import Filter

# Of the rows of a page together: clients take messages of 4 MiB, and a memo may have 2.
PAGE_BYTES_MAX = 2 << 20


class VisibilityRow(msgspec.Struct, frozen=True):
    """One run as lists show it. Times in ns, 0 = none. `version`: the run's transition count; the highest wins.

    `memo` is an encoded temporal.api.common.v1.Memo, `search_attributes` maps name -> encoded Payload (with type
    metadata).
    """

    namespace_id: str
    workflow_id: str
    run_id: str
    version: int
    deleted: bool = False
    workflow_type: str = ""
    task_queue: str = ""
    status: int = 1
    start_time_ns: int = 0
    execution_time_ns: int = 0
    close_time_ns: int = 0
    history_length: int = 0
    history_bytes: int = 0
    state_transitions: int = 0
    parent_workflow_id: str = ""
    parent_run_id: str = ""
    root_workflow_id: str = ""
    root_run_id: str = ""
    memo: bytes = b""
    search_attributes: dict[str, bytes] = {}


class VisibilityQuery(msgspec.Struct, frozen=True):
    """One list or count: newest start first, ties by run id. `token` is opaque to the caller, from the page before."""

    namespace_id: str
    filter: Filter | None = None
    limit: int = 1000
    token: bytes = b""


class VisibilityPage(msgspec.Struct, frozen=True):
    """Rows, and the token of the next page; empty = this was the last."""

    rows: list[VisibilityRow]
    token: bytes
