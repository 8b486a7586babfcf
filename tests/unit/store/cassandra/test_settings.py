"""Which settings of a node are unsafe."""

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from perdure.base.errors import FailedPrecondition, StoreUnavailable
from perdure.store.cassandra.driver import Node
from perdure.store.cassandra.errors import Failure, Refusal
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.settings import VERSION_MIN, check_nodes, findings, version_of
from tests.unit.store.cassandra.links import HandLink

SAFE: dict[str, str | None] = {"commitlog_sync": "batch", "paxos_variant": "v2"}
UNSAFE: dict[str, str | None] = {"commitlog_sync": "periodic", "paxos_variant": "v2"}


@pytest.mark.parametrize("variant", ["v1", "v2"])
@pytest.mark.parametrize("sync", ["batch", "group"])
def test_safe_settings(sync: str, variant: str) -> None:
    assert findings("n1", {"commitlog_sync": sync, "paxos_variant": variant}) == []


@pytest.mark.parametrize("sync", ["periodic", "", None])
def test_a_commit_log_that_is_synced_later_is_unsafe(sync: str | None) -> None:
    (finding,) = findings("n1", {"commitlog_sync": sync, "paxos_variant": "v2"})
    assert "n1" in finding
    assert "batch or group" in finding


@pytest.mark.parametrize(
    "variant",
    [
        "v1_without_linearizable_reads",
        "v1_without_linearizable_reads_or_rejected_writes",
        "v2_without_linearizable_reads",
        "v2_without_linearizable_reads_or_rejected_writes",
    ],
)
def test_a_paxos_variant_whose_reads_are_not_settled_is_unsafe(variant: str) -> None:
    (finding,) = findings("n1", {"commitlog_sync": "batch", "paxos_variant": variant})
    assert variant in finding


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("maximum_timestamp_fail_threshold", "10m"),
        ("minimum_timestamp_fail_threshold", "10d"),
        ("user_timestamps_enabled", "false"),
    ],
)
def test_a_node_that_refuses_time_stamps_is_unsafe(name: str, value: str) -> None:
    (finding,) = findings("n1", {**SAFE, name: value})
    assert name in finding


def test_a_node_that_takes_time_stamps_is_safe() -> None:
    taken = {"maximum_timestamp_fail_threshold": None, "user_timestamps_enabled": "true"}
    assert findings("n1", {**SAFE, **taken}) == []


def test_what_a_node_does_not_say_is_unsafe() -> None:
    assert len(findings("n1", {})) == 2


@pytest.mark.parametrize(
    ("text", "is_enough"),
    [
        ("5.0.0", True),
        ("5.0", True),
        ("5.0-rc2", True),
        ("5.1.0-SNAPSHOT", True),
        ("4.1.10", False),
        ("4.0.20", False),
        ("3.11.17", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_versions(text: str, is_enough: bool) -> None:
    assert (version_of(text) >= VERSION_MIN) is is_enough


def _node(address: str, datacenter: str = "here", version: str = "5.0.6", *, is_up: bool = True) -> Node:
    return Node(SimpleNamespace(address=address, datacenter=datacenter, release_version=version, is_up=is_up))


def _session(*nodes: Node, **said: dict[str, str | None] | Exception) -> Session:
    link = HandLink()
    link.known = list(nodes)
    link.said = dict(said)
    return Session(link)


async def test_each_node_of_the_datacenter_is_asked() -> None:
    session = _session(_node("a"), _node("b"), a=SAFE, b=UNSAFE)
    with pytest.raises(FailedPrecondition, match="The node b has commitlog_sync: periodic"):
        await check_nodes(session, dev=False)


async def test_for_trying_out_it_is_said_only() -> None:
    session = _session(_node("a"), a=UNSAFE)
    with capture_logs() as logs:
        await check_nodes(session, dev=True)
    assert [entry["log_level"] for entry in logs] == ["warning"]


async def test_other_datacenters_and_nodes_that_are_down_are_not_asked() -> None:
    await check_nodes(_session(_node("a"), _node("b", "there"), _node("c", is_up=False), a=SAFE), dev=False)


async def test_a_node_that_is_silent_is_passed_over() -> None:
    with capture_logs() as logs:
        await check_nodes(_session(_node("a"), _node("b"), a=SAFE, b=Failure("no answer")), dev=False)
    assert [entry["event"] for entry in logs] == ["the settings of a node are not known"]


async def test_a_node_that_is_silent_hides_no_finding() -> None:
    with pytest.raises(FailedPrecondition, match="periodic"):
        await check_nodes(_session(_node("a"), _node("b"), a=UNSAFE, b=Failure("no answer")), dev=False)


async def test_nodes_that_are_all_silent_are_no_cluster() -> None:
    with pytest.raises(StoreUnavailable, match="no answer"):
        await check_nodes(_session(_node("a"), _node("b"), a=Failure("no answer"), b=Failure("no answer")), dev=True)


async def test_settings_that_may_not_be_read_are_unsafe() -> None:
    with pytest.raises(FailedPrecondition, match="system_views"):
        await check_nodes(_session(_node("a"), a=Refusal("no right")), dev=False)


async def test_a_node_that_is_too_old() -> None:
    with pytest.raises(FailedPrecondition, match=r"The node a runs Cassandra 4\.1\.10"):
        await check_nodes(_session(_node("a", version="4.1.10"), a=SAFE), dev=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_mutation_size", "8192KiB"),
        ("native_transport_max_frame_size", "4MiB"),
        ("column_value_size_fail_threshold", "1048576B"),
    ],
)
def test_a_node_that_would_refuse_a_large_state_is_unsafe(name: str, value: str) -> None:
    (finding,) = findings("n1", {**SAFE, name: value})
    assert f"n1 has {name}: {value}" in finding


@pytest.mark.parametrize("value", ["16384KiB", "16MiB", "1GiB", None, "-1"])
def test_a_node_that_takes_large_states_is_safe(value: str | None) -> None:
    assert findings("n1", {**SAFE, "max_mutation_size": value}) == []
