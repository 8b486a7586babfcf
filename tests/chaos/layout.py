"""The cluster that chaos befalls: roles in processes of their own on three Cassandra nodes, each row on all of them.

Invariant: nothing of it outlives the context. It knows neither load nor faults.
"""

import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from perdure.base.clock import SystemClock
from perdure.server.stores import by_address, open_store
from perdure.store.contract import Store
from tests.cassandra.addresses import free_addresses
from tests.cassandra.cluster import CassandraCluster
from tests.cassandra.fixtures import Contact, Keyspace
from tests.chaos.skewed import EARLY
from tests.chaos.wires import Wires
from tests.e2e.clusters import ClusterProcesses, Place, RoleProcess
from tests.e2e.processes import free_port

SDK_NAMESPACE = "default"
PARTY_NAMESPACES = ("one", "two")
PROBE_NAMESPACE = "probes"
_KEYSPACE = "chaos"
_RATE = 1_000_000
_FEW_BYTES = 250_000
_LIMITS = ("frontend.rps", "frontend.namespaceRPS", "frontend.namespaceRPS.visibility")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many processes of each role, on how many shards."""

    frontends: int = 2
    histories: int = 3
    matchings: int = 2
    shards: int = 16

    def names(self) -> list[tuple[str, str]]:
        """(role, name) of each process."""
        counts = {"frontend": self.frontends, "history": self.histories, "matching": self.matchings}
        return [(role, f"{role}-{number}") for role, count in counts.items() for number in range(1, count + 1)]


@dataclass(frozen=True, slots=True)
class Site:
    """What there is. `wires`: None where all processes are in one network. `clocks`: how far each is off, by name.
    `outside`: host:port where callbacks are received, if somebody does.
    """

    nodes: CassandraCluster
    processes: ClusterProcesses
    wires: Wires | None
    clocks: Mapping[str, Path]
    outside: str

    def of(self, role: str) -> list[RoleProcess]:
        """The processes of a role."""
        return [process for process in self.processes.by_name.values() if role in process.roles]


def settings(nodes: Sequence[str], shards: int, outside: str, *, forgets: bool) -> dict[str, object]:
    """The configuration of a process, besides where it listens. `forgets`: it keeps hardly any execution in memory, so
    that it reads them from the store again and again. Frontends log at debug what judges have to know.
    """
    store = {"contact_points": list(nodes), "keyspace": _KEYSPACE, "replication": 3}
    names = (SDK_NAMESPACE, *PARTY_NAMESPACES, PROBE_NAMESPACE)
    return {
        "store": {"cassandra": store},
        "history": {"shards": shards},
        "log": {"level": "debug", "format": "json"},
        "namespaces": [{"name": name} for name in names],
        "dynamic": {
            "values": {
                **dict.fromkeys(_LIMITS, _RATE),
                "callback.allowedAddresses": [{"Pattern": outside, "AllowInsecure": True}],
                "callback.retryPolicy.maxInterval": "5s",
                **({"history.hostLevelCacheMaxSizeBytes": _FEW_BYTES} if forgets else {}),
            }
        },
    }


def _tied() -> tuple[str, ...]:
    """The beginning of a command line that runs the rest until its parent ends, whatever ends that."""
    return ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()


async def store_of(nodes: Sequence[str]) -> Store:
    """What the processes keep their data in."""
    choice = by_address(f"cassandra://{','.join(nodes)}/{_KEYSPACE}?replication=3", is_dev=True)
    return await open_store(choice, SystemClock())


@asynccontextmanager
async def site_of(folder: Path, counts: Counts, *, apart: bool = False, rare: bool = False) -> AsyncIterator[Site]:
    """All that runs, serving. `apart`: each process in a network of its own, which can be cut off. `rare`: what is rare
    is common: queues have branches under little load, and one history forgets. Raises WiresMissing.
    """
    async with AsyncExitStack() as stack:
        names = counts.names()
        wires = stack.enter_context(Wires.laid([name for _, name in names])) if apart else None
        outside = f"{wires.outside if wires is not None else '127.0.0.1'}:{free_port()}"
        addresses = wires.node_addresses if wires is not None else free_addresses(3)
        nodes = CassandraCluster(folder / "cassandra", addresses)
        stack.callback(shutil.rmtree, folder / "cassandra", ignore_errors=True)
        stack.callback(nodes.discard)
        nodes.start()
        clocks = {name: folder / f"{name}.clock" for _, name in names}
        keyspace = Keyspace(Contact(addresses[0]), _KEYSPACE)
        processes = []
        for role, name in names:
            config = settings(addresses, counts.shards, outside, forgets=rare and name == "history-1")
            program = ("-m", "tests.chaos.skewed", str(clocks[name]), *([EARLY] if rare else []))
            place = Place(through=_tied(), program=program)
            if wires is not None:
                place = Place(wires.address(name), (*_tied(), *wires.through(name)), place.program)
            process = RoleProcess(name, (role,), keyspace, folder / name, config, place)
            stack.push_async_callback(process.end)
            processes.append(process)
        cluster = ClusterProcesses(processes)
        # All at once they would make the schema side by side, on nodes that have only just met.
        await (await store_of(addresses)).close()
        await cluster.start()
        yield Site(nodes, cluster, wires, clocks, outside)
