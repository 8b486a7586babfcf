"""The smallest name server that `helm test` needs: addresses of services, asked of Kubernetes, and of nothing else."""

import asyncio
import struct
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from typing import cast

_A, _OK, _NO_NAME = 1, 0x8580, 0x8583
_SECONDS = 5


class Names(asyncio.DatagramProtocol):
    """Answers NAME.NAMESPACE.svc and NAME.NAMESPACE.svc.cluster.local with what `find(NAME, NAMESPACE)` says."""

    def __init__(self, find: Callable[[str, str], Awaitable[str]]) -> None:
        self._find = find
        self._transport: asyncio.DatagramTransport | None = None
        self._answers: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(data, addr))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, end = _question(data)
        (kind,) = struct.unpack_from("!H", data, end)
        known = labels[2:] in (["svc"], ["svc", "cluster", "local"])
        address = await self._find(labels[0], labels[1]) if known else ""
        found = bool(address) and kind == _A
        head = data[:2] + struct.pack("!HHHHH", _OK if address else _NO_NAME, 1, int(found), 0, 0)
        record = struct.pack("!HHHIH", 0xC00C, _A, 1, _SECONDS, 4) + IPv4Address(address).packed if found else b""
        assert self._transport is not None
        self._transport.sendto(head + data[12 : end + 4] + record, addr)


def _question(data: bytes) -> tuple[list[str], int]:
    """The labels of the first name that is asked for, and where its type is."""
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("ascii", "replace").lower())
        at += 1 + data[at]
    return labels, at + 1
