"""A server, whichever roles it has, on a store, until it is told to stop.

Invariant: health says SERVING of a role from when calls to it have where to go, or a history's shards were waited for,
until the process is told to stop, but while there is no shard at all. Roles start in any order, and none waits for one
that it can do without.
"""

import asyncio
import gc
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec
import structlog

from perdure.base.clock import SECOND_NS, AdvancingClock, Clock, SystemClock
from perdure.base.entropy import SystemEntropy
from perdure.base.errors import Unavailable
from perdure.base.metrics import Metrics
from perdure.base.tasks import Background
from perdure.cluster.members import Role
from perdure.frontend.frontend import HEALTH_NAME, Frontend
from perdure.frontend.guards import Guards
from perdure.frontend.services import FrontendOptions
from perdure.frontend.test_service import test_methods
from perdure.history.executions import HistoryExecutions
from perdure.rpc.call import Method, MethodTable
from perdure.rpc.measured import measured
from perdure.rpc.server import RpcServer
from perdure.rpc.traced import traced
from perdure.server.beginning import cluster_id, make_namespaces
from perdure.server.cluster import Options, ground
from perdure.server.composed import composed
from perdure.server.console import Console, Facts
from perdure.server.dynamic import Dynamic, checked
from perdure.server.dynamic_file import DynamicFile
from perdure.server.http_sender import HttpSender
from perdure.server.measured import DynamicConfigMeter
from perdure.server.options import ServingOptions
from perdure.server.process import ProcessMeter, measure_history
from perdure.server.scrape import PATH, Scrape
from perdure.server.stores import open_store
from perdure.server.telemetry import open_tracing
from perdure.server.time_skipping import TimeSkipping
from perdure.server.waiting import Patience, ToldToStop, leave_now, stop_signals, unless_stopped
from perdure.shards.merging import MergePolicy
from perdure.shards.options import ShardOptions
from perdure.shards.splitting import SplitPolicy
from perdure.store.contract import Store

if TYPE_CHECKING:
    from perdure.server.security import Security

log = structlog.get_logger(__name__)
_SHARDS_S = 60.0
_NAMES_S = 10.0
_YOUNG_OBJECTS = 20_000


async def serve(options: ServingOptions, console: Console) -> None:
    """Serve until SIGTERM or SIGINT, the second of which ends the process at once. Raises PerdureError, OSError."""
    stop = stop_signals()
    # Nodes that have only just met answer a new keyspace's first statements with errors.
    patience = Patience(SystemClock(), options.store_wait_s)
    try:
        opening = patience.until(lambda: open_store(options.store, SystemClock()))
        store = await unless_stopped(stop, opening)
    except ToldToStop:
        log.info("stopped before the store was there")
        # A thread may wait for a node that doesn't answer, and the interpreter for the thread. Nothing is held yet.
        leave_now(0)
    console.step(f"data: {options.store}")
    server = Server(store, options)
    try:
        await unless_stopped(stop, server.start(console))
        await stop.wait()
        log.info("stopping")
        console.stopping()
        await server.drain()
    except ToldToStop:
        console.stopping()
    finally:
        await server.stop()
        await store.close()
    console.stopped(str(options.store))


@runtime_checkable
class Measurable(Protocol):
    """A store with metrics of its own, besides those of every store."""

    def measure(self, metrics: Metrics) -> None:
        """Count from now on."""
        ...


class Server:
    """The roles, the listener before them and the metrics beside them, on a store that somebody else closes."""

    def __init__(self, store: Store, options: ServingOptions) -> None:
        self._options = options
        self._has_frontend = Role.FRONTEND in options.roles
        services = tuple(map(str, options.roles))
        self._traces = open_tracing(options.traces, services) if options.traces is not None else None
        self._entropy, self._metrics = SystemEntropy(), Metrics(services, self._traces)
        self._clock: Clock = SystemClock() if options.time_locks is None else AdvancingClock(SystemClock())
        if isinstance(store, Measurable):
            store.measure(self._metrics)
        self._dynamic = Dynamic(options.settings)
        self._dynamic.apply(checked(options.dynamic))
        meter = DynamicConfigMeter(self._metrics)
        self._file = DynamicFile(self._dynamic, options.dynamic, options.dynamic_file, meter)
        settings = Options(limits=self._dynamic, shards=_shard_options(options))
        self._ground = ground(store, self._clock, self._entropy, settings, self._metrics)
        self._security: Security | None = None
        if options.security is not None:
            self._security = options.security(self._clock, self._metrics, self._frontends)
        self._roles = composed(self._ground, options, self._security)
        self._sender = HttpSender()
        self._skipping: TimeSkipping | None = None
        self._process = ProcessMeter(self._metrics, self._ground.namespaces, self._clock)
        if self._roles.history is not None:
            self._roles.history.service.callbacks.sender = self._sender
            measure_history(self._metrics, self._roles.history.shards, self._roles.history.executions)
            if isinstance(self._clock, AdvancingClock):
                self._skipping = TimeSkipping(self._clock, self._roles.history.shards, options.time_locks or 0)
        self._scrape = Scrape(self._metrics.page, lambda: all(self._process.serving.values()))
        self._background = Background(_unhealthy)
        self._frontend: Frontend | None = None
        self._rpc: RpcServer | None = None
        self._is_stopping = False
        self._untold: Console | None = None  # that it serves
        self._port = self._metrics_port = 0

    async def start(self, console: Console) -> None:
        """Listen, take the shards, and serve; later, if that takes too long. The console is told. Raises
        StoreUnavailable, FailedPrecondition, InvalidArgument, OSError.
        """
        options, namespaces = self._options, self._ground.namespaces
        patience = Patience(SystemClock(), options.store_wait_s)
        await self._file.start()
        if self._roles.history is not None:
            self._roles.history.executions.room.bytes_max = self._dynamic.settings.cache_bytes_max
        self._metrics_port = await self._scrape.start(options.metrics_ip, options.metrics_port)
        await patience.until(lambda: make_namespaces(namespaces, options.namespaces, self._entropy))
        await patience.until(namespaces.list)  # those that were made later have metrics of their own, too
        console.step(f"namespaces: {len(namespaces)}")
        if self._has_frontend:
            await self._listen(patience)
        else:
            self._background.spawn(self._keep_names(), "names of namespaces")
        await self._roles.listen()
        await patience.until(lambda: self._roles.start(self._port))
        await self._settle()
        if self._roles.history is not None:
            console.step(f"shards: {len(self._roles.history.shards.owned())}")
        if self._skipping is not None:
            self._skipping.start()
        _calm_collector()
        self._roles.on_change(self._serving_changed)
        self._untold = console
        await self._tell()
        if self._untold is not None:
            console.waiting(self.facts(), [role for role, serves in self._process.serving.items() if not serves])

    async def _listen(self, patience: Patience) -> None:
        """The listener for clients and workers."""
        frontend = self._frontend = await patience.until(self._made_frontend)
        served: MethodTable = frontend.methods
        if self._skipping is not None and self._roles.history is not None:
            served = _skippable(served, self._roles.history.executions, self._skipping)
        methods = measured(served, self._metrics, self._clock, self._ground.namespaces, "frontend")
        if self._traces is not None:
            methods = traced(methods, self._traces, "frontend")
        listener, security = self._dynamic.settings.listener, self._security
        if security is not None:
            listener = msgspec.structs.replace(listener, reflection=security.is_open)
        rpc = RpcServer(
            methods,
            absent=frontend.absent,
            health_names=[HEALTH_NAME],
            options=listener,
            tls=security.frontend if security is not None else None,
        )
        await rpc.set_serving(False)
        self._port = await rpc.start(f"{_bracketed(self._options.ip)}:{self._options.port}")
        self._rpc = rpc

    def _serving_changed(self) -> None:
        self._background.spawn(self._tell(), "health")

    async def _tell(self) -> None:
        """Health is of a place for calls: a server that stands by, without a shard, is none."""
        if self._is_stopping:
            return
        for role in self._options.roles:
            self._process.serving[role] = self._roles.serves(role)
        await self._roles.tell_health()
        if self._rpc is not None:
            await self._rpc.set_serving(self._roles.serves(Role.FRONTEND))
        if self._untold is not None and all(self._process.serving.values()):
            console, self._untold = self._untold, None
            facts = self.facts()
            log.info("serving", address=facts.address, metrics=facts.metrics, store=facts.data)
            console.ready(facts)

    def facts(self) -> Facts:
        """What there is to say of a server that has started."""
        options = self._options
        address = f"{_bracketed(options.ip)}:{self._port}" if self._has_frontend else ""
        return Facts(
            version("perdure"),
            address,
            tuple(namespace.name for namespace in options.namespaces),
            str(options.store),
            f"http://{_bracketed(options.metrics_ip)}:{self._metrics_port}{PATH}",
            tuple(map(str, options.roles)),
        )

    async def drain(self) -> None:
        """Give others what is here, while it serves; then take no new calls, and let those that have begun end."""
        self._is_stopping = True
        self._process.serves(False)
        if self._rpc is not None:
            await self._rpc.set_serving(False)
            await asyncio.sleep(self._dynamic.settings.shutdown_pause_ns / SECOND_NS)
        await self._roles.leave()
        rpc, self._rpc = self._rpc, None
        drain_s = self._options.drain_s
        ending = [self._roles.drain(drain_s)]
        if self._frontend is not None:
            ending.append(self._frontend.drain())
        if rpc is not None:
            ending.append(rpc.stop(drain_s))
        await asyncio.gather(*ending)

    async def stop(self) -> None:
        """Release the shards, each with a last checkpoint, and end everything, started or not. In bounded time."""
        self._is_stopping = True
        self._process.serves(False)
        rpc, self._rpc = self._rpc, None
        if rpc is not None:
            await rpc.stop(0)
        await self._background.close()
        await self._file.close()
        await self._scrape.stop()
        self._process.close()
        if self._skipping is not None:
            await self._skipping.close()
        await self._roles.stop()
        await self._sender.close()
        if self._security is not None:
            await self._security.close()
        if self._traces is not None:
            await self._traces.close()

    def _frontends(self) -> int:
        return self._roles.frontends()

    async def _settle(self) -> None:
        """Wait for what the start asked for, but not for ever: what is here should serve."""
        if not await self._roles.settled(_SHARDS_S):
            log.warning("not all is here that should be", roles=list(self._options.roles))
            self._background.spawn(self._settle_late(), "what should be here")

    async def _settle_late(self) -> None:
        await self._roles.settled()
        log.info("all is here now", roles=list(self._options.roles))
        await self._tell()

    async def _keep_names(self) -> None:
        """Know the names of namespaces that others make: limits and metrics are by them."""
        while True:
            await asyncio.sleep(_NAMES_S)
            try:
                await self._ground.namespaces.list()
            except Unavailable as error:
                log.debug("the namespaces can't be read", error=error.message)

    async def _made_frontend(self) -> Frontend:
        store, options = self._ground.store, self._options
        settings = FrontendOptions(
            limits=self._dynamic,
            cluster_name=options.cluster_name,
            cluster_id=await cluster_id(store.documents, self._entropy),
            shards=len(await store.shards.list_shards()) or options.shards,
            persistence_store=options.store.name,
            visibility_store=options.store.name,
        )
        guards = self._security.guards if self._security is not None else Guards()
        frontend = Frontend(
            self._ground.namespaces,
            self._roles.directory,
            store.visibility,
            self._clock,
            self._entropy,
            settings,
            guards,
        )
        frontend.administer(self._roles.operations)
        return frontend


def _shard_options(options: ServingOptions) -> ShardOptions:
    return ShardOptions(
        shards=options.shards,
        stop_timeout_s=options.checkpoint_s,
        leave_s=options.leave_s,
        auto_split=SplitPolicy() if options.auto_split else None,
        auto_merge=MergePolicy(shards_min=options.shards) if options.auto_merge else None,
    )


def _bracketed(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _skippable(methods: MethodTable, executions: HistoryExecutions, skipping: TimeSkipping) -> dict[str, Method]:
    """The methods with those that move the clock."""
    executions.watcher = skipping.changed
    name = f"/{HEALTH_NAME}/QueryWorkflow"
    return {
        **methods,
        name: Method(methods[name].request, skipping.holding(methods[name].handler)),
        **test_methods(skipping),
    }


def _unhealthy(error: BaseException) -> None:
    log.error("health could not be told", exc_info=error)


def _calm_collector() -> None:
    """Look for garbage in cycles seldom, and never among what was loaded at start: what a call leaves has none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
