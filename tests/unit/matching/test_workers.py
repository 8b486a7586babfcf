"""Workers that tell of themselves: what is kept, for how long, and how they are found."""

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerHostInfo

from perdure.base.errors import InvalidArgument, NotFound, ResourceExhausted
from perdure.cluster.roles import WorkerSearch
from perdure.matching.worker_queries import CONDITIONS_MAX, QUERY_BYTES_MAX, parse_query
from perdure.matching.workers import HEARTBEAT_BYTES_MAX, KEPT_NS, PAGE_BYTES_MAX, SURE_NS, Workers
from tests.unit.matching.fakes import SECOND

SHUTDOWN = WorkerStatus.WORKER_STATUS_SHUTDOWN


def beat(key: str, **fields: Any) -> WorkerHeartbeat:
    """A heartbeat of the worker instance `key`."""
    plain: dict[str, Any] = {"worker_instance_key": key, "worker_identity": f"{key}@host", "task_queue": "q"}
    return WorkerHeartbeat(**(plain | fields))


def keys(workers: Workers, query: str = "", now_ns: int = 0, **search: Any) -> list[str]:
    """The instance keys that a search of namespace `ns` finds."""
    found = workers.find("ns", WorkerSearch(query, **({"limit": 10} | search)), now_ns)
    return [WorkerHeartbeat.FromString(one).worker_instance_key for one in found.heartbeats]


def test_the_newest_heartbeat_is_shown_until_the_worker_goes_or_is_unheard_of() -> None:
    workers = Workers()
    workers.record("ns", [beat("a", sdk_name="old"), beat("b"), beat("c")], 0)
    workers.record("ns", [beat("a", sdk_name="new")], SECOND)
    (shown,) = workers.find("ns", WorkerSearch(key="a"), SECOND).heartbeats
    assert WorkerHeartbeat.FromString(shown).sdk_name == "new"
    workers.record("ns", [beat("b", status=SHUTDOWN), beat("never", status=SHUTDOWN)], 2 * SECOND)
    assert keys(workers, now_ns=KEPT_NS - 1) == ["a", "c"]
    assert keys(workers, now_ns=KEPT_NS) == ["a"]
    assert keys(workers, now_ns=KEPT_NS + SECOND) == []
    assert len(workers) == 0


def test_namespaces_are_apart_and_a_stranger_is_not_found() -> None:
    workers = Workers()
    workers.record("other", [beat("a")], 0)
    assert keys(workers) == []
    with pytest.raises(NotFound, match="Worker a not found"):
        workers.find("ns", WorkerSearch(key="a"), 0)
    workers.record("other", [beat("a", status=SHUTDOWN)], 0)
    assert len(workers) == 0


def test_pages_follow_one_another() -> None:
    workers = Workers()
    workers.record("ns", [beat(key) for key in "dbca"], 0)
    assert keys(workers, limit=3) == ["a", "b", "c"]
    assert keys(workers, limit=3, after="c") == ["d"]
    first, last = (workers.find("ns", WorkerSearch(after=after, limit=3), 0) for after in ("", "c"))
    assert (first.more, first.total, last.more, last.total) == (True, 4, False, 4)


def test_the_servers_own_workers_are_shown_to_who_asks_for_them() -> None:
    workers = Workers()
    workers.record("ns", [beat("a"), beat("own", task_queue="temporal-sys-per-ns-tq")], 0)
    assert keys(workers) == ["a"]
    assert keys(workers, internal=True) == ["a", "own"]


def test_too_many_make_room_by_who_was_heard_of_longest_ago_but_not_of_late() -> None:
    workers = Workers(workers_max=2)
    workers.record("ns", [beat("a")], 0)
    workers.record("ns", [beat("b")], SECOND)
    with pytest.raises(ResourceExhausted, match="too many workers"):
        workers.record("ns", [beat("c")], SURE_NS - 1)
    assert keys(workers) == ["a", "b"]
    workers.record("ns", [beat("a"), beat("b")], SURE_NS - 1)  # those that are known always may
    workers.record("ns", [beat("c")], 2 * SURE_NS)
    assert keys(workers, now_ns=2 * SURE_NS) == ["b", "c"]
    with pytest.raises(ResourceExhausted):
        workers.record("ns", [beat(key) for key in "xyz"], 4 * SURE_NS)
    assert keys(workers, now_ns=4 * SURE_NS) == ["b", "c"]


def test_bytes_are_bounded_and_given_back() -> None:
    large = "x" * 10_000
    workers = Workers(bytes_max=25_000)
    workers.record("ns", [beat("a", sdk_version=large), beat("b", sdk_version=large)], 0)
    with pytest.raises(ResourceExhausted):
        workers.record("ns", [beat("c", sdk_version=large)], 0)
    workers.record("ns", [beat("a")], 0)
    workers.record("ns", [beat("c", sdk_version=large)], 0)
    assert keys(workers) == ["a", "b", "c"]
    with pytest.raises(InvalidArgument):
        workers.record("ns", [beat("d", sdk_version="x" * HEARTBEAT_BYTES_MAX)], 0)


def test_a_call_may_not_say_more_often_how_a_worker_is_than_there_may_be_workers() -> None:
    workers = Workers(workers_max=2)
    with pytest.raises(ResourceExhausted, match="too many workers in one call"):
        workers.record("ns", [beat("a")] * 3, 0)
    assert keys(workers) == []


def test_a_page_of_large_workers_is_short_and_the_next_goes_on() -> None:
    workers = Workers()
    large = "x" * (HEARTBEAT_BYTES_MAX - 1_000)
    workers.record("ns", [beat(f"{n:02}", sdk_version=large) for n in range(40)], 0)
    first = workers.find("ns", WorkerSearch(limit=40), 0)
    assert (len(first.heartbeats), first.total, first.more) == (PAGE_BYTES_MAX // HEARTBEAT_BYTES_MAX, 40, True)
    shown, after = list[str](), ""
    while page := keys(workers, limit=40, after=after):
        shown, after = shown + page, page[-1]
    assert shown == [f"{n:02}" for n in range(40)]


WORKER = beat(
    "key-1",
    sdk_name="temporal-python",
    sdk_version="1.2",
    status=WorkerStatus.WORKER_STATUS_SHUTTING_DOWN,
    start_time=Timestamp(seconds=1_700_000_000),
    host_info=WorkerHostInfo(host_name="it's"),
    deployment_version=WorkerDeploymentVersion(deployment_name="dep", build_id="b1"),
)


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("", True),
        ("  ", True),
        ("WorkerInstanceKey = 'key-1'", True),
        ('WorkerIdentity="key-1@host"', True),
        ("TaskQueue = 'x'", False),
        ("TaskQueue != 'x' AND TaskQueue <> 'y'", True),
        ("HostName = 'it\\'s'", True),
        ("DeploymentName = 'dep' and BuildId = 'b1'", True),
        ("SdkName STARTS_WITH 'temporal-' AND NOT_A = 'x'", None),
        ("SdkName not starts_with 'temporal-'", False),
        ("SdkVersion = '1.2' OR TaskQueue = 'x'", True),
        ("TaskQueue = 'x' OR TaskQueue = 'y' AND SdkVersion = '1.2'", False),
        ("(TaskQueue = 'x' OR TaskQueue = 'q') AND SdkVersion = '1.2'", True),
        ("Status = 'ShuttingDown'", True),
        ("`status` = 'Running'", False),
        ("WorkerStatus IS NULL", False),
        ("StartTime IS NOT NULL AND HeartbeatTime IS NULL", True),
        ("StartTime > '2023-01-01T00:00:00Z' AND StartTime <= '2024-01-01T00:00:00Z'", True),
        ("StartTime BETWEEN '2023-01-01T00:00:00Z' AND '2024-01-01T00:00:00Z'", True),
        ("StartTime NOT BETWEEN '2023-01-01T00:00:00Z' AND '2024-01-01T00:00:00Z'", False),
        ("HeartbeatTime NOT BETWEEN '2023-01-01T00:00:00Z' AND '2024-01-01T00:00:00Z'", False),
        ("HeartbeatTime < '2023-01-01T00:00:00Z'", True),
        ("nonsense", None),
        ("= 'x'", None),
        ("TaskQueue", None),
        ("TaskQueue = ", None),
        ("TaskQueue = 3", None),
        ("TaskQueue = ''", None),
        ("TaskQueue > 'x'", None),
        ("TaskQueue NOT = 'x'", None),
        ("TaskQueue IS 'x'", None),
        ("TaskQueue = 'x' TaskQueue = 'y'", None),
        ("TaskQueue = 'x", None),
        ("(TaskQueue = 'x'", None),
        ("TaskQueue = 'x')", None),
        ("StartTime = 'yesterday'", None),
        ("StartTime STARTS_WITH '2'", None),
        ("StartTime BETWEEN '2023-01-01T00:00:00Z'", None),
        (" OR ".join(["status='x'"] * (CONDITIONS_MAX - 1) + ["status='ShuttingDown'"]), True),
        (" OR ".join(["status='x'"] * CONDITIONS_MAX + ["status='ShuttingDown'"]), None),
        ("(" * 60 + "TaskQueue = 'x'" + ")" * 60, None),
        ("TaskQueue = '" + "x" * QUERY_BYTES_MAX + "'", None),
    ],
)
def test_a_query_finds_or_is_refused(query: str, holds: bool | None) -> None:
    if holds is None:
        with pytest.raises(InvalidArgument):
            parse_query(query)
    else:
        assert parse_query(query)(WORKER) is holds
