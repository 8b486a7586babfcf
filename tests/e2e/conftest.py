"""The server that all tests of bad input share: one process on a file, as a person would run it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conformance.harness.rpc import Client
from tests.e2e.processes import ServerProcess, free_port
from tests.e2e.siege import OTHER_NAMESPACE, Siege


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def siege(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Siege]:
    switched_on = ("frontend.WorkflowPauseEnabled=true", "frontend.WorkflowTimeSkippingEnabled=true")
    arguments = ["--namespace", OTHER_NAMESPACE]
    arguments += [part for setting in switched_on for part in ("--dynamic-config-value", setting)]
    server = ServerProcess(tmp_path_factory.mktemp("siege") / "perdure.db", free_port(), *arguments)
    await server.start()
    client = Client(server.address)
    siege = Siege(server, client)
    await siege.begin()
    yield siege
    await client.close()
    assert await server.stop() == 0
    assert not siege.errors(), "errors were logged while the server stopped"
