"""Addresses of Cassandra stores: every part arrives, and a wrong one is named."""

from pathlib import Path

import pytest

from perdure.base.errors import InvalidArgument
from perdure.store.cassandra.options import CassandraOptions, Tls, check, parse_url


def test_the_shortest_address() -> None:
    assert parse_url("cassandra://db") == CassandraOptions(contact_points=("db",))


def test_an_address_with_everything(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("ca", "cert", "key")}
    for file in files.values():
        file.touch()
    options = parse_url(
        "cassandra://us%40er:p%3Aw%2F@one,10.0.0.2:9043,[::1]/keys_1?datacenter=dc%201&replication=3"
        "&simple_strategy=true&consistency=QUORUM&serial_consistency=SERIAL&compression=none&connect_timeout=1.5"
        "&request_timeout=2&conditional_timeout=0.5&reconnect_max=3&connect_wait=0"
        f"&tls_ca={files['ca']}&tls_cert={files['cert']}&tls_key={files['key']}&tls_verify=false&tls_server_name=db"
    )
    assert options == CassandraOptions(
        contact_points=("one", "10.0.0.2", "::1"),
        port=9043,
        user="us@er",
        password="p:w/",
        keyspace="keys_1",
        datacenter="dc 1",
        replication=3,
        simple_strategy=True,
        consistency="QUORUM",
        serial_consistency="SERIAL",
        connect_timeout_s=1.5,
        request_timeout_s=2.0,
        conditional_timeout_s=0.5,
        reconnect_max_s=3.0,
        connect_wait_s=0.0,
        tls=Tls(ca=str(files["ca"]), cert=str(files["cert"]), key=str(files["key"]), verify=False, server_name="db"),
    )


def test_tls_with_what_the_machine_trusts() -> None:
    assert parse_url("cassandra://db?tls=true").tls == Tls()
    assert parse_url("cassandra://db?tls=false").tls is None


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgres://db", "begins with cassandra://"),
        ("cassandra:db", "begins with cassandra://"),
        ("cassandra://", "contact_points"),
        ("cassandra://a,,b", "contact_points"),
        ("cassandra://a b", "contact_points"),
        ("cassandra://a:b:c", "contact_points"),
        ("cassandra://a:1,b:2", "port"),
        ("cassandra://a:99999", "port"),
        ("cassandra://a:0", "port"),
        ("cassandra://user@a", "password"),
        ("cassandra://:pw@a", "password"),
        ("cassandra://a/Keys", "keyspace"),
        ("cassandra://a/1keys", "keyspace"),
        ("cassandra://a/keys;drop", "keyspace"),
        (f"cassandra://a/{'k' * 49}", "keyspace"),
        ("cassandra://a?nix", "after \\?"),
        ("cassandra://a?nix=1", "nix: there is no such option"),
        ("cassandra://a?replication=1&replication=3", "replication: given more than once"),
        ("cassandra://a?replication=0", "replication"),
        ("cassandra://a?replication=2.5", "replication"),
        ("cassandra://a?replication=all", "replication"),
        ("cassandra://a?replication=inf", "replication"),
        ("cassandra://a?consistency=ONE", "consistency"),
        ("cassandra://a?consistency=QUORUM", "consistency"),
        ("cassandra://a?serial_consistency=SERIAL", "consistency"),
        ("cassandra://a?compression=zip", "compression"),
        ("cassandra://a?connect_timeout=0", "connect_timeout"),
        ("cassandra://a?request_timeout=nan", "request_timeout"),
        ("cassandra://a?conditional_timeout=3600", "conditional_timeout"),
        ("cassandra://a?reconnect_max=-1", "reconnect_max"),
        ("cassandra://a?connect_wait=-1", "connect_wait"),
        ("cassandra://a?simple_strategy=yes", "simple_strategy"),
        ("cassandra://a?tls=maybe", "tls"),
        ("cassandra://a?tls=false&tls_ca=x", "tls"),
        ("cassandra://a?tls_ca=/no/such/file", "tls_ca"),
        (f"cassandra://a?tls_cert={__file__}", "tls_cert and tls_key"),
    ],
)
def test_what_is_wrong_is_named(url: str, named: str) -> None:
    with pytest.raises(InvalidArgument, match=named):
        parse_url(url)


def test_errors_do_not_show_the_password() -> None:
    for url in ("cassandra://user:s3cret@a b", "cassandra://user:s3cret@a?x=1", "cassandra://user:s3cret@a/K"):
        with pytest.raises(InvalidArgument) as raised:
            parse_url(url)
        assert "s3cret" not in raised.value.message


def test_compression_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.store.cassandra.options.find_spec", lambda name: None)
    with pytest.raises(InvalidArgument, match="compression: lz4 needs"):
        check(CassandraOptions(contact_points=("a",), compression="lz4"))


@pytest.mark.parametrize("login", ["user:12/secret", "user:12?secret=secret", "user:secret/2", "user:1?secret"])
def test_a_password_that_is_not_encoded_is_not_shown(login: str) -> None:
    with pytest.raises(InvalidArgument, match="%2F") as raised:
        parse_url(f"cassandra://{login}@host/keys")
    assert "secret" not in str(raised.value)


def test_a_password_without_a_host_is_not_shown() -> None:
    with pytest.raises(InvalidArgument, match="contact_points") as raised:
        parse_url("cassandra://user:secret/keys")
    assert "secret" not in str(raised.value)


def test_options_are_shown_without_the_password() -> None:
    shown = repr(parse_url("cassandra://someone:secret@host"))
    assert "someone" in shown
    assert "secret" not in shown


@pytest.mark.parametrize("point", ["user:secret@db", "db:9042", "cassandra://secret", "a b", "a,b"])
def test_a_contact_point_is_a_name_or_an_address(point: str) -> None:
    with pytest.raises(InvalidArgument, match="contact_points: expected names") as raised:
        check(CassandraOptions(contact_points=("db", point)))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("point", ["db", "db-1.example_2", "10.0.0.1", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"])
def test_all_sorts_of_contact_points(point: str) -> None:
    check(CassandraOptions(contact_points=(point,)))
