"""The roles of other hosts, by address: the same Protocols as in one process, with calls over connections.

Invariant: a reply, an error and a cancellation mean what they mean in one process; besides, a call may fail with
`HostUnreachable`, and then was not begun, or with `Unavailable`, and then nobody knows. Refuses to know who owns what.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import structlog

from perdure.base.errors import HostUnreachable
from perdure.base.spans import Spans
from perdure.base.tasks import Background
from perdure.cluster.roles import HistoryRole, MatchingRole
from perdure.cluster.shard_host import ShardHost
from perdure.rpc.channels import Channel, ChannelOptions
from perdure.rpc.role_methods import RoleMethod
from perdure.rpc.role_stubs import RemoteHistory, RemoteMatching, RemoteShardHost
from perdure.rpc.tls import ChannelTls

log = structlog.get_logger(__name__)


class Peers:
    """The hosts that this one talks to. `suspect`: told of an address that doesn't answer, or no longer; it must not
    raise and not wait, and may be called for each failed call. `spans`: whose traces calls are part of. `is_plain`:
    whether the host at an address is spoken to in plain text although there is `tls`.
    """

    def __init__(
        self,
        suspect: Callable[[str], None],
        tls: ChannelTls | None = None,
        options: ChannelOptions = ChannelOptions(),  # noqa: B008 - it is frozen
        spans: Spans | None = None,
        is_plain: Callable[[str], bool] = lambda address: False,
    ) -> None:
        self._suspect = suspect
        self._tls = tls
        self._is_plain = is_plain
        self._options = options
        self._spans = spans
        self._channels: dict[str, Channel] = {}  # the one that was used longest ago comes first
        self._background = Background(lambda error: log.error("closing a connection failed", exc_info=error))
        self._closed = False

    def history(self, address: str) -> HistoryRole:
        """The history role at `host:port`."""
        return RemoteHistory(self, address)

    def matching(self, address: str) -> MatchingRole:
        """The matching role at `host:port`."""
        return RemoteMatching(self, address)

    def shard_host(self, address: str) -> ShardHost:
        """The owner of shards at `host:port`, where its history role is."""
        return RemoteShardHost(self, address)

    async def call(
        self, address: str, method: RoleMethod, arguments: tuple[Any, ...], limits_s: tuple[float, float]
    ) -> Any:
        """What `method` answers there. `limits_s`: what the caller has left, 0 = no limit; what it takes at most if
        there is none. Raises the method's errors, HostUnreachable, Unavailable, DeadlineExceeded.
        """
        if self._closed:
            raise HostUnreachable("this host is stopping", address)
        body = method.write(*arguments)
        limit_s, most_s = limits_s
        headers = None if self._spans is None else self._spans.headers()
        channel = self._channel(address)
        reply = await channel.call(method, body, limit_s or most_s, own_limit=not limit_s, headers=headers)
        return method.read_reply(reply)

    def keep(self, addresses: Collection[str]) -> None:
        """Close, once their calls are over, the connections to all other addresses."""
        for address in self._channels.keys() - set(addresses):
            self._channels.pop(address).forget()

    async def close(self) -> None:
        """Close all connections; calls that still run fail."""
        self._closed = True
        channels, self._channels = list(self._channels.values()), {}
        await asyncio.gather(*(channel.close() for channel in channels))
        await self._background.close()

    def _channel(self, address: str) -> Channel:
        channel = self._channels.pop(address, None)
        if channel is None:
            self._make_room()
            channel = Channel(address, self._options, lambda: self._tls_for(address), self._suspect, self._background)
        self._channels[address] = channel
        return channel

    def _tls_for(self, address: str) -> ChannelTls | None:
        return None if self._tls is None or self._is_plain(address) else self._tls

    def _make_room(self) -> None:
        if len(self._channels) < self._options.channels_max:
            return
        unused = next((channel for channel in self._channels.values() if not channel.in_use), None)
        if unused is not None:
            self._channels.pop(unused.address).forget()
