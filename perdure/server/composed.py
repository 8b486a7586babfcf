"""A server's roles, put together for its store: all of them for one that is its own, some of them in a cluster.

Both have the same verbs, which say in which order a server starts and stops. Invariant: a role says that it serves only
while calls to it have where to go.
"""

import asyncio
import math
import socket
from collections.abc import Callable, Coroutine, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from perdure.base.errors import InvalidArgument
from perdure.base.spans import Spans
from perdure.cluster.members import Member, Role, View
from perdure.cluster.operations import Operations
from perdure.cluster.roles import Directory
from perdure.rpc.call import RawMethod
from perdure.rpc.peers import Peers
from perdure.rpc.role_handlers import INTERNAL_OPTIONS, history_methods, matching_methods
from perdure.rpc.server import RpcServer
from perdure.rpc.traced import traced
from perdure.server.addresses import advertised, is_loopback
from perdure.server.cluster import Ground, HistoryPart, LocalDirectory, matching_service
from perdure.server.host import Host
from perdure.server.operations import SoleOperations
from perdure.server.options import Listener, ServingOptions
from perdure.server.role_rates import history_rates, matching_rates
from perdure.server.stores import InCassandra

if TYPE_CHECKING:
    from perdure.server.security import Security

log = structlog.get_logger(__name__)
HEALTH_NAMES = {Role.HISTORY: "perdure.History", Role.MATCHING: "perdure.Matching"}
_LOOK_S = 0.1


class Composed(Protocol):
    """The roles of a process."""

    ground: Ground
    directory: Directory
    history: HistoryPart | None
    operations: Operations

    def on_change(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever `serves` may have changed; it must not raise and not wait."""
        ...

    def frontends(self) -> int:
        """How many frontends serve now, at least 1."""
        ...

    async def listen(self) -> None:
        """Listen to other hosts. Raises OSError, InvalidArgument."""
        ...

    async def start(self, frontend_port: int) -> None:
        """Take its place, and its shards. Raises Unavailable."""
        ...

    async def settled(self, within_s: float = math.inf) -> bool:
        """Return when everything has come that the start asked for, and calls have where to go; False if that took too
        long. From then on what is here serves, and the rest when it is ready: ask again.
        """
        ...

    def serves(self, role: Role) -> bool:
        """Whether the role is a place for calls."""
        ...

    async def tell_health(self) -> None:
        """Let health checks of other hosts' listeners know."""
        ...

    async def leave(self) -> None:
        """Give others what is here, while it still serves."""
        ...

    async def drain(self, drain_s: float) -> None:
        """Take no new calls of other hosts; those that have begun may go on so long."""
        ...

    async def stop(self) -> None:
        """End everything, started or not, in bounded time."""
        ...


class OneProcess:
    """All roles, on a store that no other process has open."""

    def __init__(self, ground: Ground, ip: str = "", port: int = 0) -> None:
        local = LocalDirectory()
        self.ground = ground
        self.directory = ground.seen_by("frontend", local)
        self._part = HistoryPart(ground, ground.seen_by("history", local))
        self._matching = matching_service(ground, ground.seen_by("matching", local))
        local.history_role, local.matching_role = self._part.service, self._matching
        self.history: HistoryPart | None = self._part
        address = f"{ip}:{port}" if port else ip
        self.operations: Operations = SoleOperations(
            self._part.shards, ground.store.shards, address, ground.clock.now_ns()
        )

    def on_change(self, changed: Callable[[], None]) -> None:
        self._part.shards.on_presence = lambda is_here: changed()

    def frontends(self) -> int:
        return 1

    async def listen(self) -> None:
        """There is nobody to listen to."""

    async def start(self, frontend_port: int) -> None:
        await self._part.shards.start()

    async def settled(self, within_s: float = math.inf) -> bool:
        return await _within(within_s, self._part.shards.settled())

    def serves(self, role: Role) -> bool:
        return bool(self._part.shards.owned())

    async def tell_health(self) -> None:
        """Nobody asks."""

    async def leave(self) -> None:
        """There is nobody to leave anything to."""

    async def drain(self, drain_s: float) -> None:
        """Nobody calls but the frontend."""

    async def stop(self) -> None:
        """Matching first, so that nothing new is started; then the shards with their last checkpoint."""
        await self._matching.close()
        await self._part.stop()


class OfCluster:
    """Some roles, or all, with listeners for other hosts."""

    def __init__(self, ground: Ground, options: ServingOptions, security: "Security | None") -> None:
        self._options = options
        self._internode = security.internode if security is not None else None
        channels = security.channels if security is not None else None
        self._plain: frozenset[str] = frozenset()
        peers = Peers(self._suspect, channels, spans=_spans(ground), is_plain=lambda address: address in self._plain)
        self._host = Host(ground, options.roles, peers)
        self.membership = self._host.membership
        # Hosts that are gone don't come back under their addresses: pods get new ones.
        self.membership.subscribe(lambda view: peers.keep(view.addresses()))
        if security is not None and not security.is_strict:
            self.membership.subscribe(self._see_plain)
        self._servers: dict[Role, RpcServer] = {}
        self._addresses: dict[str, str] = {}
        self._told: dict[Role, bool] = {}
        self._ready: set[Role] = set()  # they were so once: what others lack later is not theirs
        self._is_late = False
        self.ground = ground
        self.directory = self._host.directory
        self.history = self._host.history
        self.operations: Operations = self._host.operations

    def on_change(self, changed: Callable[[], None]) -> None:
        self._host.membership.subscribe(lambda view: changed())
        if self.history is not None:
            self.history.shards.on_presence = lambda is_here: changed()

    def frontends(self) -> int:
        return max(1, len(self._host.membership.view.serving(Role.FRONTEND)))

    def _see_plain(self, view: View) -> None:
        self._plain = view.plain_addresses()

    def _suspect(self, address: str) -> None:
        self._host.rings.suspect_address(address)

    async def listen(self) -> None:
        host = self._host
        if host.history_for_others is not None:
            admit = history_rates(self.ground.options.limits, self.ground.clock)
            methods = history_methods(host.history_for_others, host.shard_host, admit)
            await self._listen(Role.HISTORY, methods, self._options.history)
        if host.matching_for_others is not None:
            admit = matching_rates(self.ground.options.limits, self.ground.clock)
            methods = matching_methods(host.matching_for_others, admit)
            await self._listen(Role.MATCHING, methods, self._options.matching)

    async def _listen(self, role: Role, methods: Mapping[str, RawMethod], listener: Listener) -> None:
        at = await advertised(self._options.advertise, listener.ip)
        if (spans := _spans(self.ground)) is not None:
            methods = traced(methods, spans, role.value)
        names = [HEALTH_NAMES[role]]
        server = RpcServer(methods, health_names=names, options=INTERNAL_OPTIONS, tls=self._internode)
        await server.set_serving(False)
        host = f"[{listener.ip}]" if ":" in listener.ip else listener.ip
        port = await server.start(f"{host}:{listener.port}")
        self._servers[role] = server
        self._addresses[role] = f"{at}:{port}"

    async def start(self, frontend_port: int) -> None:
        addresses = dict(self._addresses)
        if Role.FRONTEND in self._options.roles:
            addresses[Role.FRONTEND] = f"{await self._frontend_host()}:{frontend_port}"
        self._warn_of_loopback(addresses)
        member = Member(
            host="",
            addresses=addresses,
            name=socket.gethostname(),
            release=version("perdure"),
            started_ns=self.ground.clock.now_ns(),
            tls=self._internode is not None,
        )
        await self._host.join(member)
        await self._host.serve()

    async def _frontend_host(self) -> str:
        """For people: no other host calls a frontend."""
        try:
            return await advertised(self._options.advertise, self._options.ip)
        except InvalidArgument:
            return self._options.ip

    def _warn_of_loopback(self, addresses: Mapping[str, str]) -> None:
        store = self._options.store
        if not isinstance(store, InCassandra) or any(map(is_loopback, store.options.contact_points)):
            return
        if any(is_loopback(address.rpartition(":")[0]) for address in addresses.values()):
            log.warning("other machines can't reach this one: see listen and cluster.advertise", addresses=addresses)

    async def settled(self, within_s: float = math.inf) -> bool:
        if await _within(within_s, self._all_ready()):
            return True
        self._is_late = True
        return False

    async def _all_ready(self) -> None:
        while True:
            if self._host.is_settled():
                return
            await asyncio.sleep(_LOOK_S)

    def serves(self, role: Role) -> bool:
        host = self._host.membership.host
        if host not in self._host.membership.view.serving(role):
            return False
        if role is Role.HISTORY and not self._host.has_shards():
            return False
        if role not in self._ready and (self._host.is_ready(role) or (self._is_late and role is Role.HISTORY)):
            self._ready.add(role)
        return role in self._ready

    async def tell_health(self) -> None:
        for role, server in self._servers.items():
            serves = self.serves(role)
            if self._told.get(role) != serves:
                self._told[role] = serves
                await server.set_serving(serves)

    async def leave(self) -> None:
        await self._host.leave()

    async def drain(self, drain_s: float) -> None:
        servers, self._servers = self._servers, {}
        await asyncio.gather(*(server.stop(drain_s) for server in servers.values()))

    async def stop(self) -> None:
        await self.drain(0)
        await self._host.stop()


async def _within(limit_s: float, work: Coroutine[Any, Any, None]) -> bool:
    """Whether it was done in time."""
    try:
        async with asyncio.timeout(None if limit_s == math.inf else limit_s):
            await work
    except TimeoutError:
        return False
    return True


def _spans(ground: Ground) -> Spans | None:
    return ground.metrics.spans if ground.metrics is not None else None


def composed(ground: Ground, options: ServingOptions, security: "Security | None") -> Composed:
    """What suits the store."""
    if ground.store.is_shared:
        return OfCluster(ground, options, security)
    return OneProcess(ground, options.ip, options.port)
