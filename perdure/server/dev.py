"""A whole cluster in one process, on a file or in memory, until it is told to stop."""

import asyncio
import gc
import os
import signal
from collections.abc import Mapping
from importlib.metadata import version

import msgspec
import structlog

from perdure.base.clock import AdvancingClock, Clock, SystemClock
from perdure.base.entropy import SystemEntropy, new_id
from perdure.base.errors import FailedPrecondition, NamespaceAlreadyExists
from perdure.base.metrics import Metrics
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.frontend.frontend import HEALTH_NAME, Frontend
from perdure.frontend.services import FrontendOptions
from perdure.frontend.test_service import test_methods
from perdure.rpc.call import Method, MethodTable
from perdure.rpc.measured import measured
from perdure.rpc.server import RpcServer
from perdure.server.cluster import Options, Roles
from perdure.server.console import Console, Facts
from perdure.server.http_sender import HttpSender
from perdure.server.options import MEMORY, DevOptions
from perdure.server.process import ProcessMeter
from perdure.server.scrape import PATH, Scrape
from perdure.server.time_skipping import TimeSkipping
from perdure.shards.options import ShardOptions
from perdure.store.contract import Document, Documents, Store
from perdure.store.memory import MemoryStore
from perdure.store.sqlite import SqliteStore
from perdure.visibility.attributes import type_name

log = structlog.get_logger(__name__)
_DRAIN_S = 2.0
# For the last checkpoint, which only shortens the next start: a person who stops a server doesn't wait for a full disk.
_CHECKPOINT_S = 2.0
_YOUNG_OBJECTS = 20_000
_CLUSTER = "cluster"
_CLUSTER_ID = "id"


async def open_store(database: str) -> Store:
    """The store in a file, or one in memory. Raises StoreUnavailable, FailedPrecondition."""
    return MemoryStore() if database == MEMORY else await SqliteStore.open(database, clock=SystemClock())


async def serve(options: DevOptions, console: Console) -> None:
    """Serve until SIGTERM or SIGINT, the second of which ends the process at once. Raises PerdureError, OSError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop, stop, number)
    store = await open_store(options.database)
    console.step(f"data: {options.database_name}")
    try:
        await _serve(store, options, console, stop)
    finally:
        await store.close()
    console.stopped(options.database_name)


def _stop(stop: asyncio.Event, number: int) -> None:
    if stop.is_set():
        # What was acknowledged is durable, so there is nothing that has to be done first.
        os._exit(128 + number)
    stop.set()


async def _serve(store: Store, options: DevOptions, console: Console, stop: asyncio.Event) -> None:
    entropy, metrics = SystemEntropy(), Metrics()
    clock = SystemClock() if options.time_locks is None else AdvancingClock(SystemClock())
    shards = ShardOptions(shards=options.shards, stop_timeout_s=_CHECKPOINT_S)
    settings = Options(limits=options.limits, shards=shards, cache_bytes_max=options.cache_bytes_max)
    roles = Roles(store, clock, entropy, settings, metrics=metrics)
    sender = roles.history.callbacks.sender = HttpSender()
    skipping = TimeSkipping(clock, roles, options.time_locks or 0) if isinstance(clock, AdvancingClock) else None
    process = ProcessMeter(metrics, roles, clock)
    scrape = Scrape(metrics.page)
    await roles.start()
    console.step(f"shards: {len(roles.shards.owned())}")
    try:
        await make_namespaces(roles.namespaces, options, entropy)
        await roles.namespaces.list()  # those that were made later have metrics of their own, too
        console.step(f"namespaces: {len(roles.namespaces)}")
        frontend = await _frontend(roles, options, clock, entropy)
        served = frontend.methods if skipping is None else _skippable(frontend.methods, roles, skipping)
        methods = measured(served, metrics, clock, roles.namespaces, "frontend")
        server = RpcServer(methods, absent=frontend.absent, health_names=[HEALTH_NAME], options=options.listener)
        host = f"[{options.ip}]" if ":" in options.ip else options.ip
        metrics_port = await scrape.start(options.ip, options.metrics_port)
        port = await server.start(f"{host}:{options.port}")
        _calm_collector()
        await server.set_serving(True)
        process.is_serving = True
        console.ready(
            Facts(
                version("perdure"),
                f"{host}:{port}",
                options.namespaces,
                options.database_name,
                f"http://{host}:{metrics_port}{PATH}",
            )
        )
        await stop.wait()
        console.stopping()
        process.is_serving = False
        frontend.drain()
        await server.stop(_DRAIN_S)
    finally:
        await scrape.stop()
        process.close()
        if skipping is not None:
            await skipping.close()
        await roles.stop()
        await sender.close()


def _skippable(methods: MethodTable, roles: Roles, skipping: TimeSkipping) -> dict[str, Method]:
    """The methods with those that move the clock; begins to skip."""
    roles.executions.watcher = skipping.changed
    skipping.start()
    name = f"/{HEALTH_NAME}/QueryWorkflow"
    return {
        **methods,
        name: Method(methods[name].request, skipping.holding(methods[name].handler)),
        **test_methods(skipping),
    }


async def _frontend(roles: Roles, options: DevOptions, clock: Clock, entropy: SystemEntropy) -> Frontend:
    name = "memory" if options.database == MEMORY else "sqlite"
    settings = FrontendOptions(
        limits=options.limits,
        cluster_id=await cluster_id(roles.store.documents, entropy),
        shards=options.shards,
        persistence_store=name,
        visibility_store=name,
    )
    return Frontend(roles.namespaces, roles.directory, roles.store.visibility, clock, entropy, settings)


def _calm_collector() -> None:
    """Look for garbage in cycles seldom, and never among what was loaded at start: what a call leaves has none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)


async def make_namespaces(namespaces: Namespaces, options: DevOptions, entropy: SystemEntropy) -> None:
    """Register the namespaces that aren't there yet, and the search attributes that they lack."""
    for name in options.namespaces:
        try:
            await namespaces.register(
                Namespace(new_id(entropy), name, options.retention_ns, search_attributes=options.search_attributes)
            )
        except NamespaceAlreadyExists:
            there = await namespaces.by_name(name)
            wanted = _merged(there, options.search_attributes)
            if wanted != there.search_attributes:
                await namespaces.replace(msgspec.structs.replace(there, search_attributes=wanted))


def _merged(namespace: Namespace, wanted: Mapping[str, int]) -> dict[str, int]:
    """The namespace's search attributes with these. Raises FailedPrecondition if one is there with another type."""
    for name, value_type in wanted.items():
        present = namespace.search_attributes.get(name, value_type)
        if present != value_type:
            raise FailedPrecondition(
                f"Search attribute {name} of namespace {namespace.name} is a {type_name(present)} already, "
                f"not a {type_name(value_type)}."
            )
    return {**namespace.search_attributes, **wanted}


async def cluster_id(documents: Documents, entropy: SystemEntropy) -> str:
    """The store's id, drawn at its first use and kept."""
    fresh = new_id(entropy).encode()
    await documents.replace_document(Document(_CLUSTER, _CLUSTER_ID, 0, fresh))
    kept = await documents.read_document(_CLUSTER, _CLUSTER_ID)
    return (kept.body if kept is not None else fresh).decode()
