"""What is counted while workflows run: by the role, its shards, its queues and its store; on virtual time."""

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CommandType
from temporalio.api.workflowservice.v1 import TerminateWorkflowExecutionRequest

from perdure.base import series
from perdure.base.errors import InvalidArgument
from perdure.base.metrics import Cell, Definition, Histogram, Metrics
from perdure.cluster.roles import Call
from perdure.shards.measured import operation_of
from perdure.store.memory import MemoryStore
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.requests import Terminate
from perdure.workflow.tasks import EffectKind, QueueKind, TimerKind
from tests.unit.history.house import House, finish, key_of, schedule_activity, start_timer


def _sum(metrics: Metrics, name: str, labels: dict[str, str]) -> float:
    """Of a metric's samples with these labels."""
    return sum(
        sample.value
        for metric in metrics.registry.collect()
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def _total(metrics: Metrics, definition: Definition[Cell], **labels: str) -> float:
    """The sum of a metric's series with these labels."""
    return _sum(metrics, definition.name, labels)


def _observed(metrics: Metrics, definition: Definition[Histogram], **labels: str) -> tuple[float, float]:
    """How many values, and their sum."""
    return _sum(metrics, f"{definition.name}_count", labels), _sum(metrics, f"{definition.name}_sum", labels)


def test_a_run_that_completes_is_counted_once_with_what_it_took() -> None:
    async def play() -> Metrics:
        metrics, store = Metrics(), MemoryStore()
        house = await House(running_loop(), store, metrics=metrics).open()
        await house.start("w")
        await house.complete(await house.poll(), start_timer(30))
        await house.complete(await house.poll(seconds=50), finish())
        # Another owner replays what the first one has committed; nothing of it happens again.
        again = await House(running_loop(), store, metrics=metrics).open()
        assert (await again.events("w"))[-1].endswith("completed")
        return metrics

    metrics = run_virtual(play())
    labels = {"namespace": "default", "taskqueue": "q", "workflowType": "T", "operation": "CompletionStats"}
    assert _total(metrics, series.WORKFLOW_SUCCESS, **labels) == _total(metrics, series.WORKFLOW_SUCCESS) == 1
    count, seconds = _observed(metrics, series.WORKFLOW_LATENCY, **labels)
    assert count == 1
    assert 30 <= seconds < 32
    assert _total(metrics, series.WORKFLOW_FAILED) == 0
    transitions, _ = _observed(metrics, series.STATE_TRANSITION_COUNT, namespace="default")
    assert transitions == _observed(metrics, series.HISTORY_COUNT)[0] == 6
    started = {"operation": "RecordWorkflowTaskStarted", "partition": "__normal__", "task_type": "Workflow"}
    assert _observed(metrics, series.TASK_SCHEDULE_TO_START, **started)[0] == 2
    fired = {"operation": "TimerActiveTaskUserTimer", "namespace": "default"}
    assert _total(metrics, series.TASK_REQUESTS, **fired) == 1
    assert _observed(metrics, series.TASK_ATTEMPT, **fired) == (1, 1)
    assert _total(metrics, series.TASK_ERRORS) == 0


def test_runs_are_told_apart_by_how_they_end() -> None:
    async def play() -> Metrics:
        metrics = Metrics()
        house = await House(running_loop(), MemoryStore(), metrics=metrics).open()
        for workflow_id in ("failed", "terminated", "open"):
            await house.start(workflow_id, queue=workflow_id)
        fail = Command(command_type=CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION)
        fail.fail_workflow_execution_command_attributes.failure.message = "no"
        await house.complete(await house.poll("failed"), fail)
        request = TerminateWorkflowExecutionRequest(workflow_execution=WorkflowExecution(workflow_id="terminated"))
        await house.roles.history.transact(key_of("terminated"), Terminate(request), Call())
        return metrics

    metrics = run_virtual(play())
    assert _total(metrics, series.WORKFLOW_FAILED, taskqueue="failed") == 1
    assert _total(metrics, series.WORKFLOW_TERMINATE, taskqueue="terminated") == 1
    assert _total(metrics, series.WORKFLOW_SUCCESS) == _total(metrics, series.WORKFLOW_TIMEOUT) == 0
    assert _observed(metrics, series.WORKFLOW_LATENCY)[0] == 2


def test_an_activity_that_times_out_is_counted_as_that() -> None:
    async def play() -> Metrics:
        metrics = Metrics()
        house = await House(running_loop(), MemoryStore(), metrics=metrics).open()
        await house.start("w")
        command = schedule_activity()
        command.schedule_activity_task_command_attributes.retry_policy.maximum_attempts = 1
        await house.complete(await house.poll(), command)
        assert (await house.poll_activity()).activity_id == "a"
        assert (await house.poll(seconds=50)).task_token
        return metrics

    metrics = run_virtual(play())
    timeout = {"operation": "TimerActiveTaskActivityTimeout", "first_attempt": "true", "namespace": "default"}
    assert _total(metrics, series.START_TO_CLOSE_TIMEOUT, **timeout) == 1
    assert _total(metrics, series.SCHEDULE_TO_START_TIMEOUT) == _total(metrics, series.HEARTBEAT_TIMEOUT) == 0
    assert _total(metrics, series.TASK_REQUESTS, operation="TimerActiveTaskActivityTimeout") == 1
    # 30 s of the first activity: what the timer was late by, and not what it waited for.
    assert _observed(metrics, series.TASK_LATENCY_QUEUE, operation="TimerActiveTaskActivityTimeout")[1] < 1


def test_queues_count_who_waited_for_whom() -> None:
    async def play() -> Metrics:
        metrics = Metrics()
        house = await House(running_loop(), MemoryStore(), metrics=metrics).open()
        assert not (await house.poll(seconds=3)).task_token
        await house.start("w")
        await house.complete(await house.poll(), schedule_activity())
        assert (await house.poll_activity()).task_token
        await house.start("waits")
        return metrics

    metrics = run_virtual(play())
    workflow = {"taskqueue": "q", "task_type": "Workflow", "partition": "0", "namespace": "default"}
    assert _total(metrics, series.POLL_TIMEOUTS, **workflow) == 1
    assert _total(metrics, series.POLL_SUCCESS, **workflow) == 1
    assert _total(metrics, series.POLL_SUCCESS, taskqueue="q", task_type="Activity") == 1
    assert _total(metrics, series.POLL_SUCCESS_SYNC, **workflow) <= 1
    assert _total(metrics, series.LOADED_PARTITIONS) == 2
    assert _total(metrics, series.PENDING_POLLS) == 0


def test_sticky_queues_count_as_the_queue_they_belong_to() -> None:
    async def play() -> Metrics:
        metrics = Metrics()
        house = await House(running_loop(), MemoryStore(), metrics=metrics).open()
        await house.start("w")
        await house.complete(await house.poll(), start_timer(1), sticky="worker-1-own-queue")
        assert (await house.poll("worker-1-own-queue", normal="q", seconds=30)).task_token
        return metrics

    metrics = run_virtual(play())
    assert _total(metrics, series.POLL_SUCCESS, taskqueue="q", partition="__sticky__") == 1
    assert "worker_1" not in b"".join(metrics.page()).decode()


def test_calls_between_roles_and_of_the_store_are_followed() -> None:
    async def play() -> Metrics:
        metrics = Metrics()
        house = await House(running_loop(), MemoryStore(), metrics=metrics).open()
        await house.start("w")
        assert (await house.poll()).task_token
        return metrics

    metrics = run_virtual(play())
    call = {"operation": "HistoryClientRecordWorkflowTaskStarted", "service_name": "matching", "namespace": "default"}
    assert _total(metrics, series.CLIENT_REQUESTS, **call) == 1
    assert _total(metrics, series.SERVICE_REQUESTS, operation="AddWorkflowTask", service_name="matching") == 1
    assert _total(metrics, series.SERVICE_ERRORS) == 0
    assert _total(metrics, series.PERSISTENCE_REQUESTS, operation="GetCurrentExecution", namespace="default") == 1
    assert _total(metrics, series.PERSISTENCE_REQUESTS, operation="AppendGroup", service_name="history") >= 2
    assert _total(metrics, series.CACHE_REQUESTS) >= 2
    assert _total(metrics, series.CACHE_MISS) == _observed(metrics, series.CACHE_LATENCY)[0] == 1
    assert _total(metrics, series.SHARD_CREATED) == _observed(metrics, series.SHARD_ACQUISITION)[0] > 0


def test_every_task_has_a_name_of_a_known_family() -> None:
    """Kinds of different types are equal numbers, and must not be taken for one another."""
    names = {operation_of(kind) for kind in (*QueueKind, *EffectKind, *TimerKind)}
    assert all(name.startswith(("TransferActiveTask", "TimerActiveTask", "VisibilityTask")) for name in names)
    assert operation_of(QueueKind.WORKFLOW) == "TransferActiveTaskWorkflowTask"
    assert operation_of(TimerKind.USER) == "TimerActiveTaskUserTimer"
    assert operation_of(EffectKind.VISIBILITY) == "VisibilityTaskUpsertExecution"
    assert operation_of(TimerKind.RETENTION) == "TimerActiveTaskDeleteHistoryEvent"


def test_workers_answers_are_counted_by_what_they_are() -> None:
    async def play() -> Metrics:
        metrics = Metrics()
        house = await House(running_loop(), MemoryStore(), metrics=metrics).open()
        await house.start("w")
        await house.complete(await house.poll(), start_timer(1), schedule_activity())
        assert (await house.poll_activity()).task_token
        await house.complete(await house.poll(seconds=50))
        await house.start("bad")
        with pytest.raises(InvalidArgument):
            await house.complete(await house.poll(), Command(command_type=CommandType.COMMAND_TYPE_START_TIMER))
        return metrics

    metrics = run_virtual(play())
    of = {"namespace": "default", "operation": "RespondWorkflowTaskCompleted", "service_name": "history"}
    assert _total(metrics, series.COMMAND, commandType="StartTimer", **of) == 1
    assert _total(metrics, series.COMMAND, commandType="ScheduleActivityTask", **of) == 1
    assert _total(metrics, series.MULTIPLE_COMPLETIONS, **of) == _total(metrics, series.EMPTY_COMPLETIONS, **of) == 1
    assert _total(metrics, series.UNSTICKY_COMPLETIONS, **of) == 2
    assert _total(metrics, series.STICKY_COMPLETIONS) == 0
    failure = {"failure": "BadStartTimerAttributes", "first_attempt": "true"}
    assert _total(metrics, series.FAILED_WORKFLOW_TASKS, **failure, **of) == 1
