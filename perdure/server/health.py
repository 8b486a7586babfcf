"""`perdure health`: whether a server serves, as an exit code; for tests of an installation and for orchestrators that
run commands.
"""

import asyncio

import click

from perdure.base.errors import PerdureError
from perdure.rpc.health_asking import health_of
from perdure.rpc.tls import ChannelFiles

_SERVICE = "temporal.api.workflowservice.v1.WorkflowService"


@click.command()
@click.option("--address", default="127.0.0.1:7233", show_default=True, envvar="PERDURE_ADDRESS", help="HOST:PORT")
@click.option("--service", default=_SERVICE, show_default=True, help="By its name in gRPC's health protocol.")
@click.option("--timeout", type=click.FloatRange(0.1, 600), default=5.0, show_default=True, help="In seconds.")
@click.option("--tls-ca", default="", help="The server's certificate must be of these authorities (PEM).")
@click.option("--tls-cert", default="", help="Shown to a server that asks for one.")
@click.option("--tls-key", default="", help="The key of --tls-cert.")
@click.option("--tls-server-name", default="", help="The name that the server's certificate has, if not its address's.")
def health(
    address: str, service: str, timeout: float, tls_ca: str, tls_cert: str, tls_key: str, tls_server_name: str
) -> None:
    """Say whether a server serves: exit code 0 only if it does."""
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("--tls-cert and --tls-key belong together: expected both or neither")
    if (tls_cert or tls_server_name) and not tls_ca:
        raise click.UsageError("--tls-ca is missing: whose certificates are to be believed")
    tls = ChannelFiles(authority=tls_ca, server_name=tls_server_name, certificate=tls_cert, key=tls_key)
    try:
        status = asyncio.run(health_of(address, service, tls if tls_ca else None, timeout))
    except PerdureError as error:
        raise click.ClickException(error.message) from None
    click.echo(status)
    if status != "SERVING":
        raise SystemExit(1)
