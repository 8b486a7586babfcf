"""Which settings of a node are unsafe."""

import pytest

from perdure.store.cassandra.settings import VERSION_MIN, findings, version_of


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
