"""A whole cluster on virtual time: one store that survives, and hosts that come and go around it.

A host is all roles in one process, wired as `perdure.server.cluster` wires them. It has a place: a share of the shards
and of the task queues, which its successor takes over; the other places' are reached over the network. Invariant:
after `crash` nothing that a host had begun goes on: its tasks end, its store and its network are gone, its callers
lose their connection, and no code of it had a say in that. A host may also be left running beside its successor, as a
stopped process that wakes up.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar
from zlib import crc32

import msgspec
from google.protobuf.message import Message
from temporalio.api.workflowservice.v1 import RespondQueryTaskCompletedRequest

from perdure.base.clock import SECOND_NS
from perdure.base.entropy import new_id
from perdure.base.errors import DeadlineExceeded, PerdureError, Unavailable
from perdure.base.limits import AddressRule, Limits
from perdure.base.slots import even_ranges
from perdure.base.tasks import Background
from perdure.cluster.members import Role
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.cluster.roles import HistoryRole, MatchingRole
from perdure.frontend.frontend import Frontend
from perdure.frontend.methods import full_name
from perdure.frontend.services import FrontendOptions
from perdure.rpc.call import CallMeta
from perdure.server.cluster import HistoryPart, Options, Roles
from perdure.shards.neighbours import Alone
from perdure.shards.options import ShardOptions
from perdure.store.contract import ShardRow
from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import VirtualClock, VirtualLoop
from perdure.testing.network import Network, NetworkDirectory, RemoteHistory, RemoteMatching
from perdure.testing.oplog import OpLog
from perdure.testing.receiver import HOST, WorldOutside
from perdure.testing.running import HERE, Running, held_of, owned_task
from perdure.testing.sim_store import SimFaults, SimStore
from perdure.workflow.tasks import QueueKey
from perdure.workflow.tokens import decode_token

T = TypeVar("T")
_RATE = 1_000_000
RETENTION_S = 24 * 3600
SIM_LIMITS = Limits(
    matching_poll_ns=10 * SECOND_NS,
    host_rps=_RATE,
    namespace_rps=_RATE,
    visibility_rps=_RATE,
    waiting_polls_max=10_000,
    workflow_pause=True,
    callback_addresses=(AddressRule(HOST, insecure=True),),
)


class ClusterOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`skew_ns`: each host's wall clock is off by at most so much; `drift`: its monotonic clock goes faster or slower
    by at most this share of the time. `roles`: how each host is built. `places`: how many hosts there are at a time;
    `processes`: of which roles, if they find one another as members (`SimProcesses`). `is_shared`: the store is one
    that several processes may open, so hosts have leases.
    """

    places: int = 1
    processes: tuple[tuple[Role, ...], ...] = ()
    roles: Options = Options(limits=SIM_LIMITS, shards=ShardOptions(shards=2))
    skew_ns: int = 0
    drift: float = 0.0
    namespaces: tuple[str, ...] = ("one", "two")
    is_shared: bool = False


# So many calls of those whose connections were made before go to a host that has a successor, as long as it is there.
_LINGERING = 0.6
# Roles stop in bounded time: so long is more than that.
_STOP_S = 60.0


class Host(Running):
    """All roles in one process, with a place's share of the shards."""

    def __init__(self, name: str, place: int, cluster: "SimCluster") -> None:
        entropy = cluster.entropy.fork(name)
        super().__init__(name, place, cluster.clock_of(entropy), entropy, cluster.store.seen_by(name))
        options, store = cluster.options, self.store
        self.roles = cluster.build(
            store,
            self.clock,
            self.entropy,
            options.roles,
            lambda _: NetworkDirectory(PlacesDirectory(self, cluster), cluster.network),
        )
        self.history = self.roles.part
        self.roles.history.callbacks.sender = cluster.outside
        self.roles.shards.neighbours = PlacesNeighbours(self, cluster)
        self.roles.shards.assign(set(cluster.shard_ids[place :: options.places]), 0)
        settings = FrontendOptions(limits=options.roles.limits, throttled=False, list_throttled=False)
        self.frontend = Frontend(
            self.roles.namespaces, self.roles.directory, store.visibility, self.clock, self.entropy, settings
        )

    async def begin(self) -> None:
        """See `Running.begin`."""
        await self.roles.start()

    async def end(self) -> None:
        """See `Running.end`."""
        if self.frontend is not None:
            await self.frontend.drain()
        await self.roles.stop()


class PlacesNeighbours(Alone):
    """A host that has a successor finds out when it has lost a shard to it."""

    def __init__(self, host: Host, cluster: "SimCluster") -> None:
        self._host = host
        self._cluster = cluster

    async def refresh(self, view: int) -> None:
        if self._host.is_abandoned:
            self._host.roles.shards.assign(set(), 1)


class PlacesDirectory:
    """Who owns what for one host: its own place's share is its own, whatever others think of it."""

    def __init__(self, host: Host, cluster: "SimCluster") -> None:
        self._host = host
        self._cluster = cluster

    def history(self, slot: int) -> HistoryRole:
        """`perdure.cluster.roles.Directory`."""
        shards = even_ranges(self._cluster.options.roles.shards.shards)
        return self._history(next(index for index, slots in enumerate(shards) if slot in slots))

    def history_of_shard(self, shard: str) -> HistoryRole:
        """`perdure.cluster.roles.Directory`."""
        return self._history(self._cluster.shard_ids.index(shard))

    def _history(self, index: int) -> HistoryRole:
        host = self._at(index % self._cluster.options.places)
        return host.roles.history if host is self._host else RemoteHistory(host.roles.history, host.serve)

    def matching(self, partition: QueueKey) -> MatchingRole:
        """`perdure.cluster.roles.Directory`."""
        host = self._at(crc32(partition.name.encode()) % self._cluster.options.places)
        return host.roles.matching if host is self._host else RemoteMatching(host.roles.matching, host.serve)

    def _at(self, place: int) -> Host:
        """The host of a place. Raises Unavailable while there is none."""
        host = self._host if place == self._host.place else self._cluster.hosts[place]
        if host is None:
            raise Unavailable("Connection refused.")
        assert isinstance(host, Host)
        return host


class SimCluster:
    """The store, the network, and the hosts. `hosts`: for each place the one that callers reach now, None while there
    is none.

    `build` makes a host's roles; a test may give one that makes broken ones. `steps_max`: a run that makes so many goes
    round in a circle.
    """

    steps_max = 400_000

    def __init__(
        self,
        loop: VirtualLoop,
        entropy: SeededEntropy,
        log: OpLog,
        options: ClusterOptions,
        build: Callable[..., Roles] = Roles,
    ) -> None:
        self.loop = loop
        self.entropy = entropy
        self.log = log
        self.options = options
        self.build = build
        self.faults = SimFaults(entropy.fork("store"))
        self.store = SimStore(loop.clock, self.faults, is_shared=options.is_shared)
        self.network = Network(entropy.fork("network"), loop.clock)
        self.outside = WorldOutside(entropy.fork("outside"))
        self.hosts: list[Running | None] = [None] * options.places
        self.shard_ids: list[str] = []  # in the order of their slots
        self.zombies: list[Running] = []
        self.fired: Counter[str] = Counter()
        self.alarms: list[str] = []
        self.doubled: list[str] = []  # slots that two processes answered for
        self._incarnations = 0
        self._balance = entropy.fork("balance")
        self._linger = entropy.fork("linger")
        self._all_linger = self._linger.fraction() < 0.3
        self._steps = 0
        self._armed: dict[str, int] = {}
        self._background = Background(self._unexpected)
        self.faults.at_mark = self._at_store_mark
        self.network.at_mark = self._at_mark
        loop.holds = held_of
        loop.set_task_factory(owned_task)
        loop.set_exception_handler(self._in_loop)

    async def start(self, place: int = 0) -> None:
        """Bring up a host; returns when it answers or has died again."""
        if not self.shard_ids:
            ranges = even_ranges(self.options.roles.shards.shards)
            wanted = [ShardRow(new_id(self.entropy), slots, 0, None) for slots in ranges]
            self.shard_ids = [row.shard for row in await self.store.shards.initialise(wanted)]
        self._incarnations += 1
        host = self.made(f"host-{self._incarnations}", place)
        self.log.note(f"{host.name} starts")
        self.hosts[place] = host
        starting = host.spawn(host.begin(), "start")
        await asyncio.wait((starting,))
        if not host.is_dead and starting.exception() is not None:
            self.crash(host)

    def made(self, name: str, place: int) -> Running:
        """A new process for a place."""
        return Host(name, place, self)

    def clock_of(self, entropy: SeededEntropy) -> VirtualClock:
        """The clock of a process, off by as much as it may be."""
        clock = VirtualClock(self.loop, int((2 * entropy.fraction() - 1) * self.options.skew_ns / 2))
        clock.rate = 1 + (2 * entropy.fork("drift").fraction() - 1) * self.options.drift
        return clock

    async def come_back(self) -> None:
        """Bring up what is missing, and wait until it is as it should be."""
        await self.start_missing()

    async def ending(self) -> list[str]:
        """What is not as it should be at rest, about who has what."""
        return []

    async def start_missing(self) -> None:
        """Bring up a host at every place that has none."""
        for place, host in enumerate(self.hosts):
            if host is None:
                await self.start(place)

    async def begin(self) -> None:
        """The first start: the hosts, and the namespaces."""
        await self.come_back()
        host = await self.reachable()
        namespaces = Namespaces(host.store.documents, host.clock)
        for name in self.options.namespaces:
            namespace = Namespace(new_id(self.entropy), name, RETENTION_S * SECOND_NS)
            await host.spawn(namespaces.register(namespace), "namespace")

    def one_of(self, fraction: float) -> Running | None:
        """One of the hosts that are reachable now, by `fraction` in [0, 1); None if there is none."""
        living = [host for host in self.hosts if host is not None]
        return living[int(fraction * len(living))] if living else None

    def crash(self, host: Running | None, why: str = "crash") -> None:
        """Kill a host at this instant."""
        if host is None or host.is_dead:
            return
        host.is_dead = True
        self.faults.dead.add(host.name)
        self.network.replies_lost.append(("", self.loop.clock.now_ns()))
        self.log.note(f"{host.name} dies")
        self.fired[why] += 1
        self._withdraw(host)
        if host in self.zombies:
            self.zombies.remove(host)
        self.go_on(host)
        for task in tuple(host.tasks):
            task.cancel()

    def crash_all(self) -> None:
        """Kill every host that is reachable."""
        for host in self.hosts:
            self.crash(host)

    def _withdraw(self, host: Running) -> None:
        """Nobody reaches it any more."""
        if self.hosts[host.place] is host:
            self.hosts[host.place] = None

    def abandon(self, host: Running | None) -> None:
        """The host gets a successor, but goes on, with its store: it must not get in its successor's way. Where the
        store is shared some callers still reach it, else nobody does.
        """
        if host is not None:
            self._withdraw(host)
            self.log.note(f"{host.name} is abandoned")
            self.fired["zombie"] += 1
            host.is_abandoned = True
            self.faults.without_claims.add(host.name)
            self.zombies.append(host)

    def pause(self, host: Running | None) -> None:
        """Stop the host where it stands; it gets a successor, and some callers wait for it all the same."""
        if host is not None:
            self._withdraw(host)
            self.log.note(f"{host.name} is stopped")
            self.fired["pause"] += 1
            host.is_abandoned = True
            host.held = []
            self.zombies.append(host)

    def go_on(self, host: Running) -> None:
        """Let a stopped host go on, with what it had in hand."""
        held, host.held = host.held, None
        if held is not None:
            self.log.note(f"{host.name} goes on")
            self.loop.go_on(held)

    async def release(self, host: Running | None) -> None:
        """Stop a host in good order, as a signal does: its callers are sent away, its work is saved."""
        if host is None:
            return
        self._withdraw(host)
        self.log.note(f"{host.name} is told to stop")
        stopping = host.spawn(host.end(), "stop")
        _, pending = await asyncio.wait((stopping,), timeout=_STOP_S)
        if pending:
            self.alarms.append(f"{host.name} does not stop")
        self.crash(host, "release")

    async def cut(self, host: Running | None, seconds: float) -> None:
        """Keep a host from the store for so long."""
        if host is not None:
            self.log.note(f"{host.name} is cut off")
            self.fired["store cut"] += 1
            self.faults.cut(host.name)
            await asyncio.sleep(seconds)
            self.faults.mend(host.name)

    async def storm(self, seconds: float) -> None:
        """For so long the store does little of what anybody asks."""
        self.log.note("the store is in a storm")
        self.fired["storm"] += 1
        self.faults.storms += 1
        await asyncio.sleep(seconds)
        self.faults.storms = max(0, self.faults.storms - 1)

    def set_clock(self, host: Running | None, fraction: float) -> None:
        """Put a host's clock somewhere within the skew, `fraction` in [0, 1]."""
        if host is not None:
            self.fired["clock"] += 1
            host.clock.offset_ns = int((2 * fraction - 1) * self.options.skew_ns / 2)

    def arm(self, mark: str, nth: int) -> None:
        """Kill the host when it reaches this mark (`before append`, `after offer`, …) for the `nth` time from now."""
        self._armed[mark] = nth

    def disarm(self) -> None:
        """Forget the armed marks."""
        self._armed.clear()

    def _at_store_mark(self, _host: str, mark: str) -> None:
        self._at_mark(mark)

    def _at_mark(self, mark: str) -> None:
        self._steps += 1
        if self._steps > self.steps_max:
            self.loop.stop()
        left = self._armed.get(mark)
        if left is None:
            return
        host = HERE.get()
        if host is None or host not in self.hosts:
            return
        if left > 1:
            self._armed[mark] = left - 1
            return
        del self._armed[mark]
        self.fired[mark] += 1
        self.crash(host)
        raise asyncio.CancelledError

    async def reachable(self, *, lingers: bool = False) -> Running:
        """A host that answers, as a load balancer finds it, or one that has a successor already, for a caller who
        `lingers`. Raises Unavailable while there is none.
        """
        lingers = self.zombies != [] and self.options.is_shared and (lingers or self._all_linger)
        if lingers and self._linger.fraction() < _LINGERING:
            return self.zombies[-1]
        host = self.one_of(self._balance.fraction())
        if host is None:
            raise Unavailable("Connection refused.")
        return host

    async def call(
        self,
        method: str,
        request: Message,
        *,
        timeout_s: float = 10.0,
        client_name: str = "temporal-python",
        lingers: bool = False,
    ) -> Any:
        """Call a method of the public API as a client does. Raises the error tree, as the SDK sees it."""
        host = await self.reachable(lingers=lingers)
        assert host.frontend is not None
        entry = host.frontend.methods[full_name(method)]
        copy = entry.request()
        copy.CopyFrom(request)
        meta = CallMeta(timeout_ns=int(timeout_s * SECOND_NS), client_name=client_name, client_version="1.0.0")

        async def serve() -> Message | bytes:
            return await self.network.call(f"serve {method}", lambda: entry.handler(copy, meta), _workflow_id(request))

        try:
            async with asyncio.timeout(timeout_s):
                return await host.serve(method, serve)
        except TimeoutError as error:
            raise DeadlineExceeded("Deadline exceeded.") from error

    def doubted(self, workflow_id: str) -> None:
        """A call about this workflow is repeated, which may have been done: what it is told may be of what it did."""
        self.network.replies_lost.append((workflow_id, self.loop.clock.now_ns()))

    def owner(self, slot: int) -> HistoryPart:
        """The history role that has the slot. Raises Unavailable while nobody has it."""
        for host in self.hosts:
            history = host.history if host is not None else None
            if history is not None and any(slot in shard.slots for shard in history.shards.owned()):
                return history
        raise Unavailable("Nobody owns the slot.")

    def _unexpected(self, error: BaseException) -> None:
        self.alarms.append(f"{type(error).__name__}: {error}")

    def _in_loop(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, PerdureError) and not context.get("handle"):
            return
        self.alarms.append(f"{context.get('message')}: {error!r}")


def _workflow_id(request: Any) -> str:
    """Whose workflow a request of the API is about, "" where it is about none."""
    if isinstance(request, RespondQueryTaskCompletedRequest):
        return ""
    if token := getattr(request, "task_token", b""):
        return decode_token(token).workflow_id
    for field in ("workflow_execution", "execution"):
        if field in request.DESCRIPTOR.fields_by_name:
            return str(getattr(request, field).workflow_id)
    return str(getattr(request, "workflow_id", ""))
