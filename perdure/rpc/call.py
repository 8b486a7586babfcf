"""What a method is, and what a server knows of a call besides its request.

A table of methods is all that a transport needs of a role: gRPC serves it over the network, a simulator calls it
directly. Refuses to know grpc.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from google.protobuf.message import Message


class CallMeta(msgspec.Struct, frozen=True):
    """`timeout_ns`: what was left of the caller's deadline when the call arrived, 0 = it has none.

    `certificate_names`: who the caller is by the certificate that it has shown, as `dns:worker.example`. The rest are
    headers, "" where absent.
    """

    timeout_ns: int = 0
    client_name: str = ""
    client_version: str = ""
    authorization: str = ""
    certificate_names: tuple[str, ...] = ()
    traceparent: str = ""


# `(request, meta)`. The reply is a message, or bytes that are one already. Errors are those of `perdure.base.errors`;
# cancelling means that the caller is gone or out of time.
Handler = Callable[[Any, CallMeta], Awaitable[Message | bytes]]


class Method(msgspec.Struct, frozen=True):
    """A unary method: the class that its request is parsed as, and what answers it."""

    request: type[Message]
    handler: Handler


# The same for a body as it came, which answers errors with bytes too.
RawHandler = Callable[[bytes, CallMeta], Awaitable[bytes]]


class RawMethod(msgspec.Struct, frozen=True):
    """A unary method between hosts: bytes in, bytes out."""

    handler: RawHandler


# "/package.Service/Method" -> the method.
MethodTable = Mapping[str, Method]
