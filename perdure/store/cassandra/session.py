"""Asking Cassandra from an event loop: one question, many at once, or a conditional write.

Invariants: the loop never waits for the driver; the driver's threads do no more than hand an answer over, and wake the
loop once for as many answers as have come meanwhile; requests in flight are bounded. Knows no table.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from perdure.base.errors import Bug, StoreUnavailable
from perdure.base.metrics import Metrics
from perdure.store.cassandra import driver
from perdure.store.cassandra.driver import Link, Node, Result
from perdure.store.cassandra.errors import Failure, Refusal, meaning
from perdure.store.cassandra.measured import SessionMeter, node_readings
from perdure.store.cassandra.statements import REGISTRY, Kind, Statement

T = TypeVar("T")

# Of `all`, of one caller; and of everybody together. A connection has 32,768 numbers for requests.
TOGETHER_MAX = 128
IN_FLIGHT_MAX = 1024
# Have room of their own: they are few, and a lease ends while its renewal waits behind reads of a node that is silent.
_PRESSING = (Kind.CONDITIONAL, Kind.SETTLED_READ)
_PREPARING_MAX = 8


class Rows(list[tuple[Any, ...]]):
    """Rows as tuples in the order of the statement's columns. `next_page`: where the next page begins, None = no
    more.
    """

    __slots__ = ("names", "next_page")

    def __init__(self, rows: Iterable[tuple[Any, ...]] = (), names: Sequence[str] = (), next_page: bytes | None = None):
        super().__init__(rows)
        self.names = names
        self.next_page = next_page


class Session:
    """A connected cluster, on the loop that made it."""

    def __init__(self, link: Link) -> None:
        self.datacenter = link.datacenter
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._prepared: dict[Statement, Any] = {}
        self._waiting: set[_Answer] = set()
        self._answers: deque[_Answer] = deque()
        self._woken = False
        room, pressing = asyncio.Semaphore(IN_FLIGHT_MAX), asyncio.Semaphore(IN_FLIGHT_MAX)
        self._room = {kind: pressing if kind in _PRESSING else room for kind in Kind}
        self._closed = False
        self._meter = SessionMeter()

    def measure(self, metrics: Metrics) -> None:
        """Count there what is asked from now on."""
        self._meter = SessionMeter(metrics)
        metrics.on_read(node_readings(metrics, self.nodes))

    async def run(
        self,
        statement: Statement,
        values: Sequence[object] = (),
        *,
        page: bytes | None = None,
        fetch: int | None = None,
    ) -> Rows:
        """Send a read or a stamped write. `fetch`: rows of a page, None = all; `page`: from where on.

        Raises StoreUnavailable (a read, or nothing was done), OutcomeUnknown (a write).
        """
        return await (await self._send(statement, values, page, fetch))

    async def compare(self, statement: Statement, values: Sequence[object] = ()) -> tuple[bool, dict[str, Any] | None]:
        """Send a conditional write: whether it was applied, and if not the row that stands, by column; None if there
        is none.

        Raises StoreUnavailable (nothing was done), OutcomeUnknown.
        """
        if statement.kind is not Kind.CONDITIONAL:
            raise Bug(f"Not a conditional write: {statement.cql}")
        rows = await (await self._send(statement, values, None, None))
        if not rows:
            raise meaning(statement, Failure("it answered without a verdict"))
        if rows[0][0]:
            return True, None
        self._meter.not_applied()
        row = dict(zip(rows.names[1:], rows[0][1:], strict=True))
        return False, row or None

    async def all(self, work: Iterable[tuple[Statement, Sequence[object]]]) -> list[Rows]:
        """Send many, `TOGETHER_MAX` at a time, and wait for all of them. The answers in the order of `work`; the first
        error, once all have ended.
        """
        sent: list[asyncio.Future[Rows]] = []
        try:
            for number, (statement, values) in enumerate(work):
                if number >= TOGETHER_MAX:
                    await asyncio.wait(sent[number - TOGETHER_MAX : number - TOGETHER_MAX + 1])
                sent.append(await self._send(statement, values, None, None))
        finally:
            results = await asyncio.gather(*sent, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Rows)]

    async def prepare(self, statements: Iterable[Statement] | None = None) -> None:
        """Prepare these statements, by default all there are: what the schema does not have shows at start."""
        missing = [s for s in (REGISTRY if statements is None else statements) if s not in self._prepared]
        room = asyncio.Semaphore(_PREPARING_MAX)

        async def prepare(statement: Statement) -> None:
            async with room:
                await self._prepare(statement)

        await asyncio.gather(*(prepare(statement) for statement in missing))

    async def define(self, cql: str) -> None:
        """Change the schema; returns when all nodes that are up have it. Raises StoreUnavailable, OutcomeUnknown."""
        await self._blocking(self._link.define, cql)

    async def ask(self, cql: str, values: Sequence[object] = (), node: Node | None = None) -> list[tuple[Any, ...]]:
        """Read a system table, of `node` if it matters whose (`%s` for values). Raises StoreUnavailable."""
        return await self._blocking(self._link.ask, cql, values, node)

    async def use(self, keyspace: str) -> None:
        """Let names of tables mean those of this keyspace."""
        await self._blocking(self._link.use, keyspace)

    def ignore_schemas(self) -> None:
        """Follow no changes of schemas from now on. What is needed of them is known; `define` is not for later."""
        self._link.ignore_schemas()

    def nodes(self) -> list[Node]:
        """The cluster's nodes, by address."""
        return self._link.nodes()

    async def close(self) -> None:
        """End all connections; what is in flight ends with an unknown outcome."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._link.close)
            self._hand_over()
            for answer in list(self._waiting):  # what the driver forgot
                answer.error = Failure("the store was closed meanwhile")
                self._answers.append(answer)
            self._hand_over()

    async def _prepare(self, statement: Statement) -> Any:
        try:
            prepared = await asyncio.to_thread(self._link.prepare, statement)
        except Refusal as error:
            raise StoreUnavailable(f"Cassandra does not take {statement.cql}: {error}.") from error
        except Failure as error:
            raise StoreUnavailable(f"Cassandra could not prepare a statement on {statement.table}: {error}.") from error
        self._prepared[statement] = prepared
        return prepared

    async def _send(
        self, statement: Statement, values: Sequence[object], page: bytes | None, fetch: int | None
    ) -> asyncio.Future[Rows]:
        """Send a statement once there is room; the future has its answer."""
        if self._is_closed():
            raise StoreUnavailable("The store is closed.")
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        await self._room[statement.kind].acquire()
        if self._is_closed():
            self._room[statement.kind].release()
            raise StoreUnavailable("The store is closed.")
        answer = _Answer(statement, self._loop.create_future())
        self._waiting.add(answer)
        self._meter.sent(statement.kind)

        def done(result: Result | None, next_page: bytes | None, error: Exception | None) -> None:
            if answer.has_come:
                return
            answer.has_come = True
            answer.result, answer.next_page, answer.error = result, next_page, error
            self._answers.append(answer)
            if not self._woken:
                self._woken = True
                self._wake()

        try:
            answer.timeout = self._link.send(statement.kind, prepared, values, page, fetch, done)
        except Exception as error:  # noqa: BLE001 - before it was on its way, or nobody knows: the answer says which
            done(None, None, driver.told(error))
        return answer.future

    def _is_closed(self) -> bool:
        return self._closed

    def _wake(self) -> None:
        if threading.get_ident() == self._thread:
            self._loop.call_soon(self._hand_over)  # what runs needs no waking
            return
        try:
            self._loop.call_soon_threadsafe(self._hand_over)
        except RuntimeError:
            return  # the loop is closed: nobody is left to be answered

    def _hand_over(self) -> None:
        """Give the answers that have come to those who asked."""
        self._woken = False
        answers = self._answers
        while answers:
            answer = answers.popleft()
            if answer not in self._waiting:
                continue
            self._waiting.remove(answer)
            self._room[answer.statement.kind].release()
            if answer.timeout is not None:
                answer.timeout.cancel()
            if answer.error is not None:
                answer.error = driver.told(answer.error)
            self._meter.answered(answer.statement.kind, answer.error)
            if not answer.future.done():
                answer.settle()

    async def _blocking(self, call: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.to_thread(call, *arguments)
        except (Refusal, Failure) as error:
            raise StoreUnavailable(f"Cassandra said: {error}.") from error


class _Answer:
    """What came back for a statement, on its way from the driver's thread to the loop."""

    __slots__ = ("error", "future", "has_come", "next_page", "result", "statement", "timeout")

    def __init__(self, statement: Statement, future: asyncio.Future[Rows]) -> None:
        self.statement = statement
        self.future = future
        self.has_come = False
        self.result: Result | None = None
        self.next_page: bytes | None = None
        self.error: Exception | None = None
        self.timeout: asyncio.TimerHandle | None = None

    def settle(self) -> None:
        if self.error is not None:
            told = self.error
            self.future.set_exception(
                meaning(self.statement, told) if isinstance(told, Refusal | Failure) else Bug(f"{told}")
            )
        elif self.result is None:
            self.future.set_result(Rows())
        else:
            self.future.set_result(Rows(self.result[1], self.result[0], self.next_page))
