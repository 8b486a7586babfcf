"""The command line: `perdure dev` for people, `perdure server start-dev` for SDK test environments, `perdure server
start` for servers with a configuration.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
import structlog
from click.core import ParameterSource

from perdure.base.errors import FailedPrecondition, InvalidArgument
from perdure.base.limits import Limits
from perdure.server import logs
from perdure.server.admin import admin
from perdure.server.dynamic import Settings, checked, with_parsed
from perdure.server.health import health
from perdure.server.launching import launch
from perdure.server.options import (
    ServingOptions,
    WantedNamespace,
    check_namespace,
    parse_dynamic_value,
    parse_search_attribute,
)
from perdure.server.schema import schema
from perdure.server.start import config_group, start
from perdure.server.stores import MEMORY, Choice, InCassandra, InMemory, by_address, in_file

log = structlog.get_logger(__name__)
_DAY_NS = 24 * 3600 * 1_000_000_000
# What a test asks of a workflow that is over has to be there, however much time it has skipped since.
_LONG_NS = 100 * 365 * _DAY_NS
_OPEN_RATE = 1_000_000  # a development server limits nobody's rate unless it is told to
_CACHE_BYTES_MAX = 256 << 20  # of executions: it is not alone on its machine


_time_option = click.option(
    "--time-skipping",
    is_flag=True,
    help="Serve the TestService, by whose calls tests skip through timers. In memory only.",
)
_store_option = click.option(
    "--store",
    "address",
    metavar="ADDRESS",
    default=None,
    envvar="PERDURE_STORE",
    help="Instead of a file: cassandra://USER:PASSWORD@HOST:PORT/KEYSPACE, sqlite:///PATH or memory:",
)
_port_option = click.option(
    "--port", "-p", type=click.IntRange(0, 65535), default=7233, show_default=True, help="gRPC; 0 = any free one."
)


def _shared_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all commands take; named as the reference's development server names them."""
    for option in (
        click.option(
            "--dynamic-config-value", "dynamic", multiple=True, metavar="KEY=JSON", help="Set a configuration value."
        ),
        click.option(
            "--search-attribute", "attributes", multiple=True, metavar="NAME=TYPE", help="Register a search attribute."
        ),
        click.option("--namespace", "-n", "namespaces", multiple=True, help="Make these namespaces besides `default`."),
        click.option(
            "--log-format",
            type=click.Choice(["text", "json", "pretty"]),
            default=None,
            help="Default: text on a terminal.",
        ),
        click.option("--log-level", type=click.Choice(list(logs.LEVELS)), default="warn", show_default=True),
        click.option(
            "--metrics-port",
            type=click.IntRange(0, 65535),
            default=0,
            help="HTTP, for Prometheus: /metrics. Default: any free one.",
        ),
        click.option("--ui-port", type=click.IntRange(0, 65535), default=None, hidden=True),
        click.option("--headless", is_flag=True, help="No Web UI (there is none yet)."),
        click.option("--ip", default="127.0.0.1", show_default=True, help="The address to listen on."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="perdure")
def main() -> None:
    """A durable-execution cluster that speaks Temporal's API."""


@main.command()
@click.option("--db-filename", "-f", "file", default=None, help="The database file; :memory: for none.  [perdure.db]")
@_store_option
@_port_option
@_time_option
@_shared_options
def dev(file: str | None, address: str | None, **options: Any) -> None:
    """Run a whole cluster in this process, with its data in a file."""
    retention_ns = _LONG_NS if options["time_skipping"] else 3 * _DAY_NS
    _run(_choice(file, address, "perdure.db"), retention_ns, **options)


@main.group()
def server() -> None:
    """Run a server."""


server.add_command(start)
main.add_command(config_group)
main.add_command(schema)
main.add_command(health)
main.add_command(admin)


@server.command("start-dev")
@click.option("--db-filename", "-f", "file", default=None, help="The database file; in memory if not given.")
@_store_option
@_port_option
@_time_option
@_shared_options
def start_dev(file: str | None, address: str | None, **options: Any) -> None:
    """Run a whole cluster in this process, in memory unless a file is named."""
    retention_ns = _LONG_NS if options["time_skipping"] else _DAY_NS
    _run(_choice(file or None, address, MEMORY), retention_ns, **options)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("port", type=click.IntRange(0, 65535))
@click.option("--enable-time-skipping", is_flag=True, help="Begin unlocked: skip whatever time can be skipped.")
@_shared_options
def test_server(port: int, enable_time_skipping: bool, **options: Any) -> None:
    """Run a cluster whose clock tests can skip, as SDKs' test environments run their test server."""
    options |= {"port": port, "time_skipping": True, "time_locks": 0 if enable_time_skipping else 1}
    _run(InMemory(), _LONG_NS, **options)


def _choice(file: str | None, address: str | None, otherwise: str) -> Choice:
    """The store that the command line names; a file there wins over an address in the environment."""
    by_environment = click.get_current_context().get_parameter_source("address") is ParameterSource.ENVIRONMENT
    if address is None or (file is not None and by_environment):
        return in_file(otherwise if file is None else file)
    if file is not None:
        raise click.UsageError("--store and --db-filename name two stores: expected one of them")
    try:
        return by_address(address, is_dev=True)
    except InvalidArgument as error:
        raise click.UsageError(f"--store: {error.message}") from None
    except FailedPrecondition as error:
        raise click.ClickException(error.message) from None


def _run(
    store: Choice,
    retention_ns: int,
    *,
    ip: str,
    port: int,
    metrics_port: int,
    headless: bool,
    ui_port: int | None,
    log_level: str,
    log_format: str | None,
    namespaces: Sequence[str],
    attributes: Sequence[str],
    dynamic: Sequence[str],
    time_skipping: bool,
    time_locks: int = 1,
) -> None:
    logs.configure(log_level, "json" if (log_format or _log_format()) == "json" else "text", "perdure")
    rates = Limits(host_rps=_OPEN_RATE, namespace_rps=_OPEN_RATE, visibility_rps=_OPEN_RATE, waiting_polls_max=20_000)
    if time_skipping and not isinstance(store, InMemory):
        # What is kept would be of a time to come when it is opened again.
        raise click.UsageError(f"--time-skipping is for data in memory: --db-filename {MEMORY}")
    try:
        values = dict(parse_dynamic_value(text) for text in dynamic)
        parsed = checked(values)
        settings = Settings(limits=rates, cache_bytes_max=_CACHE_BYTES_MAX)
        listen = "127.0.0.1" if ip == "localhost" else ip
        options = ServingOptions(
            ip=listen,
            port=port,
            metrics_ip=listen,
            metrics_port=metrics_port,
            store=store,
            # A write at start whose answer was lost is asked about again: it is no reason not to start.
            store_wait_s=store.options.connect_wait_s if isinstance(store, InCassandra) else 0.0,
            namespaces=_wanted(namespaces, attributes, retention_ns, with_parsed(settings, parsed).limits),
            settings=settings,
            dynamic=values,
            time_locks=time_locks if time_skipping else None,
        )
    except InvalidArgument as error:
        raise click.UsageError(error.message) from error
    if ui_port is not None and not headless:
        log.warning("there is no Web UI yet; --ui-port has no effect")
    launch(options)


def _wanted(
    names: Sequence[str], attributes: Sequence[str], retention_ns: int, limits: Limits
) -> tuple[WantedNamespace, ...]:
    """The namespaces, `default` first, all with these search attributes. Raises InvalidArgument."""
    for name in names:
        try:
            check_namespace(name, limits)
        except InvalidArgument as error:
            raise InvalidArgument(f"--namespace {error.message}") from error
    found = dict(parse_search_attribute(text) for text in attributes)
    return tuple(WantedNamespace(name, retention_ns, found) for name in dict.fromkeys(("default", *names)))


def _log_format() -> str:
    return "text" if sys.stderr.isatty() else "json"


if __name__ == "__main__":
    main()
