"""A whole cluster in one process, on a store, until it is told to stop.

Invariant: health says SERVING from when all shards are here, or were waited for, until the process is told to stop, but
while there is no shard at all.
"""

import asyncio
import gc
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from typing import Protocol, runtime_checkable

import msgspec
import structlog

from perdure.base.clock import SECOND_NS, AdvancingClock, Clock, SystemClock
from perdure.base.entropy import SystemEntropy, new_id
from perdure.base.errors import FailedPrecondition, NamespaceAlreadyExists
from perdure.base.metrics import Metrics
from perdure.base.tasks import Background
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.frontend.frontend import HEALTH_NAME, Frontend
from perdure.frontend.services import FrontendOptions
from perdure.frontend.test_service import test_methods
from perdure.rpc.call import Method, MethodTable
from perdure.rpc.measured import measured
from perdure.rpc.server import RpcServer
from perdure.server.cluster import Options, Roles
from perdure.server.console import Console, Facts
from perdure.server.dynamic import Dynamic, checked
from perdure.server.dynamic_file import DynamicFile
from perdure.server.http_sender import HttpSender
from perdure.server.measured import DynamicConfigMeter
from perdure.server.options import ServingOptions, WantedNamespace
from perdure.server.process import ProcessMeter, measure_history
from perdure.server.scrape import PATH, Scrape
from perdure.server.stores import open_store
from perdure.server.time_skipping import TimeSkipping
from perdure.server.waiting import Patience, ToldToStop, leave_now, stop_signals, unless_stopped
from perdure.shards.options import ShardOptions
from perdure.shards.splitting import SplitPolicy
from perdure.store.contract import Document, Documents, Store
from perdure.visibility.attributes import type_name

log = structlog.get_logger(__name__)
_SHARDS_S = 60.0
_YOUNG_OBJECTS = 20_000
_CLUSTER = "cluster"
_CLUSTER_ID = "id"


async def serve(options: ServingOptions, console: Console) -> None:
    """Serve until SIGTERM or SIGINT, the second of which ends the process at once. Raises PerdureError, OSError."""
    stop = stop_signals()
    try:
        store = await unless_stopped(stop, open_store(options.store, SystemClock()))
    except ToldToStop:
        log.info("stopped before the store was there")
        # A thread may wait for a node that doesn't answer, and the interpreter for the thread. Nothing is held yet.
        leave_now(0)
    console.step(f"data: {options.store}")
    server = Server(store, options)
    try:
        await unless_stopped(stop, server.start(console))
        facts = server.facts()
        log.info("serving", address=facts.address, metrics=facts.metrics, store=facts.data)
        console.ready(facts)
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
        self._entropy, self._metrics = SystemEntropy(), Metrics()
        self._clock: Clock = SystemClock() if options.time_locks is None else AdvancingClock(SystemClock())
        shards = ShardOptions(
            shards=options.shards,
            stop_timeout_s=options.checkpoint_s,
            auto_split=SplitPolicy() if options.auto_split else None,
        )
        self._dynamic = Dynamic(options.settings)
        self._dynamic.apply(checked(options.dynamic))
        settings = Options(limits=self._dynamic, shards=shards, cache_bytes_max=self._dynamic.settings.cache_bytes_max)
        meter = DynamicConfigMeter(self._metrics)
        self._file = DynamicFile(self._dynamic, options.dynamic, options.dynamic_file, meter)
        self._roles = Roles(store, self._clock, self._entropy, settings, metrics=self._metrics)
        self._sender = self._roles.history.callbacks.sender = HttpSender()
        self._skipping: TimeSkipping | None = None
        if isinstance(self._clock, AdvancingClock):
            self._skipping = TimeSkipping(self._clock, self._roles, options.time_locks or 0)
        if isinstance(store, Measurable):
            store.measure(self._metrics)
        self._process = ProcessMeter(self._metrics, self._roles.namespaces, self._clock)
        measure_history(self._metrics, self._roles.shards, self._roles.executions)
        self._scrape = Scrape(self._metrics.page, lambda: all(self._process.serving.values()))
        self._background = Background(_unhealthy)
        self._frontend: Frontend | None = None
        self._rpc: RpcServer | None = None
        self._host = f"[{options.ip}]" if ":" in options.ip else options.ip
        self._port = self._metrics_port = 0

    async def start(self, console: Console) -> None:
        """Listen, take the shards, and serve. Raises StoreUnavailable, FailedPrecondition, OSError."""
        roles, options = self._roles, self._options
        patience = Patience(SystemClock(), options.store_wait_s)
        await self._file.start()
        self._metrics_port = await self._scrape.start(options.metrics_ip, options.metrics_port)
        await patience.until(lambda: make_namespaces(roles.namespaces, options.namespaces, self._entropy))
        await patience.until(roles.namespaces.list)  # those that were made later have metrics of their own, too
        console.step(f"namespaces: {len(roles.namespaces)}")
        frontend = self._frontend = await patience.until(self._made_frontend)
        served = frontend.methods if self._skipping is None else _skippable(frontend.methods, roles, self._skipping)
        methods = measured(served, self._metrics, self._clock, roles.namespaces, "frontend")
        rpc = RpcServer(
            methods, absent=frontend.absent, health_names=[HEALTH_NAME], options=self._dynamic.settings.listener
        )
        await rpc.set_serving(False)
        self._port = await rpc.start(f"{self._host}:{options.port}")
        self._rpc = rpc
        await patience.until(roles.start)
        await self._shards_here()
        console.step(f"shards: {len(roles.shards.owned())}")
        if self._skipping is not None:
            self._skipping.start()
        _calm_collector()
        roles.shards.on_presence = self._shards_came_or_went
        await self._tell(bool(roles.shards.owned()))

    def _shards_came_or_went(self, is_here: bool) -> None:
        if self._rpc is not None:
            self._background.spawn(self._tell(is_here), "health")

    async def _tell(self, is_serving: bool) -> None:
        """Health is of a place for calls: a server that stands by, without a shard, is none."""
        if self._rpc is not None:
            self._process.serves(is_serving)
            await self._rpc.set_serving(is_serving)

    def facts(self) -> Facts:
        """What there is to say of a server that has started."""
        host = f"[{self._options.metrics_ip}]" if ":" in self._options.metrics_ip else self._options.metrics_ip
        return Facts(
            version("perdure"),
            f"{self._host}:{self._port}",
            tuple(namespace.name for namespace in self._options.namespaces),
            str(self._options.store),
            f"http://{host}:{self._metrics_port}{PATH}",
        )

    async def drain(self) -> None:
        """Take no new calls, and let those that have begun end."""
        self._process.serves(False)
        if self._rpc is not None:
            await self._rpc.set_serving(False)
            await asyncio.sleep(self._dynamic.settings.shutdown_pause_ns / SECOND_NS)
        if self._frontend is not None:
            self._frontend.drain()
        rpc, self._rpc = self._rpc, None
        if rpc is not None:
            await rpc.stop(self._options.drain_s)

    async def stop(self) -> None:
        """Release the shards, each with a last checkpoint, and end everything, started or not. In bounded time."""
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

    async def _shards_here(self) -> None:
        """Wait for all shards, but not for ever: those that are here should serve."""
        try:
            async with asyncio.timeout(_SHARDS_S):
                await self._roles.shards.settled()
        except TimeoutError:
            log.warning("serving without some of the shards", shards=len(self._roles.shards.owned()))

    async def _made_frontend(self) -> Frontend:
        roles, options = self._roles, self._options
        documents, shards = roles.store.documents, roles.store.shards
        settings = FrontendOptions(
            limits=self._dynamic,
            cluster_id=await cluster_id(documents, self._entropy),
            shards=len(await shards.list_shards()) or options.shards,
            persistence_store=options.store.name,
            visibility_store=options.store.name,
        )
        return Frontend(roles.namespaces, roles.directory, roles.store.visibility, self._clock, self._entropy, settings)


def _skippable(methods: MethodTable, roles: Roles, skipping: TimeSkipping) -> dict[str, Method]:
    """The methods with those that move the clock."""
    roles.executions.watcher = skipping.changed
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


async def make_namespaces(namespaces: Namespaces, wanted: tuple[WantedNamespace, ...], entropy: SystemEntropy) -> None:
    """Register the namespaces that aren't there yet, and the search attributes that they lack."""
    for want in wanted:
        attributes = want.search_attributes
        try:
            await namespaces.register(
                Namespace(new_id(entropy), want.name, want.retention_ns, search_attributes=attributes)
            )
        except NamespaceAlreadyExists:
            await namespaces.change(want.name, partial(_merged, attributes))


def _merged(wanted: Mapping[str, int], namespace: Namespace) -> Namespace:
    """The namespace with these search attributes. Raises FailedPrecondition if one is there with another type."""
    for name, value_type in wanted.items():
        present = namespace.search_attributes.get(name, value_type)
        if present != value_type:
            raise FailedPrecondition(
                f"Search attribute {name} of namespace {namespace.name} is a {type_name(present)} already, "
                f"not a {type_name(value_type)}."
            )
    return msgspec.structs.replace(namespace, search_attributes={**namespace.search_attributes, **wanted})


async def cluster_id(documents: Documents, entropy: SystemEntropy) -> str:
    """The store's id, drawn at its first use and kept."""
    fresh = new_id(entropy).encode()
    await documents.replace_document(Document(_CLUSTER, _CLUSTER_ID, 0, fresh))
    kept = await documents.read_document(_CLUSTER, _CLUSTER_ID)
    return (kept.body if kept is not None else fresh).decode()
