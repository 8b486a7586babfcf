"""Leases of hosts in Cassandra: a partition each, so that hosts don't contend, changed by a condition on the version.

Invariant: conditional writes only, settled reads only, and no time in a row: a host's clock is nobody else's.
"""

import msgspec

from perdure.store.cassandra.session import Session
from perdure.store.cassandra.statements import conditional, settled_read
from perdure.store.contract import LeaseRow

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(LeaseRow)

_CREATE = conditional("INSERT INTO host_lease (host, version, body) VALUES (?, 0, ?) IF NOT EXISTS")
_REPLACE = conditional("UPDATE host_lease SET version = ?, body = ? WHERE host = ? IF version = ?")
_REMOVE = conditional("DELETE FROM host_lease WHERE host = ? IF version = ?")
_READ = settled_read("SELECT body FROM host_lease WHERE host = ?")


class CassandraLeases:
    """`perdure.store.contract.LeaseStore`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def read_lease(self, host: str) -> LeaseRow | None:
        rows = await self._session.run(_READ, (host,))
        return _decoder.decode(rows[0][0]) if rows else None

    async def replace_lease(self, row: LeaseRow) -> bool:
        body = _encoder.encode(row)
        if row.version == 0:
            applied, _ = await self._session.compare(_CREATE, (row.host, body))
        else:
            applied, _ = await self._session.compare(_REPLACE, (row.version, body, row.host, row.version - 1))
        return applied

    async def remove_lease(self, host: str, version: int) -> bool:
        applied, _ = await self._session.compare(_REMOVE, (host, version))
        return applied
