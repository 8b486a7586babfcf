"""Which store a server keeps its data in: chosen by a configuration or by an address, opened, and named to people.

Invariant: nothing here shows a password. The Cassandra adapter is imported when it is chosen: its driver is an extra.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union
from urllib.parse import unquote, urlsplit

import msgspec

from perdure.base.clock import Clock
from perdure.base.errors import FailedPrecondition, InvalidArgument
from perdure.store.contract import Store
from perdure.store.memory import MemoryStore
from perdure.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from perdure.store.cassandra.options import CassandraOptions

MEMORY = ":memory:"
_ADDRESSES = "cassandra://USER:PASSWORD@HOST:PORT/KEYSPACE?datacenter=NAME&replication=N, sqlite:///PATH, or memory:"
_DRIVER = "cassandra"


class InMemory(msgspec.Struct, frozen=True):
    """Gone when the server stops."""

    name = "memory"

    def __str__(self) -> str:
        return "in memory, gone when the server stops"


class InFile(msgspec.Struct, frozen=True):
    """A SQLite file."""

    file: str
    name = "sqlite"

    def __str__(self) -> str:
        return str(Path(self.file))


class InCassandra(msgspec.Struct, frozen=True):
    """A keyspace of a cluster. `is_dev`: settings of the cluster that could lose data are warned of, not refused."""

    options: "CassandraOptions"
    is_dev: bool
    name = "cassandra"

    def __str__(self) -> str:
        hosts = ",".join(self.options.contact_points)
        return f"keyspace {self.options.keyspace} of Cassandra at {hosts}, port {self.options.port}"


Choice: TypeAlias = Union[InMemory, InFile, InCassandra]  # noqa: UP007 - one of them is defined by a text


def in_file(name: str) -> InMemory | InFile:
    """What `--db-filename` names: a file, or ":memory:"."""
    return InMemory() if name == MEMORY else InFile(name)


def by_address(address: str, *, is_dev: bool) -> Choice:
    """What `--store` names. Raises InvalidArgument."""
    scheme, separator, rest = address.partition(":")
    match scheme:
        case "memory" if separator and rest.strip("/") == "":
            return InMemory()
        case "sqlite" if rest.startswith("///"):
            # sqlite:///a.db is of this folder, sqlite:////a.db of the root: so they are written everywhere.
            path = unquote(urlsplit(address).path)[1:]
            if path and path != MEMORY:
                return InFile(path)
        case "cassandra":
            with driver_needed():
                from perdure.store.cassandra.options import parse_url  # noqa: PLC0415 - its driver is an extra
            return InCassandra(parse_url(address), is_dev)
    # The address isn't shown: it may have a password.
    raise InvalidArgument(f"expected {_ADDRESSES}")


async def open_store(choice: Choice, clock: Clock) -> Store:
    """The store, ready for use. Raises StoreUnavailable, FailedPrecondition."""
    match choice:
        case InMemory():
            return MemoryStore()
        case InFile():
            return await SqliteStore.open(choice.file, clock=clock)
        case InCassandra():
            with driver_needed():
                from perdure.store.cassandra import CassandraStore  # noqa: PLC0415 - its driver is an extra
            return await CassandraStore.open(choice.options, clock=clock, dev=choice.is_dev)


@contextmanager
def driver_needed() -> Iterator[None]:
    """A missing driver as an error that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != _DRIVER:
            raise
        raise FailedPrecondition("Cassandra's driver is not installed: install perdure[cassandra].") from error
