"""The two servers of a conformance session, and the transcripts of the chosen scenarios on both."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cassandra.cql import drop_keyspace
from tests.cassandra.fixtures import Contact, Keyspace
from tests.conformance.generated.case import WEIGHTS
from tests.conformance.generated.comparing import Comparing, Verdict
from tests.conformance.generated.plan import drawn
from tests.conformance.harness.rpc import Client
from tests.conformance.harness.scenario import Scenario, run_all
from tests.conformance.harness.servers import (
    Server,
    cluster_settings,
    perdure_command,
    prepare,
    reference_command,
    running,
)
from tests.e2e.clusters import cluster_of

PERDURE = "perdure"
CASSANDRA = "cassandra"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the conformance suite."""
    group = parser.getgroup("conformance")
    group.addoption(
        "--reference-only",
        action="store_true",
        help="run every scenario twice on the reference, to see that its transcript is the same each time",
    )
    group.addoption("--reference-address", help="host:port of a reference server that runs already")
    group.addoption("--perdure-address", help="host:port of a Perdure that runs already")
    group.addoption(
        "--cluster",
        action="store_true",
        help="Perdure as a cluster of processes by role on a Cassandra of the tests, or that of --cassandra",
    )
    group.addoption(
        "--store",
        help="where Perdure keeps its data: an address as `perdure dev --store` takes it, or `cassandra` for a node of"
        " the tests; in memory if not given",
    )
    group.addoption(
        "--transcripts", type=Path, help="a folder to write the transcripts to, one per server and scenario"
    )


class Comparison:
    """Transcripts of the scenarios on both servers, made topic by topic, all scenarios of a topic at once."""

    def __init__(self, runner: asyncio.Runner, servers: tuple[Server, Server], folder: Path | None) -> None:
        self._runner = runner
        self._servers = servers
        self._folder = folder
        self._found: dict[str, tuple[str, str]] = {}

    @contextlib.contextmanager
    def beside(self, *arguments: str) -> Iterator[Comparison]:
        """The same reference beside another Perdure, which is started with these arguments."""
        stack = contextlib.AsyncExitStack()
        try:
            started = self._runner.run(stack.enter_async_context(running(PERDURE, perdure_command(), *arguments)))
            yield Comparison(self._runner, (self._servers[0], started), None)
        finally:
            self._runner.run(stack.aclose())

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two servers."""
        return self._servers[0].name, self._servers[1].name

    def transcripts(self, wanted: Scenario, chosen: list[Scenario]) -> tuple[str, str]:
        """The transcripts of a scenario on both servers; runs the chosen ones of its topic if it has none yet."""
        if wanted.name not in self._found:
            self._runner.run(self._run([one for one in chosen if one.topic == wanted.topic]))
        return self._found[wanted.name]

    def generated(self, cases: int, seed: int) -> list[Verdict]:
        """The verdicts of generated cases on both servers."""

        async def judged() -> list[Verdict]:
            clients = [Client(server.address) for server in self._servers]
            try:
                return await Comparing(clients[0], clients[1]).all(drawn(WEIGHTS, cases, seed))
            finally:
                for client in clients:
                    await client.close()

        return self._runner.run(judged())

    async def _run(self, listed: list[Scenario]) -> None:
        clients = [Client(server.address) for server in self._servers]
        try:
            first, second = await asyncio.gather(*(run_all(listed, client) for client in clients))
            if self.names[1] == PERDURE:
                # A reference short of time gives tasks away and forgets to whom: it may speak twice, Perdure not.
                again = [one for one in listed if first[one.name] != second[one.name] and not one.differs]
                first |= await run_all(again, clients[0])
        finally:
            for client in clients:
                await client.close()
        for one in listed:
            self._found[one.name] = first[one.name], second[one.name]
            if self._folder is not None:
                for server, text in zip(self._servers, self._found[one.name], strict=True):
                    path = self._folder / server.name / f"{one.name}.txt"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text)


async def _there(name: str, address: str) -> Server:
    """A server that runs already."""
    client = Client(address)
    try:
        await prepare(client)
    finally:
        await client.close()
    return Server(name, address)


async def _servers(
    config: pytest.Config,
    stack: contextlib.AsyncExitStack,
    stored: tuple[str, ...],
    cluster: tuple[Keyspace, Path] | None,
) -> tuple[Server, Server]:
    address = config.getoption("--reference-address", None)
    reference = (
        await _there("reference", address)
        if address
        else await stack.enter_async_context(running("reference", reference_command()))
    )
    if config.getoption("--reference-only", False):
        return reference, Server("reference-again", reference.address)
    address = config.getoption("--perdure-address", None)
    if address:
        return reference, await _there(PERDURE, address)
    if cluster is not None:
        processes = await stack.enter_async_context(
            cluster_of(*cluster, settings=cluster_settings(), frontend=1, history=2, matching=2)
        )
        return reference, await _there(PERDURE, processes.frontends[0])
    return reference, await stack.enter_async_context(running(PERDURE, perdure_command(), *stored))


@pytest.fixture(scope="session")
def stored(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """The arguments that tell Perdure where to keep its data."""
    wanted = request.config.getoption("--store", None)
    if wanted == CASSANDRA:
        with _on_cassandra(request) as arguments:
            yield arguments
    else:
        yield ("--store", wanted) if wanted else ()


@contextlib.contextmanager
def _on_cassandra(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    """The same for a keyspace of a Cassandra of the tests, dropped afterwards; skips where there is none."""
    contact: Contact = request.getfixturevalue("cassandra")
    keyspace = Keyspace(contact, f"conformance_{os.getpid()}")
    yield "--store", keyspace.url
    drop_keyspace(contact.host, keyspace.name, contact.port)


@pytest.fixture(scope="session")
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Keyspace, Path] | None]:
    """A keyspace and a folder for a cluster by role, if one was asked for."""
    if not request.config.getoption("--cluster", False):
        yield None
        return
    contact: Contact = request.getfixturevalue("cassandra")
    keyspace = Keyspace(contact, f"conformance_cluster_{os.getpid()}")
    yield keyspace, tmp_path_factory.mktemp("cluster")
    drop_keyspace(contact.host, keyspace.name, contact.port)


@pytest.fixture(scope="session")
def comparison(
    request: pytest.FixtureRequest, stored: tuple[str, ...], cluster: tuple[Keyspace, Path] | None
) -> Iterator[Comparison]:
    """Both servers, running until the end of the session."""
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        try:
            servers = runner.run(_servers(request.config, stack, stored, cluster))
            yield Comparison(runner, servers, request.config.getoption("--transcripts", None))
        finally:
            runner.run(stack.aclose())


@pytest.fixture(scope="session")
def comparison_on_cassandra(request: pytest.FixtureRequest, comparison: Comparison) -> Iterator[Comparison]:
    """The reference beside a Perdure on Cassandra."""
    for option in ("--store", "--cluster", "--perdure-address", "--reference-only"):
        if request.config.getoption(option, None):
            pytest.skip(f"{option} says what to compare")
    with _on_cassandra(request) as arguments, comparison.beside(*arguments) as other:
        yield other


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest) -> list[Scenario]:
    """The scenarios that this session was asked for."""
    listed = [item.callspec.params.get("one") for item in request.session.items if hasattr(item, "callspec")]
    return list({one.name: one for one in listed if isinstance(one, Scenario)}.values())
