"""A link to no cluster: tests answer its requests by hand, from whatever thread they like."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from perdure.store.cassandra.driver import Done, Link, Node
from perdure.store.cassandra.errors import Failure
from perdure.store.cassandra.statements import Kind, Statement


class Request:
    """One statement that was sent."""

    def __init__(self, cql: str, values: Sequence[object], page: bytes | None, fetch: int | None, done: Done) -> None:
        self.cql = cql
        self.values = tuple(values)
        self.page = page
        self.fetch = fetch
        self.done = done

    def answer(self, *rows: tuple[Any, ...], names: Sequence[str] = (), next_page: bytes | None = None) -> None:
        self.done((names, list(rows)), next_page, None)


class HandLink(Link):
    """`answering`: called with each request at once, if given. `not_prepared`, `not_sent`: why nothing is. `known`:
    the cluster's nodes; `said`: what each says of its settings.
    """

    def __init__(self, answering: Callable[[Request], None] | None = None) -> None:
        self.datacenter = "here"
        self.answering = answering
        self.requests: list[Request] = []
        self.prepared: list[Statement] = []
        self.not_prepared: Exception | None = None
        self.not_sent: Exception | None = None
        self.forgets = False
        self.known: list[Node] = []
        self.said: dict[str, dict[str, str | None] | Exception] = {}

    def prepare(self, statement: Statement) -> Any:
        if self.not_prepared is not None:
            raise self.not_prepared
        self.prepared.append(statement)
        return statement.cql

    def send(
        self, kind: Kind, prepared: Any, values: Sequence[object], page: bytes | None, fetch: int | None, done: Done
    ) -> None:
        if self.not_sent is not None:
            raise self.not_sent
        request = Request(prepared, values, page, fetch, done)
        self.requests.append(request)
        if self.answering is not None:
            self.answering(request)

    def nodes(self) -> list[Node]:
        return self.known

    def ask(self, cql: str, values: Sequence[object] = (), node: Node | None = None) -> list[tuple[Any, ...]]:
        said = self.said[node.address if node is not None else ""]
        if isinstance(said, Exception):
            raise said
        return list(said.items())

    def close(self) -> None:
        if not self.forgets:
            for request in self.requests:
                request.done(None, None, Failure("the connection was closed"))


async def turn() -> None:
    """Let the loop do what is ready."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done
