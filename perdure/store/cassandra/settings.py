"""What is asked of a cluster before it is trusted with anything: its nodes' settings, the keyspace, the levels.

Invariants: nothing is served from a cluster whose settings may lose what it acknowledged, except where the caller says
that this is for trying out (`dev`); then it is said in the log. All processes of a keyspace use one pair of levels.
"""

import asyncio
import re

import structlog

from perdure.base.errors import FailedPrecondition, PerdureError, StoreUnavailable
from perdure.store.cassandra.driver import Node
from perdure.store.cassandra.errors import Refusal
from perdure.store.cassandra.options import CassandraOptions
from perdure.store.cassandra.patience import patiently
from perdure.store.cassandra.schema import SchemaStore
from perdure.store.cassandra.session import Session

# Before it, there is no storage-attached index, which lists need; before 4.1.6 a clean-up of Paxos state could apply an
# old write again, too: CASSANDRA-19617.
VERSION_MIN = (5, 0, 0)
REPLICATION_DEFAULT = 3
# Refuse the time stamps of other clocks than their own: that of a drop is beyond all clocks, that of a piece before.
_STAMP_BOUNDS = ("maximum_timestamp_fail_threshold", "minimum_timestamp_fail_threshold")
# A run's state is one cell, of 12 MiB at most. A node that refuses it as too large would refuse it for ever.
_SIZES = ("max_mutation_size", "native_transport_max_frame_size", "column_value_size_fail_threshold")
_SIZE_MIN = 13 << 20
_ASKED = ", ".join(
    f"'{name}'" for name in ("commitlog_sync", "paxos_variant", "user_timestamps_enabled", *_STAMP_BOUNDS, *_SIZES)
)
_SETTINGS = f"SELECT name, value FROM system_views.settings WHERE name IN ({_ASKED})"
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB)")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")

log = structlog.get_logger(__name__)


async def check_nodes(session: Session, *, dev: bool) -> None:
    """Raises FailedPrecondition for a node that is too old, or whose settings are unsafe (`dev`: a warning). A node
    that does not answer is passed over; raises StoreUnavailable if all are.
    """
    nodes = [node for node in session.nodes() if node.datacenter == session.datacenter and node.is_up]
    found = await asyncio.gather(*(_findings(session, node) for node in nodes), return_exceptions=True)
    silent = [result for result in found if isinstance(result, BaseException)]
    for error in silent:
        if not isinstance(error, StoreUnavailable) or len(silent) == len(found):
            raise error
        log.warning("the settings of a node are not known", cause=error.message)
    for finding in (finding for result in found if isinstance(result, list) for finding in result):
        if not dev:
            raise FailedPrecondition(finding)
        log.warning("unsafe Cassandra", finding=finding)


async def _findings(session: Session, node: Node) -> list[str]:
    """What is unsafe about a node. Raises StoreUnavailable if it does not answer."""
    if version_of(node.version) < VERSION_MIN:
        oldest = ".".join(map(str, VERSION_MIN))
        return [f"The node {node.address} runs Cassandra {node.version or 'of no known version'}, older than {oldest}."]
    try:
        settings = dict(await session.ask(_SETTINGS, node=node))
    except StoreUnavailable as error:
        if not isinstance(error.__cause__, Refusal):
            raise
        return [f"{error.message} Without SELECT on system_views.settings nobody knows whether {node.address} is safe."]
    return findings(node.address, settings)


def findings(address: str, settings: dict[str, str | None]) -> list[str]:
    """What is unsafe about a node's settings, a sentence each."""
    told = []
    sync = settings.get("commitlog_sync") or "unknown"
    if sync not in ("batch", "group"):
        told.append(
            f"The node {address} has commitlog_sync: {sync}, so that what it acknowledged is lost with its power. "
            "Set batch or group in cassandra.yaml."
        )
    variant = settings.get("paxos_variant") or "unknown"
    if variant not in ("v1", "v2"):
        told.append(
            f"The node {address} has paxos_variant: {variant}, so that reads may miss conditional writes. "
            "Set v2 (or v1) in cassandra.yaml."
        )
    bounds = [name for name in _STAMP_BOUNDS if settings.get(name)]
    if settings.get("user_timestamps_enabled") == "false":
        bounds.append("user_timestamps_enabled: false")
    if bounds:
        told.append(
            f"The node {address} has {' and '.join(bounds)}, so that it refuses time stamps of Perdure. "
            "Take it out of cassandra.yaml."
        )
    for name in _SIZES:
        size = _SIZE.fullmatch(settings.get(name) or "")
        if size is not None and int(size[1]) * _UNITS[size[2]] < _SIZE_MIN:
            told.append(
                f"The node {address} has {name}: {size[0]}, so that it refuses large states of workflows, and their "
                "shard can't go on. Set 16MiB in cassandra.yaml, or take it out."
            )
    return told


def version_of(text: str) -> tuple[int, int, int]:
    """A node's version as numbers; what can't be read is older than all others."""
    found = _NUMBERS.match(text)
    return (0, 0, 0) if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


async def use_keyspace(session: Session, options: CassandraOptions, *, dev: bool) -> None:
    """Make the keyspace if it isn't there, see that its replication can be kept, and let the session use it.

    Raises FailedPrecondition, StoreUnavailable.
    """
    if not await is_there(session, options.keyspace):
        await _make(session, options, _wanted(session, options, dev))
    stands = await _replication(session, options.keyspace) or {}
    copies = _copies(stands, session.datacenter)
    if copies is None:
        raise FailedPrecondition(
            f"Keyspace {options.keyspace} has no copies in the datacenter {session.datacenter}: its replication is "
            f"{_shown(stands)}."
        )
    if options.replication is not None and copies != options.replication:
        raise FailedPrecondition(
            f"Keyspace {options.keyspace} has replication {copies} in the datacenter {session.datacenter}, the "
            f"options ask for {options.replication}."
        )
    _check_copies(session, options.keyspace, copies)
    if not await _is_durable(session, options.keyspace):
        finding = (
            f"Keyspace {options.keyspace} has durable_writes: false, so that a restart loses what it acknowledged."
        )
        if not dev:
            raise FailedPrecondition(finding)
        log.warning("unsafe Cassandra", finding=finding)
    await patiently(lambda: session.use(options.keyspace))


async def is_there(session: Session, keyspace: str) -> bool:
    """Whether the cluster has this keyspace."""
    return await _replication(session, keyspace) is not None


def creation(session: Session, options: CassandraOptions, *, dev: bool) -> str:
    """The statement that makes the keyspace. Raises FailedPrecondition for more copies than there are nodes."""
    return _creation(session, options, _wanted(session, options, dev))


def _wanted(session: Session, options: CassandraOptions, dev: bool) -> int:
    """The copies that a new keyspace gets."""
    nodes = _count(session)
    copies = options.replication or (min(REPLICATION_DEFAULT, nodes) if dev else REPLICATION_DEFAULT)
    _check_copies(session, options.keyspace, copies)
    return copies


def _count(session: Session) -> int:
    return sum(node.datacenter == session.datacenter for node in session.nodes())


def _check_copies(session: Session, keyspace: str, copies: int) -> None:
    count = _count(session)
    if copies > count:
        raise FailedPrecondition(
            f"Replication {copies} of keyspace {keyspace} is more than the datacenter {session.datacenter} has nodes: "
            f"{count}."
        )


def _creation(session: Session, options: CassandraOptions, copies: int) -> str:
    replication = (
        {"class": "SimpleStrategy", "replication_factor": str(copies)}
        if options.simple_strategy
        else {"class": "NetworkTopologyStrategy", session.datacenter: str(copies)}
    )
    pairs = ", ".join(f"'{name}': '{value}'" for name, value in replication.items())
    return f"CREATE KEYSPACE IF NOT EXISTS {options.keyspace} WITH replication = {{{pairs}}}"


async def _make(session: Session, options: CassandraOptions, copies: int) -> None:
    try:
        await session.define(_creation(session, options, copies))
    except PerdureError as error:
        raise FailedPrecondition(
            f"Keyspace {options.keyspace} is not there and could not be made: {error.message}"
        ) from error
    log.info("keyspace was made", keyspace=options.keyspace, replication=copies, datacenter=session.datacenter)


async def _replication(session: Session, keyspace: str) -> dict[str, str] | None:
    rows = await session.ask("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s", (keyspace,))
    return dict(rows[0][0]) if rows else None


async def _is_durable(session: Session, keyspace: str) -> bool:
    rows = await session.ask("SELECT durable_writes FROM system_schema.keyspaces WHERE keyspace_name = %s", (keyspace,))
    return bool(rows and rows[0][0])


def _copies(replication: dict[str, str], datacenter: str) -> int | None:
    """How many full copies a datacenter has; None if it has none."""
    simple = replication.get("class", "").endswith("SimpleStrategy")
    value = replication.get("replication_factor" if simple else datacenter)
    return int(value.partition("/")[0]) if value else None


def _shown(replication: dict[str, str]) -> str:
    return ", ".join(f"{name.rpartition('.')[2]}: {value.rpartition('.')[2]}" for name, value in replication.items())


async def settle_levels(schema: SchemaStore, session: Session, options: CassandraOptions) -> None:
    """Record the levels of the keyspace's first process; raises FailedPrecondition if others are recorded.

    Levels of one datacenter are of that datacenter: conditional writes of two would not see each other.
    """
    mine = f"{options.consistency} {options.serial_consistency}"
    if options.consistency.startswith("LOCAL_"):
        mine += f" {session.datacenter}"
    stands = await schema.settle_levels(mine)
    if stands != mine:
        raise FailedPrecondition(
            f"Keyspace {options.keyspace} is used with {stands} by its other processes, this one asks for {mine}. "
            "Levels that are mixed lose conditional writes."
        )
