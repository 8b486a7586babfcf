"""The commands that take a configuration: `perdure server start`, `perdure config check` and `show`."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import click
import structlog

from perdure.base.errors import InvalidArgument, PerdureError
from perdure.cluster.members import Role
from perdure.server import logs
from perdure.server.dynamic_keys import without_effect
from perdure.server.launching import launch
from perdure.server.options import ServingOptions

log = structlog.get_logger(__name__)


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--config FILE`."""
    option = click.option(
        "--config",
        "-c",
        "path",
        metavar="FILE",
        required=True,
        envvar="PERDURE_CONFIG",
        help="The configuration, in YAML. Each value can also be set by the environment: PERDURE_LOG__LEVEL.",
    )
    return option(command)


def role_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--role NAME`, as often as there are roles."""
    option = click.option(
        "--role",
        "-r",
        "roles",
        multiple=True,
        type=click.Choice([*map(str, Role), "all"]),
        help="What this process is; repeat it for several. Default: what the configuration says, else all.",
    )
    return option(command)


@click.command("start")
@config_option
@role_option
def start(path: str, roles: Sequence[str]) -> None:
    """Run some roles, or all, in this process, on the store that a configuration names."""
    config, options, _ = _read(path, roles)
    service = str(options.roles[0]) if len(options.roles) == 1 else "perdure"
    logs.configure(config.log.level, config.log.format, service)
    for slip in _slips():
        log.warning(slip)
    launch(options)


@click.group("config")
def config_group() -> None:
    """Look at a configuration."""


@config_group.command("check")
@config_option
@role_option
def check(path: str, roles: Sequence[str]) -> None:
    """Say whether a server would take a configuration. Opens no store."""
    _, options, unknown = _read(path, roles)
    for key in unknown:
        click.echo(f"dynamic.{key}: {without_effect(key)}")
    for slip in _slips():
        click.echo(slip)
    click.echo(f"{path} is a configuration. Roles: {', '.join(options.roles)}. Data: {options.store}.")


@config_group.command("show")
@config_option
def show_(path: str) -> None:
    """Print a configuration with its defaults and what the environment sets; secrets as stars."""
    config, _, _ = _read(path)
    from perdure.server.config import show  # noqa: PLC0415 - see _read

    click.echo(show(config), nl=False)


def _read(path: str, roles: Sequence[str] = ()) -> tuple[Any, ServingOptions, list[str]]:
    """The configuration, what it means, and dynamic keys without effect. Raises ClickException."""
    # Not for those who run `perdure dev`: pydantic takes a while.
    from perdure.server.config import load  # noqa: PLC0415 - as above
    from perdure.server.configured import serving_options  # noqa: PLC0415 - as above

    try:
        config = load(path, os.environ)
    except InvalidArgument as error:
        raise click.ClickException(error.message) from None
    try:
        return config, *serving_options(config, roles)
    except PerdureError as error:
        raise click.ClickException(f"{path} can't be used:\n  {error.message}") from None


def _slips() -> list[str]:
    """What of the environment was probably meant for this program."""
    from perdure.server.config import slips  # noqa: PLC0415 - see _read

    return list(slips(os.environ))
