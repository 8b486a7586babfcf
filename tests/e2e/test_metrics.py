"""`/metrics` of a real server: what a workflow that ran, calls that failed and hostile callers leave on the page."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.request import urlopen

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws
from temporalio.client import Client as SdkClient
from temporalio.worker import Worker

from perdure.base.series import table
from tests.conformance.harness.rpc import CallFailed, Client
from tests.e2e.commands import Running, running
from tests.e2e.doubling import Doubling, double
from tests.e2e.processes import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Labels of a series, without their order.
Labels = frozenset[tuple[str, str]]


class Page:
    """A scraped page: type by name, value by name and labels."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.types = {line.split()[2]: line.split()[3] for line in text.splitlines() if line.startswith("# TYPE ")}
        self.values: dict[str, dict[Labels, float]] = defaultdict(dict)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                # The parser names counters as clients in Python do.
                self.values[sample.name.removesuffix("_total")][frozenset(sample.labels.items())] = sample.value

    def sum(self, name: str, **labels: str) -> float:
        """Of all series with these labels."""
        wanted = labels.items()
        return sum(value for there, value in self.values[name].items() if wanted <= set(there))

    def labels(self, name: str) -> set[str]:
        """The names of labels that a metric has."""
        return {label for there in self.values[name] for label, _ in there}


async def scrape(port: int) -> Page:
    def read() -> str:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text: str = answer.read().decode()
            return text

    return Page(await asyncio.to_thread(read))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Running, int]]:
    port = free_port()
    folder: Path = tmp_path_factory.mktemp("metrics")
    async with running(["dev", "--port", "0", "--metrics-port", str(port)], folder) as started:
        assert f"http://127.0.0.1:{port}/metrics" in await started.line()
        yield started, port


async def test_a_workflow_leaves_its_traces(server: tuple[Running, int]) -> None:
    started, port = server
    client = await SdkClient.connect(started.address)
    async with Worker(
        client, task_queue="a-queue", workflows=[Doubling], activities=[double], disable_eager_activity_execution=True
    ):
        assert await client.execute_workflow(Doubling.run, 21, id="w", task_queue="a-queue") == 42
    page = await scrape(port)
    calls = {"namespace": "default", "service_name": "frontend"}
    assert page.sum("service_requests", operation="StartWorkflowExecution", **calls) == 1
    assert page.sum("service_latency_count", operation="StartWorkflowExecution", **calls) == 1
    assert page.sum("service_requests", operation="RespondActivityTaskCompleted", **calls) == 1
    assert page.sum("service_requests", operation="RecordActivityTaskStarted", service_name="history") == 1
    assert page.sum("client_requests", operation="HistoryClientStartWorkflowExecution", service_role="history") == 1
    assert page.sum("service_errors") == 0
    closed = {"namespace": "default", "taskqueue": "a_queue", "workflowType": "Doubling", "service_name": "history"}
    assert page.sum("workflow_success", operation="CompletionStats", **closed) == 1
    assert page.sum("workflow_schedule_to_close_latency_count", **closed) == 1
    assert page.sum("workflow_failed") == 0
    assert page.sum("poll_success", taskqueue="a_queue", task_type="Activity", service_name="matching") == 1
    assert page.sum("task_schedule_to_start_latency_count", taskqueue="a_queue", task_type="Activity") == 1
    assert page.sum("task_requests", operation="TransferActiveTaskActivity") == 1
    assert page.sum("persistence_requests", operation="AppendGroup", service_name="history") >= 4
    assert page.sum("persistence_errors") == 0
    assert page.sum("cache_miss", cache_type="mutablestate") >= 1
    assert page.sum("history_size_count", namespace="default") == page.sum("history_count_count") >= 5
    assert page.sum("action", action_type="command_ScheduleActivityTask", namespace="default") == 1


async def test_the_process_shows_itself(server: tuple[Running, int]) -> None:
    page = await scrape(server[1])
    for service in ("frontend", "history", "matching"):
        assert page.sum("host_health", service_name=service) == 1
        assert page.sum("restarts", service_name=service) == 1
        assert page.sum("build_information", service_name=service) == 1
        assert 20e6 < page.sum("memory_allocated", service_name=service) < 110e6
        assert page.sum("num_goroutines", service_name=service) > 1
    assert page.sum("numshards_gauge", operation="ShardController", service_name="history") == 1
    assert page.sum("sharditem_created_count") == 1
    assert page.sum("acquire_shards_latency_count") == 1


async def test_every_name_on_the_page_is_in_the_table(server: tuple[Running, int]) -> None:
    page = await scrape(server[1])
    declared = {definition.name: definition for definition in table()}
    assert page.types.keys() <= declared.keys()
    for name, kind in page.types.items():
        assert kind == declared[name].kind
        series = f"{name}_count" if kind == "histogram" else name
        if page.values[series]:
            assert page.labels(series) == set(declared[name].labels), name
    for line in page.text.splitlines():
        assert "_total{" not in line
        assert "_created" not in line.partition("{")[0].replace("sharditem_created_count", "")


async def test_errors_are_told_apart_by_whose_fault_they_are(server: tuple[Running, int]) -> None:
    started, port = server
    client = Client(started.address)
    before = await scrape(port)
    for execution in ("no-such-workflow", ""):
        with pytest.raises(CallFailed):
            await client.call(
                ws.DescribeWorkflowExecutionRequest(
                    namespace="default", execution=common.WorkflowExecution(workflow_id=execution)
                )
            )
    after = await scrape(port)
    await client.close()
    of = {"operation": "DescribeWorkflowExecution", "service_name": "frontend"}
    assert after.sum("service_requests", **of) - before.sum("service_requests", **of) == 2
    assert after.sum("service_error_with_type", error_type="serviceerror_NotFound", **of) == 1
    assert after.sum("service_error_with_type", error_type="serviceerror_InvalidArgument", **of) == 1
    assert after.sum("service_errors", **of) == 0


async def test_callers_can_not_make_the_page_large(server: tuple[Running, int]) -> None:
    """Names of namespaces that don't exist make no series at all; those of queues and types only so many."""
    started, port = server
    client = Client(started.address)

    async def start(number: int) -> None:
        await client.call(
            ws.StartWorkflowExecutionRequest(
                namespace="default",
                workflow_id=f"w{number}",
                workflow_type=common.WorkflowType(name="type" + "x" * 300 + str(number)),
                task_queue=taskqueue.TaskQueue(name="queue" + "x" * 300 + str(number)),
                request_id=str(number),
            )
        )
        await client.call(
            ws.TerminateWorkflowExecutionRequest(
                namespace="default", workflow_execution=common.WorkflowExecution(workflow_id=f"w{number}")
            )
        )

    async def miss(number: int) -> None:
        execution = common.WorkflowExecution(workflow_id="w")
        with pytest.raises(CallFailed):
            await client.call(ws.DescribeWorkflowExecutionRequest(namespace=f"space{number}", execution=execution))

    for first in range(0, 800, 50):
        await asyncio.gather(*map(start, range(first, first + 50)), *map(miss, range(first, first + 50)))
    page = await scrape(port)
    await client.close()
    assert "space1" not in page.text
    assert page.sum("service_requests", namespace="_unknown_", operation="DescribeWorkflowExecution") == 800
    assert page.sum("workflow_terminate") == 800
    assert page.sum("workflow_terminate", taskqueue="_other_", workflowType="_other_") >= 200
    assert len(page.values["workflow_terminate"]) <= 1_001
    assert len(page.text) < 16 << 20
