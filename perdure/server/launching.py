"""From options to a running server, and from its errors to one line and an exit code of 1."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import click

from perdure.base.errors import PerdureError, StoreUnavailable
from perdure.server.console import standard_console
from perdure.server.options import ServingOptions
from perdure.server.serving import serve


def launch(options: ServingOptions) -> None:
    """Serve until told to stop. Raises ClickException with what kept it from serving."""
    try:
        runner()(serve(options, standard_console()))
    except StoreUnavailable as error:
        raise click.ClickException(f"{error.message} Data: {options.store}.") from error
    except PerdureError as error:
        raise click.ClickException(error.message) from error
    except OSError as error:
        raise click.ClickException(str(error)) from error


def runner() -> Callable[[Any], None]:
    """Uvloop's where there is one."""
    if sys.platform == "win32":
        return asyncio.run
    import uvloop  # noqa: PLC0415 - not on every platform

    return uvloop.run
