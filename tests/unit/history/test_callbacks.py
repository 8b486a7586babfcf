"""Completion callbacks: called when the chain of runs ended, again while they should be, and at least once."""

import asyncio
from contextlib import suppress

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Callback, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CallbackState, CommandType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import CallbackInfo
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS
from perdure.base.errors import Unavailable
from perdure.base.limits import Limits
from perdure.base.metrics import Metrics
from perdure.cluster.roles import Call
from perdure.history.callbacks import BLOCKED, CALLS_MAX, DESTINATIONS_MAX, FAILURES_MAX, Callbacks, NotSent
from perdure.history.completions import Answer, Completion
from perdure.history.outcomes import Outcomes
from perdure.server.cluster import Options
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import VirtualClock, run_virtual, running_loop
from perdure.workflow.requests import Describe, StartWorkflow
from tests.unit.history.house import House, finish, key_of

URL = "http://receiver:80/done"
ONE_SHARD = Options(shards=ShardOptions(shards=1))
OK = Answer(200)


class Receiver:
    """A sender that keeps what is sent and gives these answers, then OK. None: it never answers."""

    def __init__(self, *answers: Answer | str | None) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[float, Completion]] = []
        self.at_once = 0
        self.most = 0

    async def post(self, completion: Completion, timeout_ns: int) -> Answer:
        self.calls.append((running_loop().time(), completion))
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        answer = self.answers.pop(0) if self.answers else OK
        try:
            if answer is None:
                await pass_by(timeout_ns / SECOND_NS)
                raise NotSent("context deadline exceeded")
            if isinstance(answer, str):
                raise NotSent(answer)
            return answer
        finally:
            self.at_once -= 1


async def open_house(receiver: Receiver, store: MemoryStore | None = None, metrics: Metrics | None = None) -> House:
    house = House(running_loop(), store or MemoryStore(), ONE_SHARD, metrics)
    house.roles.history.callbacks.sender = receiver
    return await house.open()


async def start(house: House, workflow_id: str = "w", *urls: str) -> None:
    request = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=workflow_id,
        request_id=workflow_id,
        workflow_type=WorkflowType(name="T"),
        task_queue=TaskQueue(name="q"),
        completion_callbacks=[Callback(nexus=Callback.Nexus(url=url)) for url in urls or (URL,)],
    )
    await house.roles.history.transact(key_of(workflow_id), StartWorkflow(request), Call())


async def describe(house: House, workflow_id: str = "w") -> list[CallbackInfo]:
    request = DescribeWorkflowExecutionRequest(execution=WorkflowExecution(workflow_id=workflow_id))
    reply = await house.roles.history.transact(key_of(workflow_id), Describe(request), Call())
    assert isinstance(reply, DescribeWorkflowExecutionResponse)
    return list(reply.callbacks)


async def end(house: House) -> None:
    await house.complete(await house.poll(), finish())


async def pass_by(seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


def continue_as_new() -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
    command.continue_as_new_workflow_execution_command_attributes.workflow_type.name = "T"
    return command


def test_it_is_called_once_when_the_run_ends() -> None:
    async def play() -> None:
        receiver = Receiver()
        house = await open_house(receiver)
        await start(house)
        assert [info.state for info in await describe(house)] == [CallbackState.CALLBACK_STATE_STANDBY]
        await pass_by(60)
        assert not receiver.calls
        await end(house)
        await pass_by(3600)
        ((_, call),) = receiver.calls
        assert call.url == URL
        assert call.headers["Nexus-Operation-State"] == "succeeded"
        (info,) = await describe(house)
        assert info.state == CallbackState.CALLBACK_STATE_SUCCEEDED
        assert info.attempt == 1
        assert not info.HasField("last_attempt_failure")

    run_virtual(play())


def test_it_is_called_again_later_and_later() -> None:
    async def play() -> None:
        receiver = Receiver(Answer(503), "no route", None)
        house = await open_house(receiver)
        await start(house)
        await end(house)
        await pass_by(0.5)
        (info,) = await describe(house)
        assert info.state == CallbackState.CALLBACK_STATE_BACKING_OFF
        assert info.last_attempt_failure.message == "handler error (UNAVAILABLE)"
        assert info.HasField("next_attempt_schedule_time")
        await pass_by(60)
        first, second, third, fourth = (at for at, _ in receiver.calls)
        assert 0.8 <= second - first <= 1.1
        assert 1.6 <= third - second <= 2.1
        assert 10 + 3.2 <= fourth - third <= 10 + 4.1
        (info,) = await describe(house)
        assert info.state == CallbackState.CALLBACK_STATE_SUCCEEDED
        assert info.attempt == 4

    run_virtual(play())


def test_calls_are_counted_by_what_came_of_them() -> None:
    async def play() -> str:
        metrics = Metrics()
        receiver = Receiver(Answer(503), "no route", "context deadline exceeded", Answer(599))
        house = await open_house(receiver, metrics=metrics)
        await start(house)
        await end(house)
        await pass_by(60)
        return b"".join(metrics.page()).decode()

    page = run_virtual(play())
    counted = [line for line in page.splitlines() if line.startswith("callback_outbound_requests{")]
    found = {line[line.index("outcome=") + 9 :].split('"')[0]: line[-3:] for line in counted}
    assert found == {
        "success": "1.0",
        "handler_error_UNAVAILABLE": "1.0",
        "unknown_error": "2.0",
        "request_timeout": "1.0",
    }
    assert all('destination="http___receiver_80"' in line for line in counted)


def test_a_refusal_is_final() -> None:
    async def play() -> None:
        receiver = Receiver(Answer(404))
        house = await open_house(receiver)
        await start(house)
        await end(house)
        await pass_by(3600)
        assert len(receiver.calls) == 1
        (info,) = await describe(house)
        assert info.state == CallbackState.CALLBACK_STATE_FAILED
        assert info.last_attempt_failure.application_failure_info.non_retryable

    run_virtual(play())


def test_an_answer_that_is_no_text_is_an_answer() -> None:
    async def play() -> str:
        house = await open_house(Receiver(Answer(418, b"I\xffm a teapot".decode(errors="surrogateescape"))))
        await start(house)
        await end(house)
        await pass_by(0.5)
        (info,) = await describe(house)
        assert info.attempt == 1
        return info.last_attempt_failure.message

    assert run_virtual(play()) == 'unexpected response status: "418 I?m a teapot"'


def test_the_last_run_of_a_chain_calls() -> None:
    async def play() -> None:
        receiver = Receiver()
        house = await open_house(receiver)
        await start(house)
        await house.complete(await house.poll(), continue_as_new())
        await pass_by(10)
        assert not receiver.calls
        task = await house.poll()
        await house.complete(task, finish())
        await pass_by(1)
        ((_, call),) = receiver.calls
        assert task.workflow_execution.run_id in call.headers["Nexus-Link"]

    run_virtual(play())


def test_it_is_called_by_the_next_owner_of_the_shard() -> None:
    """The first owner is gone while its call is under way, or backs off: the next one calls, and counts on."""

    async def play() -> None:
        store = MemoryStore()
        lost = Receiver(Answer(500), None)
        house = await open_house(lost, store)
        await start(house)
        await end(house)
        await pass_by(3)
        assert len(lost.calls) == 2
        found = Receiver()
        other = await open_house(found, store)
        await pass_by(60)
        assert len(found.calls) == 1
        (info,) = await describe(other)
        assert info.state == CallbackState.CALLBACK_STATE_SUCCEEDED
        assert info.attempt == 2

    run_virtual(play())


def test_it_is_called_after_a_checkpoint_and_a_restart() -> None:
    async def play() -> None:
        store = MemoryStore()
        house = await open_house(Receiver(*[Answer(500)] * 4), store)
        await start(house)
        await end(house)
        await pass_by(10)
        await house.roles.stop()
        found = Receiver()
        await open_house(found, store)
        await pass_by(60)
        assert len(found.calls) == 1

    run_virtual(play())


def test_a_destination_gets_a_rest_and_the_others_none() -> None:
    async def play() -> None:
        receiver = Receiver(*[Answer(500)] * (FAILURES_MAX + 1))
        house = await open_house(receiver)
        for number in range(FAILURES_MAX + 2):
            await start(house, f"w{number}")
        for _ in range(FAILURES_MAX + 1):
            await end(house)
        await pass_by(0.1)
        await end(house)
        await pass_by(5)
        assert len(receiver.calls) == FAILURES_MAX + 1
        infos = [info for number in range(FAILURES_MAX + 2) for info in await describe(house, f"w{number}")]
        blocked = [info for info in infos if info.state == CallbackState.CALLBACK_STATE_BLOCKED]
        assert blocked
        assert {info.blocked_reason for info in blocked} == {BLOCKED}
        await start(house, "elsewhere", "https://other/")
        await end(house)
        await pass_by(1)
        assert receiver.calls[-1][1].url == "https://other/"
        await pass_by(300)
        assert len(receiver.calls) == 2 * (FAILURES_MAX + 1) + 2

    run_virtual(play())


def test_one_receiver_that_hangs_has_few_calls_at_once() -> None:
    async def play() -> None:
        count = 3 * CALLS_MAX
        receiver = Receiver(*[None] * count)
        house = await open_house(receiver)
        await start(house, "w", *[URL] * count)
        await end(house)
        await pass_by(300)
        assert receiver.most == CALLS_MAX

    run_virtual(play())


def test_only_destinations_with_something_to_tell_are_remembered() -> None:
    async def play() -> None:
        calls = Callbacks(VirtualClock(running_loop(), 0), Limits(), Outcomes(Metrics(), str))
        down = calls.destination("ns", "http://down/")
        for _ in range(FAILURES_MAX + 1):
            down.begin()
            down.ended(is_down=True)
        up = calls.destination("ns", "http://up/")
        for number in range(DESTINATIONS_MAX):
            calls.destination("ns", f"http://h{number}/")
        assert calls.destination("ns", "http://down/x") is down
        assert calls.destination("ns", "http://up/x") is not up
        assert calls.destination("other", "http://down/") is not down
        with pytest.raises(Unavailable):
            down.begin()
        await pass_by(61)
        down.begin()
        with pytest.raises(Unavailable):
            down.begin()
        down.ended(is_down=False)
        down.begin()

    run_virtual(play())


def test_destinations_that_all_fail_fill_no_memory() -> None:
    async def play() -> None:
        calls = Callbacks(VirtualClock(running_loop(), 0), Limits(), Outcomes(Metrics(), str))
        found = []
        for number in range(2 * DESTINATIONS_MAX):
            found.append(calls.destination("ns", f"http://h{number}/"))
            found[-1].ended(is_down=True)
        known = [one for number, one in enumerate(found) if calls.destination("ns", f"http://h{number}/") is one]
        assert found[-1] in known
        assert len(known) <= DESTINATIONS_MAX

    run_virtual(play())
