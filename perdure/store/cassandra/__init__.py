"""A store in Cassandra, for many processes and machines: the production store.

Invariant: what was acknowledged is on a quorum of the replicas of a datacenter. No other module than `driver` knows the
driver. Knows no rule of the product.
"""

from perdure.base.clock import Clock
from perdure.base.metrics import Metrics
from perdure.store.cassandra.checkpoints import CassandraCheckpoints
from perdure.store.cassandra.connecting import connected
from perdure.store.cassandra.documents import CassandraDocuments
from perdure.store.cassandra.leases import CassandraLeases
from perdure.store.cassandra.log import CassandraLog
from perdure.store.cassandra.options import CassandraOptions, parse_url
from perdure.store.cassandra.schema import SchemaStore
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.settings import check_nodes, settle_levels, use_keyspace
from perdure.store.cassandra.shards import CassandraShards
from perdure.store.cassandra.visibility import CassandraVisibility

__all__ = ["CassandraOptions", "CassandraStore", "parse_url"]


class CassandraStore:
    """`perdure.store.contract.Store` in a keyspace. Made by `open`, on the loop that it then belongs to."""

    is_shared = True

    def __init__(self, session: Session, clock: Clock) -> None:
        self._session = session
        self.log = CassandraLog(session)
        self.shards = CassandraShards(session)
        self.checkpoints = CassandraCheckpoints(session, clock)
        self.documents = CassandraDocuments(session)
        self.leases = CassandraLeases(session)
        self.visibility = CassandraVisibility(session, clock)

    @classmethod
    async def open(cls, options: CassandraOptions, *, clock: Clock, dev: bool = False) -> "CassandraStore":
        """Connect, check the cluster's settings, make the keyspace and its schema if they aren't there.

        Waits `options.connect_wait_s` for a cluster that is away. `dev`: unsafe settings are warned of, not refused.
        Raises InvalidArgument (an option), StoreUnavailable (the cluster is away), FailedPrecondition (it can't be
        used as it is, or with these options).
        """
        session = await connected(options, clock)
        try:
            await check_nodes(session, dev=dev)
            await use_keyspace(session, options, dev=dev)
            schema = SchemaStore(session, options.keyspace, clock)
            await schema.apply()
            await settle_levels(schema, session, options)
            await schema.prepare()
            session.ignore_schemas()
        except BaseException:
            await session.close()
            raise
        return cls(session, clock)

    def measure(self, metrics: Metrics) -> None:
        """Count what is asked of Cassandra from now on."""
        self._session.measure(metrics)

    async def close(self) -> None:
        """End all connections; what is in flight ends with an unknown outcome."""
        await self._session.close()
