"""Small workflows and activities for the official Python SDK, plain enough that their histories come out the same."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
    is_cancelled_exception,
)

KEYWORD = SearchAttributeKey.for_keyword("CustomKeywordField")
SHORT = timedelta(seconds=10)
# Set by the activity that heartbeats, for the client in the same process.
BEATING = asyncio.Event()


@activity.defn
async def fails_twice(name: str) -> str:
    """Succeed in the third attempt."""
    if activity.info().attempt < 3:
        raise ApplicationError(f"not yet, {name}", "again", type="NotYet")
    return f"hello {name}"


@activity.defn
async def fails_for_good() -> None:
    """Fail so that nobody tries again."""
    raise ApplicationError("never", type="Never", non_retryable=True)


@activity.defn
async def beats_until_cancelled() -> None:
    """Heartbeat until the cancellation comes."""
    never = asyncio.Event()
    BEATING.set()
    while True:
        activity.heartbeat("alive")
        try:
            await asyncio.wait_for(never.wait(), 0.1)
        except TimeoutError:
            continue


@workflow.defn
class TimerAndActivity:
    """A timer, then an activity that is tried three times."""

    @workflow.run
    async def run(self, name: str) -> str:
        await workflow.sleep(1)
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=200), backoff_coefficient=1.0)
        return await workflow.execute_activity(fails_twice, name, start_to_close_timeout=SHORT, retry_policy=policy)


@workflow.defn
class SignalAndQuery:
    """Collects what it is sent until it has two."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: len(self.seen) >= 2)
        return self.seen

    @workflow.signal
    def add(self, item: str) -> None:
        self.seen.append(item)

    @workflow.query
    def items(self) -> list[str]:
        return self.seen


@workflow.defn
class CancelledTimer:
    """Waits on a long timer; a cancellation ends it after one more activity."""

    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.sleep(1000)
        except asyncio.CancelledError:
            policy = RetryPolicy(initial_interval=timedelta(milliseconds=200), backoff_coefficient=1.0)
            await workflow.execute_activity(fails_twice, "bye", start_to_close_timeout=SHORT, retry_policy=policy)
            raise


@workflow.defn
class CancelledActivity:
    """Cancels its activity on a signal, and waits for what it says."""

    def __init__(self) -> None:
        self.stop = False

    @workflow.run
    async def run(self) -> str:
        beating = workflow.start_activity(
            beats_until_cancelled,
            start_to_close_timeout=SHORT,
            heartbeat_timeout=timedelta(seconds=5),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        await workflow.wait_condition(lambda: self.stop)
        beating.cancel()
        try:
            await beating
        except ActivityError as error:
            return f"cancelled: {is_cancelled_exception(error)}"
        return "not cancelled"

    @workflow.signal
    def end(self) -> None:
        self.stop = True


@workflow.defn
class FailingActivity:
    """Fails with what its activity failed with."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(fails_for_good, start_to_close_timeout=SHORT)


@workflow.defn
class Attributes:
    """Upserts a search attribute and a memo, and takes a branch of a patch."""

    @workflow.run
    async def run(self) -> bool:
        workflow.upsert_search_attributes([KEYWORD.value_set("new")])
        workflow.upsert_memo({"note": "changed"})
        return workflow.patched("a-patch")


@workflow.defn
class Child:
    """Ends as it is told, after its parent had time to see that it began."""

    def __init__(self) -> None:
        self.heard = ""

    @workflow.run
    async def run(self, how: str) -> str:
        if how == "hear":
            await workflow.wait_condition(lambda: bool(self.heard))
        try:
            await workflow.sleep(1000 if how == "stay" else 0.5)
        except asyncio.CancelledError:
            await workflow.sleep(0.5)
            raise
        if how == "fail":
            raise ApplicationError("child", type="Child", non_retryable=True)
        return self.heard or how

    @workflow.signal
    def hear(self, word: str) -> None:
        self.heard = word


@workflow.defn
class Parent:
    """One child after the other: one that returns, one that hears from it, one that fails, one that it cancels, one
    whose id is taken; and one that it leaves behind, to be ended with it.
    """

    @workflow.run
    async def run(self) -> list[str]:
        mine = workflow.info().workflow_id
        told = [await workflow.execute_child_workflow(Child.run, "return", id=f"{mine}-return")]
        hearing = await workflow.start_child_workflow(Child.run, "hear", id=f"{mine}-hear")
        await hearing.signal(Child.hear, "word")
        told.append(await hearing)
        try:
            await workflow.execute_child_workflow(Child.run, "fail", id=f"{mine}-fail")
        except ChildWorkflowError as error:
            told.append(f"{type(error.cause).__name__}: {error.cause}")
        staying = await workflow.start_child_workflow(Child.run, "stay", id=f"{mine}-stay")
        staying.cancel()
        try:
            await staying
        except ChildWorkflowError as error:
            told.append(f"cancelled: {is_cancelled_exception(error)}")
        try:
            await workflow.execute_child_workflow(Child.run, "again", id=mine)
        except WorkflowAlreadyStartedError as error:
            told.append(f"taken: {error.workflow_id == mine}")
        await workflow.start_child_workflow(Child.run, "stay", id=f"{mine}-left")
        return told


WORKFLOWS = [
    TimerAndActivity,
    SignalAndQuery,
    CancelledTimer,
    CancelledActivity,
    FailingActivity,
    Attributes,
    Child,
    Parent,
]
ACTIVITIES: list[Callable[..., Any]] = [fails_twice, fails_for_good, beats_until_cancelled]
