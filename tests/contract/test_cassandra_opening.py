"""What keeps a Cassandra store from opening, on a real node: a sentence that names the cause each."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from perdure.base.clock import SystemClock
from perdure.base.errors import FailedPrecondition, StoreUnavailable
from perdure.store.cassandra import CassandraOptions, CassandraStore
from perdure.store.cassandra.connecting import connected
from perdure.store.cassandra.options import Tls
from tests.cassandra import cql
from tests.cassandra.addresses import free_addresses
from tests.cassandra.fixtures import Contact, Keyspace
from tests.cassandra.jars import CassandraMissing, java
from tests.cassandra.node import CassandraNode, NodeOptions

PASSWORD = "secret1"


def _options(keyspace: Keyspace, **changes: Any) -> CassandraOptions:
    options = CassandraOptions(
        contact_points=(keyspace.contact.host,),
        port=keyspace.contact.port,
        keyspace=keyspace.name,
        conditional_timeout_s=10.0,
        connect_wait_s=0.0,
    )
    return msgspec.structs.replace(options, **changes)


@asynccontextmanager
async def _opened(options: CassandraOptions, *, dev: bool = False) -> AsyncIterator[CassandraStore]:
    store = await CassandraStore.open(options, clock=SystemClock(), dev=dev)
    try:
        yield store
    finally:
        await store.close()


async def _refused(options: CassandraOptions, *, dev: bool = False) -> str:
    with pytest.raises(FailedPrecondition) as raised:
        async with _opened(options, dev=dev):
            pass
    return raised.value.message


# ---------------------------------------------------------------- a node like that of production


async def test_a_store_that_can_be_opened_and_what_others_may_not_ask(keyspace: Keyspace) -> None:
    async with _opened(_options(keyspace, replication=1)) as store:
        assert await store.documents.read_document("namespace", "none") is None
    levels = _options(keyspace, consistency="QUORUM", serial_consistency="SERIAL")
    assert "LOCAL_QUORUM LOCAL_SERIAL datacenter1" in await _refused(levels)
    assert "has replication 1" in await _refused(_options(keyspace, replication=2))
    newer = f"UPDATE {keyspace.name}.installation SET version = 99 WHERE name = 'perdure' IF EXISTS"
    await asyncio.to_thread(cql.rows, keyspace.contact.host, newer, port=keyspace.contact.port)
    assert "schema version 99" in await _refused(_options(keyspace))


async def test_more_copies_than_nodes(cassandra: Contact) -> None:
    nowhere = Keyspace(cassandra, "test_nowhere")
    assert "Replication 2 of keyspace test_nowhere is more" in await _refused(_options(nowhere, replication=2))
    # Three, where nobody says how many.
    assert "Replication 3 of keyspace test_nowhere is more" in await _refused(_options(nowhere))


async def test_a_datacenter_that_is_not_there(cassandra: Contact) -> None:
    nowhere = _options(Keyspace(cassandra, "test_nowhere"), datacenter="mars")
    assert "no datacenter mars in the cluster, which has datacenter1" in await _refused(nowhere)


async def test_nobody_there() -> None:
    (address,) = free_addresses(1)
    nowhere = _options(Keyspace(Contact(address), "test_nowhere"), connect_wait_s=0.2)
    with capture_logs() as logs, pytest.raises(StoreUnavailable, match=f"{address}:9042: Connection refused"):
        await connected(nowhere, SystemClock())
    assert [entry["event"] for entry in logs][:1] == ["waiting for Cassandra"]
    with pytest.raises(StoreUnavailable, match=r"no contact point has an address: no\.such\.host\.invalid"):
        await connected(msgspec.structs.replace(nowhere, contact_points=("no.such.host.invalid",)), SystemClock())


async def test_tls_where_there_is_none(cassandra: Contact) -> None:
    plain = _options(Keyspace(cassandra, "test_nowhere"), tls=Tls(verify=False))
    assert "TLS does not come about" in await _refused(plain)


# ---------------------------------------------------------------- one with users, TLS and a periodic commit log


class Guarded:
    """A node that lets in who has a password, by TLS too; `ca`: whom its certificate is signed by."""

    def __init__(self, folder: Path) -> None:
        (address,) = free_addresses(1)
        folder.mkdir(exist_ok=True)
        keys, self.ca = folder / "keys.p12", folder / "ca.pem"
        tool = [
            str(Path(java()).with_name("keytool")),
            "-storepass",
            PASSWORD,
            "-keystore",
            str(keys),
            "-alias",
            "node",
        ]
        named = ["-dname", f"CN={address}", "-ext", f"san=ip:{address}"]
        made = ["-genkeypair", "-keyalg", "EC", "-storetype", "PKCS12", *named]
        subprocess.run([*tool, *made], check=True, capture_output=True)
        shown = subprocess.run([*tool, "-exportcert", "-rfc"], check=True, capture_output=True)
        self.ca.write_bytes(shown.stdout)
        encryption = {"enabled": True, "optional": True, "keystore": str(keys), "keystore_password": PASSWORD}
        more: dict[str, object] = {
            "authorizer": "CassandraAuthorizer",
            "role_manager": "CassandraRoleManager",
            "client_encryption_options": encryption,
        }
        self.node = CassandraNode(
            folder,
            NodeOptions(
                address,
                sync="periodic",
                authenticator="PasswordAuthenticator",
                heap_mb=256,
                more=tuple(more.items()),
            ),
        )
        self.keyspace = Keyspace(Contact(address), f"test_guarded_{os.getpid()}")

    def options(self, user: str = "cassandra", password: str = "cassandra", **changes: Any) -> CassandraOptions:
        return _options(self.keyspace, user=user, password=password, replication=1, **changes)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    try:
        made = Guarded(folder)
    except CassandraMissing as missing:
        pytest.skip(f"no Cassandra: {missing}")
    # Begun only: the first test is there before it listens.
    made.node.begin()
    yield made
    made.node.discard()
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_cluster_that_comes_up_is_waited_for(guarded: Guarded) -> None:
    """It has no user yet when it begins to listen: a user that was refused then is tried again."""
    with capture_logs() as logs:
        async with _opened(guarded.options(connect_wait_s=120.0), dev=True):
            pass
    assert any(entry["event"] == "waiting for Cassandra" for entry in logs)


async def test_a_periodic_commit_log_is_for_trying_out_only(guarded: Guarded) -> None:
    assert "commitlog_sync: periodic" in await _refused(guarded.options())
    with capture_logs() as logs:
        async with _opened(guarded.options(), dev=True):
            pass
    assert any("commitlog_sync: periodic" in entry.get("finding", "") for entry in logs)


async def test_who_is_not_let_in(guarded: Guarded) -> None:
    wrong = await _refused(guarded.options(password="wrong"), dev=True)
    assert wrong.startswith("Cassandra refuses the user cassandra or its password: ")
    assert "wrong" not in wrong
    nobody = await _refused(guarded.options("", ""), dev=True)
    assert nobody.startswith("Cassandra refuses to work without a user and a password: ")


async def test_a_user_who_may_not_make_a_keyspace(guarded: Guarded) -> None:
    session = await connected(guarded.options(), SystemClock())
    try:
        await session.define("CREATE ROLE small WITH PASSWORD = 'small' AND LOGIN = true")
        for right in ("SELECT", "MODIFY"):
            await session.define(f"GRANT {right} ON KEYSPACE {guarded.keyspace.name} TO small")
    finally:
        await session.close()
    other = msgspec.structs.replace(guarded.options("small", "small"), keyspace="test_forbidden")
    assert "Keyspace test_forbidden is not there and could not be made" in await _refused(other, dev=True)
    # Settings that can't be read are as unsafe as bad ones.
    assert "Without SELECT on system_views.settings" in await _refused(guarded.options("small", "small"))
    # Where the schema is there, a user that may change rows is enough.
    async with _opened(guarded.options("small", "small"), dev=True) as store:
        assert await store.documents.read_document("namespace", "none") is None


async def test_tls(guarded: Guarded, tmp_path: Path) -> None:
    ca = str(guarded.ca)
    async with _opened(guarded.options(tls=Tls(ca=ca)), dev=True):
        pass
    assert "certificate verify failed" in await _refused(guarded.options(tls=Tls()), dev=True)
    elsewhere = Tls(ca=ca, server_name="db.example")
    assert "not valid for 'db.example'" in await _refused(guarded.options(tls=elsewhere), dev=True)
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    assert "the files for TLS" in await _refused(guarded.options(tls=Tls(ca=str(text))), dev=True)
