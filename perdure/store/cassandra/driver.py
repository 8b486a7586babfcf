"""The driver: connecting, preparing, sending, and its errors in two words. Only `requests` names it beside this module.

Invariants: the driver repeats nothing by itself (no retry, no speculative execution), every socket has TCP_NODELAY,
every statement has its consistency level set. What `Link.send` hands to `done` comes from the driver's own thread.
Knows no table. The driver has no types, so this module is where its objects are called Any.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import msgspec
from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    InvalidRequest,
    OperationTimedOut,
    Unauthorized,
    UnresolvableContactPoints,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.policies import (
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
)
from cassandra.protocol import ConfigurationException, SyntaxException
from cassandra.query import SimpleStatement

from perdure.base.clock import SystemClock
from perdure.store.cassandra import records, requests
from perdure.store.cassandra.errors import Away, Denied, Failure, Misfit, Refusal
from perdure.store.cassandra.options import CassandraOptions, Tls
from perdure.store.cassandra.reactor import LoopConnection
from perdure.store.cassandra.routes import Routes
from perdure.store.cassandra.statements import Kind, Statement

# Prepared statements are bytes on the wire with either; 5 adds a checksum per frame, computed in Python.
PROTOCOL = 4
# A silent node is found out after these two together; requests to it end by their own time-out meanwhile.
HEARTBEAT_S = 2
HEARTBEAT_TIMEOUT_S = 3
DEFINE_TIMEOUT_S = 30.0
ASK_TIMEOUT_S = 5.0
AGREEMENT_WAIT_S = 20
RECONNECT_FIRST_S = 0.25

# What the driver adds to an error of the operating system.
_LAST_ERROR = re.compile(r"Last error: (.*)\Z", re.DOTALL)

# What Cassandra said, without how the driver shows it.
_SAID = re.compile(r'message="(.*)"\s*\Z', re.DOTALL)

_REFUSED = (InvalidRequest, Unauthorized, SyntaxException, ConfigurationException)

# No answer of Cassandra's, and no fault of a connection: repeating it would not help.
_MISTAKES = (TypeError, ValueError, AttributeError, NameError, LookupError, AssertionError)

Result = requests.Result
Done = requests.Done


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

    def __init__(self, cluster: Any, session: Any, datacenter: str, options: CassandraOptions) -> None:
        self.datacenter = datacenter
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
            prepared = self._session.prepare(statement.within(self._session.keyspace))
        except Exception as error:
            raise told(error) from error
        prepared.consistency_level = self._serial if statement.kind is Kind.SETTLED_READ else self._level
        prepared.serial_consistency_level = self._serial
        prepared.is_idempotent = statement.kind is not Kind.CONDITIONAL
        return requests.prepared(prepared)

    def send(
        self,
        kind: Kind,
        prepared: Any,
        values: Sequence[object],
        page: bytes | None,
        fetch: int | None,
        done: Done,
    ) -> asyncio.TimerHandle | None:
        """Send a prepared statement; `done(result, next page, error)` is called once or twice, in whatever thread: the
        first counts. The handle is of its time-out, to be cancelled in this thread once it is done.

        Raises TypeError for values that the columns don't take.
        """
        request = requests.Request(self._session, prepared, values, requests.Paging(fetch, page), done)
        request.send_request()
        return asyncio.get_running_loop().call_later(self._timeouts[kind], request.expire)

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
            future = self._session.execute_async(statement, tuple(values) or None, timeout=ASK_TIMEOUT_S, host=host)
            _, rows = future.result().current_rows
        except Exception as error:
            raise told(error) from error
        return list(rows)

    def use(self, keyspace: str) -> None:
        """Let names of tables mean those of this keyspace. Raises Refusal, Failure."""
        try:
            self._session.set_keyspace(keyspace)
            # Where its rows are; the driver hears of a new keyspace later than whoever asks it to be used.
            self._cluster.refresh_keyspace_metadata(keyspace)
        except Exception as error:
            raise told(error) from error

    def ignore_schemas(self) -> None:
        """Follow no changes of schemas from now on, of other keyspaces above all."""
        self._cluster.schema_metadata_enabled = False

    def nodes(self) -> list[Node]:
        """All nodes that are known, by address."""
        return sorted((Node(host) for host in self._cluster.metadata.all_hosts()), key=lambda node: node.address)

    def close(self) -> None:
        """End all connections; what is in flight ends with a Failure."""
        self._cluster.shutdown()


def connect(options: CassandraOptions, connections: type[LoopConnection]) -> Link:
    """Connect to the cluster by `connections` of a loop that runs meanwhile. Blocks. Raises Away, Denied, Misfit."""
    policy = DCAwareRoundRobinPolicy(options.datacenter)
    cluster = None
    try:
        with records.connecting():
            cluster = _cluster(options, policy, connections)
            session = cluster.connect()
    except Exception as error:
        if cluster is not None:
            cluster.shutdown()
        raise _cause(error, options, connections) from error
    session.default_fetch_size = None
    session.use_client_timestamp = False
    return Link(cluster, session, str(policy.local_dc), options)


def _cluster(options: CassandraOptions, policy: Any, connections: type[LoopConnection]) -> Any:
    tls = options.tls
    profile = ExecutionProfile(
        load_balancing_policy=Routes(policy, SystemClock().monotonic_ns),
        retry_policy=FallthroughRetryPolicy(),
        consistency_level=getattr(ConsistencyLevel, options.consistency),
        serial_consistency_level=getattr(ConsistencyLevel, options.serial_consistency),
        request_timeout=options.request_timeout_s,
        row_factory=requests.Request.row_factory,
    )
    return Cluster(
        contact_points=list(options.contact_points),
        port=options.port,
        protocol_version=PROTOCOL,
        auth_provider=PlainTextAuthProvider(options.user, options.password) if options.user else None,
        ssl_context=None if tls is None else _context(tls),
        ssl_options=None if tls is None or not tls.server_name else {"server_hostname": tls.server_name},
        compression="lz4" if options.compression == "lz4" else False,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        reconnection_policy=ExponentialReconnectionPolicy(RECONNECT_FIRST_S, options.reconnect_max_s, None),
        sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        connection_class=connections,
        connect_timeout=options.connect_timeout_s,
        control_connection_timeout=options.connect_timeout_s,
        idle_heartbeat_interval=HEARTBEAT_S,
        idle_heartbeat_timeout=HEARTBEAT_TIMEOUT_S,
        max_schema_agreement_wait=AGREEMENT_WAIT_S,
        application_name="perdure",
        monitor_reporting_enabled=False,
    )


def _cause(error: Exception, options: CassandraOptions, connections: type[LoopConnection]) -> Exception:
    """Why nothing could be connected: Away, Denied or Misfit."""
    if isinstance(error, UnresolvableContactPoints):
        return Away(f"no contact point has an address: {', '.join(options.contact_points)}")
    if isinstance(error, ssl.SSLError):
        return Misfit(f"the files for TLS are not what they should be: {_sentence(error)}")
    if not isinstance(error, NoHostAvailable):
        return Away(_sentence(error))
    if not isinstance(error.errors, dict) or not error.errors:
        # The nodes answered, but none is in the datacenter that was asked for.
        return _misplaced(options, connections)
    causes = list(error.errors.values())
    sentence = "; ".join(f"{address}: {_sentence(cause)}" for address, cause in error.errors.items())
    if any(isinstance(cause, AuthenticationFailed) for cause in causes):
        return Denied(sentence)
    if any("[SSL" in str(cause) for cause in causes):
        return Misfit(f"TLS does not come about: {sentence}")
    if options.tls is None and any(isinstance(cause, ConnectionResetError) for cause in causes):
        sentence += " (as a node does that asks for TLS)"
    return Away(sentence)


def _misplaced(options: CassandraOptions, connections: type[LoopConnection]) -> Exception:
    try:
        link = connect(msgspec.structs.replace(options, datacenter=""), connections)
    except (Away, Denied, Misfit) as error:
        return error
    places = sorted({node.datacenter for node in link.nodes()})
    link.close()
    return Misfit(f"there is no datacenter {options.datacenter} in the cluster, which has {', '.join(places)}")


def told(error: Exception) -> Exception:
    """The error as Refusal (nothing was done, and never will be) or Failure (nobody knows); mistakes stay mistakes."""
    if isinstance(error, Refusal | Failure):
        return error
    if isinstance(error, _REFUSED):
        return Refusal(_sentence(error))
    if isinstance(error, _MISTAKES):
        return error
    return Failure(_sentence(error))


def _sentence(error: Exception) -> str:
    if isinstance(error, NoHostAvailable):
        told_by = error.errors.values() if isinstance(error.errors, dict) else ()
        causes = sorted({_sentence(cause) for cause in told_by if isinstance(cause, Exception)})
        return "no node takes requests" + (f" ({'; '.join(causes)})" if causes else "")
    if isinstance(error, OSError) and (found := _LAST_ERROR.search(str(error))):
        return found.group(1)
    if isinstance(error, OperationTimedOut):
        return f"no answer in time from {error.last_host or 'any node'}"
    text = str(error)
    if said := _SAID.search(text):
        text = said.group(1)
    return text.strip().rstrip(".") or type(error).__name__


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca or None)
    context.check_hostname = tls.verify
    context.verify_mode = ssl.CERT_REQUIRED if tls.verify else ssl.CERT_NONE
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key or None)
    return context
