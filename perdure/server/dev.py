"""A whole cluster in one process, on a file or in memory, until it is told to stop."""

import asyncio
import signal
from collections.abc import Callable
from importlib.metadata import version

import msgspec
import structlog

from perdure.base.clock import SystemClock
from perdure.base.entropy import SystemEntropy, new_id
from perdure.base.errors import NamespaceAlreadyExists
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.frontend.frontend import HEALTH_NAME, Frontend
from perdure.frontend.services import FrontendOptions
from perdure.rpc.server import RpcServer
from perdure.server.cluster import Options, Roles
from perdure.server.options import MEMORY, DevOptions
from perdure.shards.options import ShardOptions
from perdure.store.contract import Document, Documents, Store
from perdure.store.memory import MemoryStore
from perdure.store.sqlite import SqliteStore

log = structlog.get_logger(__name__)
_DRAIN_S = 2.0
_CLUSTER = "cluster"
_CLUSTER_ID = "id"


async def open_store(database: str) -> Store:
    """The store in a file, or one in memory. Raises StoreUnavailable, FailedPrecondition."""
    return MemoryStore() if database == MEMORY else await SqliteStore.open(database, clock=SystemClock())


async def serve(options: DevOptions, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `say` gets the lines that a person reads. Raises PerdureError, OSError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = await open_store(options.database)
    try:
        await _serve(store, options, say, stop)
    finally:
        await store.close()


async def _serve(store: Store, options: DevOptions, say: Callable[[str], None], stop: asyncio.Event) -> None:
    clock, entropy = SystemClock(), SystemEntropy()
    shards = ShardOptions(shards=options.shards)
    roles = Roles(store, clock, entropy, Options(limits=options.limits, shards=shards))
    await roles.start()
    try:
        await make_namespaces(roles.namespaces, options, entropy)
        name = "memory" if options.database == MEMORY else "sqlite"
        frontend = Frontend(
            roles.namespaces,
            roles.directory,
            store.visibility,
            clock,
            entropy,
            FrontendOptions(
                limits=options.limits,
                cluster_id=await cluster_id(store.documents, entropy),
                shards=options.shards,
                persistence_store=name,
                visibility_store=name,
            ),
        )
        server = RpcServer(frontend.methods, absent=frontend.absent, health_names=[HEALTH_NAME])
        port = await server.start(f"{options.ip}:{options.port}")
        await server.set_serving(True)
        say(f"Perdure {version('perdure')} serves {options.ip}:{port}")
        say(f"Namespaces {', '.join(options.namespaces)}; data {options.database_name}")
        await stop.wait()
        say("Stopping.")
        frontend.drain()
        await server.stop(_DRAIN_S)
    finally:
        await roles.stop()


async def make_namespaces(namespaces: Namespaces, options: DevOptions, entropy: SystemEntropy) -> None:
    """Register the namespaces that aren't there yet, and the search attributes that they lack."""
    for name in options.namespaces:
        try:
            await namespaces.register(
                Namespace(new_id(entropy), name, options.retention_ns, search_attributes=options.search_attributes)
            )
        except NamespaceAlreadyExists:
            there = await namespaces.by_name(name)
            wanted = {**there.search_attributes, **options.search_attributes}
            if wanted != there.search_attributes:
                await namespaces.replace(msgspec.structs.replace(there, search_attributes=wanted))


async def cluster_id(documents: Documents, entropy: SystemEntropy) -> str:
    """The store's id, drawn at its first use and kept."""
    fresh = new_id(entropy).encode()
    await documents.replace_document(Document(_CLUSTER, _CLUSTER_ID, 0, fresh))
    kept = await documents.read_document(_CLUSTER, _CLUSTER_ID)
    return (kept.body if kept is not None else fresh).decode()
