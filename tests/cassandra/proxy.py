"""A proxy before a node, that loses, delays and cuts what is said, to order and from a seed.

It speaks version 4 of the native protocol only, whose frames are plain; a client that begins with a newer one is told
so. Invariant: without faults, all frames arrive as they were sent and in their order; a reply that is dropped was
given by the node, so what it answers for has happened.
"""

import asyncio
import enum
import random
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass

from tests.cassandra import wire
from tests.cassandra.addresses import CQL_PORT


class Fate(enum.Enum):
    """What happens to a request and its reply."""

    PASSED = "passed"
    LOST = "lost"  # the request: the node never sees it
    DROPPED = "dropped"  # the reply: what was asked for happens
    DELAYED = "delayed"  # the reply comes late; others overtake it
    CUT = "cut"  # in place of the reply, the connection ends


@dataclass(slots=True)
class Faults:
    """How likely each fate is, 0 to 1, of the requests that faults may touch; together at most 1.

    `only_conditional`: of conditional writes; else of every statement. Opening a connection is never touched.
    `black_hole`: nothing goes either way, connections stay open and are accepted.
    """

    lost: float = 0.0
    dropped: float = 0.0
    delayed: float = 0.0
    cut: float = 0.0
    delay_seconds: float = 1.0
    only_conditional: bool = True
    black_hole: bool = False

    def drawn(self, chance: random.Random) -> Fate:
        """A fate, by the likelihoods."""
        at = chance.random()
        for fate, likely in (
            (Fate.LOST, self.lost),
            (Fate.DROPPED, self.dropped),
            (Fate.DELAYED, self.delayed),
            (Fate.CUT, self.cut),
        ):
            if at < likely:
                return fate
            at -= likely
        return Fate.PASSED


class Proxy:
    """One proxy before the node at `target` (host, port); `address` is set once it is started.

    `counts`: how many requests met each fate, of conditional writes and of all others. `unreadable`: why connections
    were ended by the proxy itself.
    """

    def __init__(
        self, target: tuple[str, int], seed: int, faults: Faults, statements: wire.Statements | None = None
    ) -> None:
        self.faults = faults
        self.statements = statements or wire.Statements()
        self.counts: Counter[tuple[Fate, bool]] = Counter()
        self.unreadable: list[str] = []
        self.chance = random.Random(seed)
        self.target = target
        self.host, self.port = "", 0
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    async def start(self, host: str, port: int = CQL_PORT) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(self._accepted, host, port)
        self.host, self.port = self._server.sockets[0].getsockname()[:2]

    async def stop(self) -> None:
        """End every connection, and listen no more."""
        if self._server is not None:
            self._server.close()
        for pair in self._pairs:
            pair.cancel()
        await asyncio.gather(*self._pairs, return_exceptions=True)

    def met(self, fate: Fate, *, conditional: bool | None = None) -> int:
        """How many requests met a fate."""
        return sum(self.counts[fate, kind] for kind in (True, False) if conditional in (None, kind))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pairs.add(task)
        try:
            await _Pair(self, reader, writer).run()
        except (OSError, asyncio.CancelledError):
            # The node is away, or the proxy is being stopped: to the client both look like this.
            pass
        finally:
            self._pairs.discard(task)
            writer.close()


class _Pair:
    """A client's connection and the one to the node that belongs to it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = reader, writer
        # By stream: the request that waits for its reply, and what becomes of it.
        self._asked: dict[int, tuple[wire.Frame, Fate]] = {}
        self._late: list[asyncio.TimerHandle] = []

    async def run(self) -> None:
        """Carry frames until either side ends. Raises OSError if the node can't be reached."""
        from_node, to_node = await asyncio.open_connection(*self._proxy.target)
        ways: list[Coroutine[None, None, None]] = [self._requests(to_node), self._replies(from_node)]
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Before anything that may be cancelled in its turn.
            to_node.close()
            for late in self._late:
                late.cancel()
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, wire.Unreadable):
                    self._proxy.unreadable.append(str(outcome))

    async def _requests(self, to_node: asyncio.StreamWriter) -> None:
        while (frame := await wire.read_frame(self._from_client)) is not None:
            if frame.version != wire.VERSION:
                self._to_client.write(wire.wrong_version(frame).packed)
                await self._to_client.drain()
                continue
            if self._proxy.faults.black_hole:
                continue
            fate = self._fate(frame)
            self._asked[frame.stream] = frame, fate
            if fate is not Fate.LOST:
                to_node.write(frame.packed)
                await to_node.drain()

    def _fate(self, frame: wire.Frame) -> Fate:
        if frame.opcode not in (wire.QUERY, wire.EXECUTE, wire.BATCH):
            return Fate.PASSED
        faults, conditional = self._proxy.faults, self._proxy.statements.is_conditional(frame)
        touched = conditional or not faults.only_conditional
        fate = faults.drawn(self._proxy.chance) if touched else Fate.PASSED
        self._proxy.counts[fate, conditional] += 1
        return fate

    async def _replies(self, from_node: asyncio.StreamReader) -> None:
        while (frame := await wire.read_frame(from_node)) is not None:
            request, fate = self._asked.pop(frame.stream, (None, Fate.PASSED))
            if request is not None and request.opcode == wire.PREPARE:
                self._proxy.statements.prepared(request, frame)
            if fate is Fate.CUT:
                return
            if self._proxy.faults.black_hole or fate is Fate.DROPPED:
                continue
            if fate is Fate.DELAYED:
                later = asyncio.get_running_loop().call_later
                self._late.append(later(self._proxy.faults.delay_seconds, self._to_client.write, frame.packed))
                continue
            self._to_client.write(frame.packed)
            await self._to_client.drain()
