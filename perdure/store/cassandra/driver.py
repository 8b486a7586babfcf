"""The only module that names the driver: connecting, preparing, sending, and its errors in two words.

Invariants: the driver repeats nothing by itself (no retry, no speculative execution), every socket has TCP_NODELAY,
every statement has its consistency level set. What `Link.send` hands to `done` comes from the driver's own thread.
Knows no table. The driver has no types, so this module is where its objects are called Any.
"""

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from cassandra import ConsistencyLevel, InvalidRequest, OperationTimedOut, Unauthorized
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import ConfigurationException, SyntaxException
from cassandra.query import SimpleStatement

from perdure.store.cassandra.errors import Failure, Refusal
from perdure.store.cassandra.options import CassandraOptions, Tls
from perdure.store.cassandra.statements import Kind, Statement

# Prepared statements are bytes on the wire with either; 5 adds a checksum per frame, computed in Python.
PROTOCOL = 4
# A silent node is found out after these two together; requests to it end by their own time-out meanwhile.
HEARTBEAT_S = 2
HEARTBEAT_TIMEOUT_S = 3
DEFINE_TIMEOUT_S = 30.0
AGREEMENT_WAIT_S = 20
RECONNECT_FIRST_S = 0.25

_REFUSED = (InvalidRequest, Unauthorized, SyntaxException, ConfigurationException)

# The names of the columns, and the rows as tuples; an empty answer is (), [].
Result = tuple[Sequence[str], list[tuple[Any, ...]]]
Done = Callable[[Result | None, bytes | None, Exception | None], None]


class Node:
    """A node as the driver sees it."""

    __slots__ = ("address", "datacenter", "handle", "is_up", "version")

    def __init__(self, host: Any) -> None:
        self.handle = host
        self.address = str(host.address)
        self.datacenter = str(host.datacenter or "")
        self.version = str(host.release_version or "")
        self.is_up = bool(host.is_up)


class Link:
    """A connected driver. All but `send` and `nodes` blocks, so it is called in a thread."""

    def __init__(self, cluster: Any, session: Any, options: CassandraOptions) -> None:
        self._cluster = cluster
        self._session = session
        self._level = getattr(ConsistencyLevel, options.consistency)
        self._serial = getattr(ConsistencyLevel, options.serial_consistency)
        self._timeouts = {
            Kind.READ: options.request_timeout_s,
            Kind.SETTLED_READ: options.request_timeout_s,
            Kind.STAMPED: options.request_timeout_s,
            Kind.CONDITIONAL: options.conditional_timeout_s,
        }

    def prepare(self, statement: Statement) -> Any:
        """The prepared form of a statement, on every node. Raises Refusal, Failure."""
        try:
            prepared = self._session.prepare(statement.cql)
        except Exception as error:
            raise told(error) from error
        prepared.consistency_level = self._serial if statement.kind is Kind.SETTLED_READ else self._level
        prepared.serial_consistency_level = self._serial
        prepared.is_idempotent = statement.kind is not Kind.CONDITIONAL
        return prepared

    def send(
        self,
        kind: Kind,
        prepared: Any,
        values: Sequence[object],
        page: bytes | None,
        fetch: int | None,
        done: Done,
    ) -> None:
        """Send a prepared statement; `done(result, next page, error)` is called once, in whatever thread."""
        bound = prepared.bind(values)
        bound.fetch_size = fetch
        future = self._session.execute_async(bound, timeout=self._timeouts[kind], paging_state=page)

        def succeeded(result: Result | None) -> None:
            done(result, future._paging_state, None)  # its public reader makes a result set

        def failed(error: Exception) -> None:
            done(None, None, told(error))

        future.add_callbacks(succeeded, failed)

    def define(self, cql: str) -> None:
        """Change the schema, and wait until every node that is up has it. Raises Refusal, Failure."""
        try:
            future = self._session.execute_async(SimpleStatement(cql), timeout=DEFINE_TIMEOUT_S)
            future.result()
        except Exception as error:
            raise told(error) from error
        if not future.is_schema_agreed:
            raise Failure(f"the nodes did not agree on a schema within {AGREEMENT_WAIT_S} s")

    def ask(self, cql: str, values: Sequence[object] = (), node: Node | None = None) -> list[tuple[Any, ...]]:
        """Read a system table, of one node if it matters which. Raises Refusal, Failure."""
        statement = SimpleStatement(cql, consistency_level=ConsistencyLevel.ONE)
        host = None if node is None else node.handle
        try:
            future = self._session.execute_async(statement, tuple(values) or None, timeout=10.0, host=host)
            _, rows = future.result().current_rows
        except Exception as error:
            raise told(error) from error
        return list(rows)

    def use(self, keyspace: str) -> None:
        """Let names of tables mean those of this keyspace. Raises Refusal, Failure."""
        try:
            self._session.set_keyspace(keyspace)
        except Exception as error:
            raise told(error) from error

    def nodes(self) -> list[Node]:
        """All nodes that are known, by address."""
        return sorted((Node(host) for host in self._cluster.metadata.all_hosts()), key=lambda node: node.address)

    def close(self) -> None:
        """End all connections; what is in flight ends with a Failure."""
        self._cluster.shutdown()


def connect(options: CassandraOptions) -> Link:
    """Connect to the cluster. Blocks. Raises the driver's errors: see `perdure.store.cassandra.connecting`."""
    auth = PlainTextAuthProvider(options.user, options.password) if options.user else None
    profile = ExecutionProfile(
        load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(options.datacenter)),
        retry_policy=FallthroughRetryPolicy(),
        consistency_level=getattr(ConsistencyLevel, options.consistency),
        serial_consistency_level=getattr(ConsistencyLevel, options.serial_consistency),
        request_timeout=options.request_timeout_s,
        row_factory=_rows,
    )
    cluster = Cluster(
        contact_points=list(options.contact_points),
        port=options.port,
        protocol_version=PROTOCOL,
        auth_provider=auth,
        ssl_context=None if options.tls is None else _context(options.tls),
        ssl_options=None if options.tls is None else {"server_hostname": options.tls.server_name or None},
        compression="lz4" if options.compression == "lz4" else False,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ExponentialReconnectionPolicy(RECONNECT_FIRST_S, options.reconnect_max_s, None),
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        connect_timeout=options.connect_timeout_s,
        control_connection_timeout=options.connect_timeout_s,
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=HEARTBEAT_TIMEOUT_S,
        max_schema_agreement_wait=AGREEMENT_WAIT_S,
        application_name="perdure",
        monitor_reporting_enabled=False,
    )
    try:
        session = cluster.connect()
    except BaseException:
        cluster.shutdown()
        raise
    session.default_fetch_size = None
    session.use_client_timestamp = False
    return Link(cluster, session, options)


def told(error: Exception) -> Exception:
    """The error as Refusal (nothing was done, and never will be) or Failure (nobody knows); ours stay as they are."""
    if isinstance(error, Refusal | Failure):
        return error
    if isinstance(error, _REFUSED):
        return Refusal(_sentence(error))
    if isinstance(error, TypeError | ValueError):
        return error  # a value that no column takes: a mistake of ours, seen before anything was sent
    return Failure(_sentence(error))


def _sentence(error: Exception) -> str:
    if isinstance(error, NoHostAvailable):
        causes = sorted({_sentence(cause) for cause in error.errors.values() if isinstance(cause, Exception)})
        return "no node takes requests" + (f" ({'; '.join(causes)})" if causes else "")
    if isinstance(error, OperationTimedOut):
        return f"no answer in time from {error.last_host or 'any node'}"
    return str(error).strip().rstrip(".") or type(error).__name__


def _rows(names: Sequence[str], rows: list[tuple[Any, ...]]) -> Result:
    return names, rows


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca or None)
    context.check_hostname = tls.verify
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key or None)
    return context
