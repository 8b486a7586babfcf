"""What a role promises, whether it is called in one process or over a connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.base.clock import SECOND_NS
from perdure.base.errors import NotFound, ShardElsewhere, WorkflowAlreadyStarted
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, HistoryRole, MatchingRole, Poll
from perdure.cluster.shard_host import ShardHost
from perdure.rpc.peers import Peers
from perdure.rpc.role_handlers import history_methods, matching_methods
from perdure.workflow.requests import Look, Seen
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.property.wire_values import values
from tests.unit.rpc.relay import FakeRole, hosting

KEY = ChainKey("namespace", "workflow")
QUEUE = QueueKey("namespace", "queue", QueueKind.WORKFLOW)
Roles = tuple[HistoryRole, MatchingRole, ShardHost]
Way = Callable[[Any], contextlib.AbstractAsyncContextManager[Roles]]


@contextlib.asynccontextmanager
async def direct(role: Any) -> AsyncIterator[Roles]:
    yield role, role, role


@contextlib.asynccontextmanager
async def over_a_connection(role: Any) -> AsyncIterator[Roles]:
    suspected: list[str] = []
    async with hosting({**history_methods(role, role), **matching_methods(role)}) as (_, port):
        peers = Peers(suspected.append)
        try:
            address = f"127.0.0.1:{port}"
            yield peers.history(address), peers.matching(address), peers.shard_host(address)
        finally:
            await peers.close()
    assert suspected == []


@pytest.fixture(params=[direct, over_a_connection], ids=["direct", "over-a-connection"])
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


def public(role: type) -> list[str]:
    return [name for name in vars(role) if not name.startswith("_") and callable(getattr(role, name))]


METHODS = [
    pytest.param(at, role, name, id=f"{role.__name__}.{name}")
    for at, role in enumerate((HistoryRole, MatchingRole, ShardHost))
    for name in public(role)
]


@pytest.mark.parametrize(("at", "role", "name"), METHODS)
def test_a_method_gets_what_it_was_called_with_and_its_reply_comes_back(
    way: Way, at: int, role: type, name: str
) -> None:
    hints = get_type_hints(getattr(role, name))
    returned = hints.pop("return")

    @settings(max_examples=3, deadline=None, database=None)
    @given(arguments=st.tuples(*map(values, hints.values())), reply=values(returned))
    def check(arguments: tuple[Any, ...], reply: Any) -> None:
        # A deadline that is over when the call is made is another matter.
        sent = tuple(Call(each.caller, 0, each.request_id) if isinstance(each, Call) else each for each in arguments)
        asyncio.run(scenario(sent, reply))

    async def scenario(arguments: tuple[Any, ...], reply: Any) -> None:
        fake = FakeRole(**{name: reply})
        async with way(fake) as roles:
            assert await getattr(roles[at], name)(*arguments) == reply
        assert fake.calls == [(name, arguments)]

    check()


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no such run"),
        ShardElsewhere("it moved", "host-7", 12),
        WorkflowAlreadyStarted("there", start_request_id="request", run_id="run", first_execution_run_id="first"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_is_the_same_one(way: Way, error: Any) -> None:
    async with way(FakeRole(transact=error, poll=error, let_go=error)) as (history, matching, host):
        for call in (
            history.transact(KEY, Look(), Call()),
            matching.poll(Poll(QUEUE, "worker", 0), Call()),
            host.let_go("host", "shard", 1, 1),
        ):
            with pytest.raises(type(error)) as raised:
                await call
            assert vars(raised.value) == vars(error)


async def test_cancelling_a_call_cancels_its_method_and_not_what_that_has_begun(way: Way) -> None:
    begun, cancelled, committed = asyncio.Event(), asyncio.Event(), asyncio.Event()
    go_on = asyncio.Event()

    async def commit() -> None:
        await go_on.wait()
        committed.set()

    async def transact(*_arguments: Any) -> None:
        begun.set()
        try:
            await asyncio.shield(commits.create_task(commit()))
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with asyncio.TaskGroup() as commits, way(FakeRole(transact=transact)) as (history, _, _):
        call = commits.create_task(history.transact(KEY, Look(), Call()))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await cancelled.wait()
        assert not committed.is_set()
        go_on.set()
        await committed.wait()


async def test_long_polls_hold_nothing_up(way: Way) -> None:
    news, all_wait = asyncio.Event(), asyncio.Event()
    waiting = 0

    async def poll(*_arguments: Any) -> bytes:
        nonlocal waiting
        waiting += 1
        if waiting == len(found):
            all_wait.set()
        await news.wait()
        return b"task"

    async with way(FakeRole(poll=poll, describe=NotFound("none"))) as (_, matching, _), asyncio.TaskGroup() as polls:
        found = [polls.create_task(matching.poll(Poll(QUEUE, "worker", 0), Call())) for _ in range(200)]
        await all_wait.wait()
        with pytest.raises(NotFound):
            await matching.describe(QUEUE)
        news.set()
    assert {each.result() for each in found} == {b"task"}


@pytest.mark.parametrize("timeout_ns", [0, 60 * SECOND_NS])
async def test_a_call_says_how_long_there_is_left(way: Way, timeout_ns: int) -> None:
    fake = FakeRole(transact=Seen("run", "first", 1, 1, True, 1, 0, (), 0, "Type", "queue", "", 0))
    async with way(fake) as (history, _, _):
        await history.transact(KEY, Look(), Call(timeout_ns=timeout_ns))
    left_ns = fake.calls[0][1][2].timeout_ns
    assert left_ns <= timeout_ns
    assert bool(left_ns) == bool(timeout_ns)
