"""Which store an address or a configuration means, and what is said where its driver is missing."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from perdure.base.errors import InvalidArgument
from perdure.server.main import main
from perdure.server.stores import InCassandra, InFile, InMemory, by_address, in_file


@pytest.mark.parametrize(
    ("address", "store"),
    [
        ("memory:", InMemory()),
        ("memory://", InMemory()),
        ("sqlite:///a.db", InFile("a.db")),
        ("sqlite:////var/lib/a%20b.db", InFile("/var/lib/a b.db")),
    ],
)
def test_an_address_is_a_store(address: str, store: InMemory | InFile) -> None:
    assert by_address(address, is_dev=True) == store


def test_an_address_of_cassandra_has_its_options_and_shows_no_password() -> None:
    store = by_address("cassandra://me:hunter2@one,two:9142/mine?replication=2&datacenter=dc1", is_dev=True)
    assert isinstance(store, InCassandra)
    assert store.is_dev
    assert store.name == "cassandra"
    options = store.options
    assert (options.contact_points, options.port, options.keyspace) == (("one", "two"), 9142, "mine")
    assert (options.user, options.password, options.datacenter, options.replication) == ("me", "hunter2", "dc1", 2)
    assert str(store) == "keyspace mine of Cassandra at one,two, port 9142"


@pytest.mark.parametrize("address", ["", "memory", "memory:x", "sqlite:a.db", "sqlite://a.db", "file:///a.db"])
def test_what_is_no_address_is_told_what_one_is(address: str) -> None:
    with pytest.raises(InvalidArgument, match="expected cassandra://"):
        by_address(address, is_dev=True)


def test_names_of_files() -> None:
    assert in_file(":memory:") == InMemory()
    assert in_file("a.db") == InFile("a.db")


@pytest.mark.parametrize("command", [["dev", "--store", "cassandra://host/ks"], ["config", "check", "--config"]])
def test_without_the_driver_it_says_what_to_install(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("cassandra.", "perdure.store.cassandra"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cassandra", None)
    path = tmp_path / "perdure.yaml"
    path.write_text("store: {cassandra: {contact_points: host}}")
    result = CliRunner().invoke(main, [*command, str(path)] if command[-1] == "--config" else command)
    assert result.exit_code == 1
    assert "Cassandra's driver is not installed: install perdure[cassandra]." in result.output


def test_a_file_needs_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("cassandra.", "perdure.store.cassandra"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cassandra", None)
    path = tmp_path / "perdure.yaml"
    path.write_text("store: {sqlite: {file: a.db}}")
    assert CliRunner().invoke(main, ["config", "check", "--config", str(path)]).exit_code == 0
