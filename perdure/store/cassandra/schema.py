"""Bringing a keyspace's schema up to date, by as many processes at once as like to.

Invariants: one process at a time applies versions, under a conditional row that it keeps renewing; one that was killed
is followed by another after `ABANDONED_S` in which its row stood still, by the follower's own clock. A version is
recorded once every node that is up has it. A newer schema is left as it is.
"""

import asyncio
from collections.abc import Iterable, Mapping

import msgspec
import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.entropy import Entropy, SystemEntropy, derive_id, new_id
from perdure.base.errors import FailedPrecondition
from perdure.base.tasks import Background
from perdure.schema import cassandra as schema
from perdure.store.cassandra.patience import patiently
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.statements import Statement, conditional, settled_read

ABANDONED_S = 10.0
_RENEW_S = 2.0
_POLL_S = 0.5
NAME = "perdure"

log = structlog.get_logger(__name__)

_READ = settled_read("SELECT id, version, holder, beat, levels FROM installation WHERE name = ?")
_CREATE = conditional("INSERT INTO installation (name, id, version, beat) VALUES (?, ?, 0, 0) IF NOT EXISTS")
_TAKE = conditional("UPDATE installation SET holder = ?, beat = ? WHERE name = ? IF holder = ? AND beat = ?")
_BEAT = conditional("UPDATE installation SET beat = ? WHERE name = ? IF holder = ?")
_RECORD = conditional("UPDATE installation SET version = ? WHERE name = ? IF holder = ? AND version = ?")
_LEAVE = conditional("UPDATE installation SET holder = null WHERE name = ? IF holder = ?")
_LEVELS = conditional("UPDATE installation SET levels = ? WHERE name = ? IF levels = null")
STATEMENTS = (_READ, _CREATE, _TAKE, _BEAT, _RECORD, _LEAVE, _LEVELS)


class Installation(msgspec.Struct, frozen=True, array_like=True):
    """A keyspace's row. `version` 0: nothing was applied yet. `levels` "": nobody has served from it yet."""

    id: str
    version: int
    holder: str
    beat: int
    levels: str


class SchemaStore:
    """The schema of one keyspace, which the session uses."""

    def __init__(self, session: Session, keyspace: str, clock: Clock, entropy: Entropy | None = None) -> None:
        self._session = session
        self._keyspace = keyspace
        self._clock = clock
        self._entropy = entropy or SystemEntropy()
        self._me = new_id(self._entropy)

    async def read(self) -> Installation | None:
        """The row that stands; None where no schema was ever applied."""
        known = await self._session.ask(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s AND table_name = %s",
            (self._keyspace, schema.FOUNDATION),
        )
        if not known:
            return None
        await self.prepare(STATEMENTS)
        rows = await self._session.run(_READ, (NAME,))
        if not rows:
            return None
        identity, version, holder, beat, levels = rows[0]
        return Installation(identity, version or 0, holder or "", beat or 0, levels or "")

    async def prepare(self, statements: Iterable[Statement] | None = None) -> None:
        """Prepare these statements, by default all. A node that has just been told of a table may not take them yet."""
        await patiently(lambda: self._session.prepare(statements))

    async def apply(self, wanted: Mapping[int, str] | None = None) -> int:
        """Bring the schema up to the newest of `wanted` (those of this program); returns the version that it had.

        Waits while another process does the same. Raises FailedPrecondition for a newer schema.
        """
        wanted = schema.versions() if wanted is None else wanted
        newest = max(wanted, default=0)
        row = await self.read() or await self._found()
        had = row.version
        seen, since_ns = row, self._clock.monotonic_ns()
        while row.version < newest:
            if row.holder and (row.holder, row.beat) != (seen.holder, seen.beat):
                log.info("another process applies the schema", keyspace=self._keyspace, version=row.version)
                seen, since_ns = row, self._clock.monotonic_ns()
            abandoned = self._clock.monotonic_ns() - since_ns > ABANDONED_S * SECOND_NS
            if (not row.holder or abandoned) and await self._take(row):
                row = await self._apply_held(wanted)
                continue
            await asyncio.sleep(_POLL_S)
            row = await self.read() or row
        self.check(row, newest)
        return had

    def check(self, row: Installation, newest: int | None = None) -> None:
        """Raises FailedPrecondition if the schema is newer than `newest` (that of this program)."""
        newest = max(schema.versions()) if newest is None else newest
        if row.version > newest:
            raise FailedPrecondition(
                f"Keyspace {self._keyspace} has schema version {row.version}, this program knows up to {newest}. "
                "Use a newer program."
            )

    async def plan(self) -> list[tuple[int, list[str]]]:
        """The versions that `apply` would add, with their statements. A keyspace that was never used has no id yet:
        its tables' ids stand as {id}.
        """
        row = await self.read()
        version, identity = (0, None) if row is None else (row.version, row.id)
        texts = {number: text for number, text in schema.versions().items() if number > version}
        if row is None:
            texts = {0: schema.foundation()} | texts
        return [(number, schema.statements(text, identity)) for number, text in texts.items()]

    async def settle_levels(self, levels: str) -> str:
        """Record the consistency levels if nobody has; those that stand."""
        row = await self.read()
        while row is not None and not row.levels:
            await self._settled(_LEVELS, (levels, NAME))
            row = await self.read()
        return levels if row is None else row.levels

    async def _found(self) -> Installation:
        tables = await self._session.ask(
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s", (self._keyspace,)
        )
        if tables and (schema.FOUNDATION,) not in tables:
            raise FailedPrecondition(f"Keyspace {self._keyspace} is another program's: it has {tables[0][0]}.")
        for statement in schema.statements(schema.foundation(), derive_id(b"perdure", self._keyspace)):
            await self._session.define(statement)
        await self.prepare(STATEMENTS)
        await self._settled(_CREATE, (NAME, new_id(self._entropy)))
        row = await self.read()
        if row is None:
            raise FailedPrecondition(f"The row of keyspace {self._keyspace} vanished while it was made.")
        return row

    async def _take(self, row: Installation) -> bool:
        """Whether the lock is ours now."""
        if row.holder == self._me:
            return True
        await self._settled(_TAKE, (self._me, row.beat + 1, NAME, row.holder or None, row.beat))
        now = await self.read()
        return now is not None and now.holder == self._me

    async def _apply_held(self, wanted: Mapping[int, str]) -> Installation:
        # Without it others may apply the same versions meanwhile, which does no harm.
        renewing = Background(lambda error: log.warning("the schema's lock is not renewed", cause=str(error)))
        renewing.spawn(self._renew(), "schema lock")
        try:
            row = await self._held()
            for version in range(row.version + 1, max(wanted) + 1):
                log.info("schema is applied", keyspace=self._keyspace, version=version)
                for statement in schema.statements(wanted[version], row.id):
                    await self._session.define(statement)
                await self._settled(_RECORD, (version, NAME, self._me, version - 1))
        finally:
            await renewing.close()
            await self._settled(_LEAVE, (NAME, self._me))
        return await self._held()

    async def _held(self) -> Installation:
        row = await self.read()
        if row is None:
            raise FailedPrecondition(f"The row of keyspace {self._keyspace} was removed while its schema was applied.")
        return row

    async def _renew(self) -> None:
        beat = (await self._held()).beat
        while True:
            await asyncio.sleep(_RENEW_S)
            beat += 1
            await self._settled(_BEAT, (beat, NAME, self._me))

    async def _settled(self, statement: Statement, values: tuple[object, ...]) -> None:
        """Send a conditional write until its answer is definite; what stands then is to be read."""
        await patiently(lambda: self._session.compare(statement, values))
