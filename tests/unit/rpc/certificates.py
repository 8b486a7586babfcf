"""Certificates in files, made for a test, and listeners that use them."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import trustme
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

from perdure.rpc.call import CallMeta, Method
from perdure.rpc.server import RpcServer, ServerOptions
from perdure.rpc.tls import ChannelFiles, ServerFiles, ServerTls

METHOD = "/temporal.api.workflowservice.v1.WorkflowService/DescribeNamespace"
SECOND_NS = 1_000_000_000


class FakeClock:
    def __init__(self) -> None:
        self.time_ns = SECOND_NS

    def now_ns(self) -> int:
        return self.time_ns

    def monotonic_ns(self) -> int:
        return self.time_ns


class Folder:
    """Files of one authority: `ca.pem`, and for each name `name.pem` with its `name.key`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.authority = trustme.CA()
        path.mkdir(exist_ok=True)
        self.authority.cert_pem.write_to_path(str(path / "ca.pem"))

    @property
    def ca(self) -> str:
        return str(self.path / "ca.pem")

    def issue(self, name: str, *identities: str, common_name: str | None = None) -> tuple[str, str]:
        """A certificate for the identities, or anew for others; the paths of it and of its key."""
        made = self.authority.issue_cert(*(identities or ("localhost",)), common_name=common_name)
        certificate, key = self.path / f"{name}.pem", self.path / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(key))
        return str(certificate), str(key)

    def server(self, name: str, *identities: str, clients: str = "", client_names: tuple[str, ...] = ()) -> ServerFiles:
        certificate, key = self.issue(name, *identities)
        return ServerFiles(certificate=certificate, key=key, client_authority=clients, client_names=client_names)

    def channel(self, name: str = "", *identities: str, server_name: str = "localhost") -> ChannelFiles:
        certificate, key = self.issue(name, *identities) if name else ("", "")
        return ChannelFiles(authority=self.ca, server_name=server_name, certificate=certificate, key=key)


def replace(path: str, by: str) -> None:
    """Write one file's contents into another one."""
    Path(path).write_bytes(Path(by).read_bytes())


@contextlib.asynccontextmanager
async def listening(
    tls: ServerTls | None, options: ServerOptions | None = None
) -> AsyncIterator[tuple[str, list[Any]]]:
    """A listener; its address, and what is known of each call to it."""
    seen: list[CallMeta] = []

    async def handler(_request: Any, meta: CallMeta) -> bytes:
        seen.append(meta)
        return b""

    server = RpcServer({METHOD: Method(DescribeNamespaceRequest, handler)}, options=options or ServerOptions(), tls=tls)
    port = await server.start("127.0.0.1:0")
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        await server.stop(0)


async def call(channel: grpc.aio.Channel) -> bytes:
    """One call over the channel, which is closed then."""
    async with channel:
        method: Any = channel.unary_unary(METHOD)
        reply: bytes = await method(b"", timeout=20)
        return reply
