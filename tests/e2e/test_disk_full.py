"""A server whose disk is full, or fails to sync: it refuses by name what it can't keep, and goes on when it can."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as events
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import complete_workflow
from tests.conformance.harness.payloads import payloads
from tests.conformance.harness.rpc import CallFailed, Client
from tests.conformance.harness.waiting import until
from tests.e2e.processes import ServerProcess, free_port
from tests.e2e.siege import Siege
from tests.e2e.volumes import Volume, volume

_FAILING_DISK = Path(__file__).parents[1] / "contract" / "failing_disk.c"
_EXECUTION = common.WorkflowExecution(workflow_id="w")


class Signals:
    """Signals of one client to one workflow, and which of them were acknowledged."""

    def __init__(self, siege: Siege) -> None:
        self._siege = siege
        self._sent = 0
        self.acknowledged: list[str] = []
        self.refusal: CallFailed | None = None

    async def send(self, seconds: float = 10.0) -> None:
        """Send the next one. Raises CallFailed."""
        self._sent += 1
        name = str(self._sent)
        await self._siege.client.call(
            ws.SignalWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=_EXECUTION,
                signal_name=name,
                request_id=name,
                input=payloads("x" * 5000),  # more than what is left of a file's last page
            ),
            seconds,
        )
        self.acknowledged.append(name)

    async def sent(self) -> bool:
        """Send the next one, and whether it was acknowledged soon."""
        try:
            await self.send(3.0)
        except CallFailed as failed:
            self.refusal = failed
            return False
        return True

    async def check(self) -> None:
        """All acknowledged ones are in the history once and in order; of the others none is there twice."""
        request = ws.GetWorkflowExecutionHistoryRequest(namespace="default", execution=_EXECUTION)
        reply: ws.GetWorkflowExecutionHistoryResponse = await self._siege.client.call(request)
        names = [
            event.workflow_execution_signaled_event_attributes.signal_name
            for event in reply.history.events
            if event.event_type == events.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        ]
        assert [name for name in names if name in self.acknowledged] == self.acknowledged
        assert len(set(names)) == len(names)
        assert [event.event_id for event in reply.history.events] == list(range(1, len(reply.history.events) + 1))


class Served:
    """A server, a client of it, and one workflow that signals are sent to."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.client = Client(server.address)
        self.siege = Siege(server, self.client)
        self.signals = Signals(self.siege)

    async def begin(self) -> None:
        """Start both."""
        await self.server.start()
        await self.siege.start("w")

    async def finish_workflow(self) -> None:
        """A worker ends the workflow, and everything acknowledged is in its history."""
        await self.siege.complete(await self.siege.take("w"), complete_workflow())
        await self.signals.check()
        assert (await self.siege.event_types("w"))[-1] == events.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Volume]:
    with volume(tmp_path / "volume", size_mib=24) as found:
        yield found


@pytest.fixture
async def on_small_disk(tmp_path: Path, small_disk: Volume) -> AsyncIterator[Served]:
    server = ServerProcess(
        small_disk.path / "perdure.db", free_port(), log=tmp_path / "server.log", through=small_disk.through
    )
    served = Served(server)
    await served.begin()
    yield served
    await served.client.close()
    await server.stop()


async def test_a_full_disk(small_disk: Volume, on_small_disk: Served) -> None:
    served, signals = on_small_disk, on_small_disk.signals
    for _ in range(3):
        await signals.send()
    small_disk.fill()
    await until("the last page to be full, too", lambda: _negated(signals))
    assert signals.refusal is not None
    assert signals.refusal.code == "UNAVAILABLE"
    assert "The disk or the database is full" in signals.refusal.text
    await served.client.call(ws.GetSystemInfoRequest())  # it is alive
    small_disk.make_room()
    await until("the same process to serve again", signals.sent)
    await signals.check()

    small_disk.fill()
    await until("the disk to be full again", lambda: _negated(signals))
    await served.server.kill()
    with pytest.raises(AssertionError, match="The disk or the database is full"):
        await served.server.start()
    small_disk.make_room()
    await served.server.start()
    await signals.send()
    await signals.check()
    await served.finish_workflow()
    small_disk.fill()
    async with asyncio.timeout(5):
        assert await served.server.stop() == 0


async def _negated(signals: Signals) -> bool:
    return not await signals.sent()


@pytest.fixture
def failing_disk(tmp_path: Path) -> Path:
    """A library that makes every fsync of a process fail while a file is there."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler: `.ci/run` installs gcc, which compiles the failing disk of this test"
    library = tmp_path / "failing_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, _FAILING_DISK, "-ldl"], check=True)
    return library


async def test_a_disk_that_does_not_sync(tmp_path: Path, failing_disk: Path) -> None:
    flag = tmp_path / "fails"
    server = ServerProcess(
        tmp_path / "perdure.db",
        free_port(),
        environment={"LD_PRELOAD": str(failing_disk), "FAILING_DISK": str(flag)},
    )
    served = Served(server)
    signals = served.signals
    await served.begin()
    await signals.send()
    flag.write_text("sync")
    for _ in range(2):
        with pytest.raises(CallFailed) as failed:  # never acknowledged: whether it is kept can't be known
            await signals.send(1.0)
        assert failed.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    await served.client.call(ws.GetSystemInfoRequest())
    assert "could not tell whether the commit is on the disk" in server.output, "the operator is told"
    flag.unlink()
    await until("the same process to serve again", signals.sent)
    await signals.check()

    flag.write_text("sync")
    assert not await signals.sent()
    await server.kill()
    flag.unlink()
    await server.start()
    await signals.send()
    await signals.check()
    await served.finish_workflow()
    await served.client.close()
    assert await server.stop() == 0
