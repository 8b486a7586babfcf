"""The command line: `perdure dev` for people, `perdure server start-dev` for SDK test environments."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
import structlog

from perdure.base.errors import InvalidArgument, PerdureError, StoreUnavailable
from perdure.base.limits import Limits
from perdure.server import logs
from perdure.server.console import standard_console
from perdure.server.dev import serve
from perdure.server.dynamic import Settings, with_values
from perdure.server.options import MEMORY, DevOptions, check_namespaces, parse_dynamic_value, parse_search_attribute

log = structlog.get_logger(__name__)
_DAY_NS = 24 * 3600 * 1_000_000_000
# What a test asks of a workflow that is over has to be there, however much time it has skipped since.
_LONG_NS = 100 * 365 * _DAY_NS
_OPEN_RATE = 1_000_000  # a development server limits nobody's rate unless it is told to


_time_option = click.option(
    "--time-skipping",
    is_flag=True,
    help="Serve the TestService, by whose calls tests skip through timers. In memory only.",
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
@click.option(
    "--db-filename", "-f", default="perdure.db", show_default=True, help="The database file; :memory: for none."
)
@_port_option
@_time_option
@_shared_options
def dev(db_filename: str, **options: Any) -> None:
    """Run a whole cluster in this process, with its data in a file."""
    _run(db_filename, _LONG_NS if options["time_skipping"] else 3 * _DAY_NS, **options)


@main.group()
def server() -> None:
    """Run a server."""


@server.command("start-dev")
@click.option("--db-filename", "-f", default=MEMORY, help="The database file; in memory if not given.")
@_port_option
@_time_option
@_shared_options
def start_dev(db_filename: str, **options: Any) -> None:
    """Run a whole cluster in this process, in memory unless a file is named."""
    _run(db_filename or MEMORY, _LONG_NS if options["time_skipping"] else _DAY_NS, **options)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("port", type=click.IntRange(0, 65535))
@click.option("--enable-time-skipping", is_flag=True, help="Begin unlocked: skip whatever time can be skipped.")
@_shared_options
def test_server(port: int, enable_time_skipping: bool, **options: Any) -> None:
    """Run a cluster whose clock tests can skip, as SDKs' test environments run their test server."""
    options |= {"port": port, "time_skipping": True, "time_locks": 0 if enable_time_skipping else 1}
    _run(MEMORY, _LONG_NS, **options)


def _run(
    database: str,
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
    if time_skipping and database != MEMORY:
        # What is in a file would be of a time to come when it is opened again.
        raise click.UsageError(f"--time-skipping is for data in memory: --db-filename {MEMORY}")
    try:
        settings, unknown = with_values(Settings(limits=rates), [parse_dynamic_value(text) for text in dynamic])
        check_namespaces(namespaces, settings.limits)
        options = DevOptions(
            ip="127.0.0.1" if ip == "localhost" else ip,
            port=port,
            metrics_port=metrics_port,
            database=database,
            namespaces=tuple(dict.fromkeys(("default", *namespaces))),
            search_attributes=dict(parse_search_attribute(text) for text in attributes),
            retention_ns=retention_ns,
            limits=settings.limits,
            listener=settings.listener,
            cache_bytes_max=settings.cache_bytes_max,
            time_locks=time_locks if time_skipping else None,
        )
    except InvalidArgument as error:
        raise click.UsageError(error.message) from error
    for key in unknown:
        log.warning("this configuration key is not known here and has no effect", key=key)
    if ui_port is not None and not headless:
        log.warning("there is no Web UI yet; --ui-port has no effect")
    try:
        _runner()(serve(options, standard_console()))
    except StoreUnavailable as error:
        raise click.ClickException(f"{error.message} Data: {options.database_name}.") from error
    except PerdureError as error:
        raise click.ClickException(error.message) from error
    except OSError as error:
        raise click.ClickException(str(error)) from error


def _log_format() -> str:
    return "text" if sys.stderr.isatty() else "json"


def _runner() -> Callable[[Any], None]:
    """Uvloop's where there is one."""
    if sys.platform == "win32":
        return asyncio.run
    import uvloop  # noqa: PLC0415 - not on every platform

    return uvloop.run


if __name__ == "__main__":
    main()
