"""`perdure schema`: the schema of a Cassandra keyspace by hand. Servers apply it themselves when they start; this is
for operators whose servers have no right to, or who like to see it first.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from perdure.base.clock import SystemClock
from perdure.base.errors import InvalidArgument, PerdureError
from perdure.server import logs
from perdure.server.stores import Choice, InCassandra, by_address

if TYPE_CHECKING:
    from perdure.store.cassandra.options import CassandraOptions

T = TypeVar("T")


def _store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which keyspace: `--store ADDRESS` or `--config FILE`."""
    for option in (
        click.option(
            "--config", "-c", "path", metavar="FILE", envvar="PERDURE_CONFIG", help="A server's configuration."
        ),
        click.option("--store", "address", metavar="ADDRESS", envvar="PERDURE_STORE", help="cassandra://HOST/KEYSPACE"),
    ):
        command = option(command)
    return command


@click.group()
def schema() -> None:
    """Look at Cassandra's schema, or apply it by hand."""


@schema.command("apply")
@_store_options
def apply_(address: str | None, path: str | None) -> None:
    """Bring a keyspace's schema up to this program's version; make the keyspace if it isn't there."""
    options = _options(address, path)
    from perdure.store.cassandra import by_hand  # noqa: PLC0415 - its driver is an extra

    before, after = _run(by_hand.apply(options, SystemClock()))
    done = f"applied up to version {after}" if before < after else f"up to date at version {after}"
    click.echo(f"Keyspace {options.keyspace}: {done}.")


@schema.command("status")
@_store_options
def status(address: str | None, path: str | None) -> None:
    """Say which version a keyspace's schema has. Changes nothing."""
    options = _options(address, path)
    from perdure.store.cassandra import by_hand  # noqa: PLC0415 - as above

    found = _run(by_hand.status(options, SystemClock()))
    if not found.has_keyspace:
        version = "not there"
    elif found.version is None:
        version = "no schema"
    else:
        version = f"version {found.version}"
    click.echo(f"keyspace {options.keyspace}: {version}")
    click.echo(f"this program: version {found.newest}")
    if found.levels:
        click.echo(f"consistency: {found.levels}")
    if found.is_being_applied:
        click.echo("a process is applying the schema, or was killed while it did")


@schema.command("plan")
@_store_options
def plan(address: str | None, path: str | None) -> None:
    """Print the statements that `apply` would run. Changes nothing."""
    options = _options(address, path)
    from perdure.store.cassandra import by_hand  # noqa: PLC0415 - as above

    planned = _run(by_hand.plan(options, SystemClock()))
    if not planned:
        click.echo("-- Nothing: the schema is up to date.")
    for version, statements in planned:
        click.echo(f"-- Version {version}")
        for statement in statements:
            click.echo(f"{statement};")


def _options(address: str | None, path: str | None) -> "CassandraOptions":
    """The options of the keyspace that the command line names."""
    logs.configure("info", "text", "perdure")
    if (address is None) == (path is None):
        raise click.UsageError("expected --store ADDRESS or --config FILE")
    choice = _by_config(path) if path is not None else _by_address(str(address))
    if not isinstance(choice, InCassandra):
        raise click.UsageError("only Cassandra's schema is applied by hand; other stores do it when they are opened")
    return choice.options


def _by_address(address: str) -> Choice:
    try:
        return by_address(address, is_dev=False)
    except InvalidArgument as error:
        raise click.UsageError(f"--store: {error.message}") from None
    except PerdureError as error:
        raise click.ClickException(error.message) from None


def _by_config(path: str) -> Choice:
    # pydantic takes a while.
    from perdure.server.config import load  # noqa: PLC0415 - as above
    from perdure.server.configured import serving_options  # noqa: PLC0415 - as above

    try:
        options, _ = serving_options(load(path, os.environ))
    except PerdureError as error:
        raise click.ClickException(error.message) from None
    return options.store


def _run(work: Awaitable[T]) -> T:
    async def main() -> T:
        return await work

    try:
        return asyncio.run(main())
    except PerdureError as error:
        raise click.ClickException(error.message) from None
