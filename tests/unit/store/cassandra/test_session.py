"""A session: answers from the driver's threads reach the loop together; what is in flight is bounded; every request
ends.
"""

import asyncio
import threading
from collections.abc import Callable

import pytest

from perdure.base.errors import Bug, StoreUnavailable
from perdure.store.cassandra.errors import Failure, Refusal
from perdure.store.cassandra.session import IN_FLIGHT_MAX, TOGETHER_MAX, Session
from perdure.store.cassandra.statements import REGISTRY, Statement, conditional, read, stamped
from perdure.store.contract import OutcomeUnknown
from tests.unit.store.cassandra.links import HandLink, Request, turn


def _unregistered(statement: Statement) -> Statement:
    REGISTRY.remove(statement)
    return statement


READ = _unregistered(read("SELECT b FROM one WHERE a = ?"))
WRITE = _unregistered(stamped("UPDATE one USING TIMESTAMP ? SET b = ? WHERE a = ?"))
COMPARE = _unregistered(conditional("UPDATE two SET b = ? WHERE a = ? IF b = ?"))


async def _turns(is_so: Callable[[], bool]) -> None:
    """Let the loop go on until it is so."""
    async with asyncio.timeout(10):
        while not is_so():
            await turn()


async def _sent(link: HandLink, count: int) -> None:
    await _turns(lambda: len(link.requests) >= count)


@pytest.fixture
def link() -> HandLink:
    return HandLink()


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that a thread woke the loop for a session."""
    wakings: list[None] = []
    wake = Session._wake

    def counting(session: Session) -> None:
        wakings.append(None)
        wake(session)

    monkeypatch.setattr(Session, "_wake", counting)
    return wakings


async def test_an_answer_comes_with_its_rows_its_names_and_its_page(link: HandLink) -> None:
    session = Session(link)
    link.answering = lambda request: request.answer(("x",), names=("b",), next_page=b"more")
    rows = await session.run(READ, ("k",), page=b"from", fetch=7)
    assert (list(rows), list(rows.names), rows.next_page) == ([("x",)], ["b"], b"more")
    (request,) = link.requests
    assert (request.values, request.page, request.fetch) == (("k",), b"from", 7)


async def test_a_statement_is_prepared_once(link: HandLink) -> None:
    session = Session(link)
    link.answering = Request.answer
    for _ in range(3):
        await session.run(READ, ("k",))
    assert link.prepared == [READ]


async def test_many_answers_of_a_thread_wake_the_loop_once(link: HandLink, woken: list[None]) -> None:
    session = Session(link)
    await session.prepare([READ])
    asked = asyncio.gather(*(session.run(READ, (n,)) for n in range(50)))
    await _sent(link, 50)

    def answer_all() -> None:
        for request in link.requests:
            request.answer((request.values[0],))

    thread = threading.Thread(target=answer_all)
    thread.start()
    thread.join()  # the loop is busy meanwhile
    assert [rows[0][0] for rows in await asked] == list(range(50))
    assert len(woken) == 1


async def test_answers_that_come_one_by_one_are_all_handed_over(link: HandLink) -> None:
    session = Session(link)
    link.answering = lambda request: threading.Thread(target=request.answer, args=((request.values[0],),)).start()
    results = await asyncio.gather(*(session.run(READ, (n,)) for n in range(200)))
    assert [rows[0][0] for rows in results] == list(range(200))


async def test_many_at_once_are_bounded_and_answered_in_order(link: HandLink) -> None:
    session = Session(link)
    await session.prepare([READ])
    count = TOGETHER_MAX * 2 + 5
    asked = asyncio.ensure_future(session.all((READ, (n,)) for n in range(count)))  # noqa: TID251 - awaited below
    for number in range(count):
        await _sent(link, number + 1)
        assert len(link.requests) - number <= TOGETHER_MAX
        link.requests[number].answer((number,))
    assert [rows[0][0] for rows in await asked] == list(range(count))


async def test_the_first_error_of_many_comes_when_all_have_ended(link: HandLink) -> None:
    session = Session(link)
    await session.prepare([WRITE])
    asked = asyncio.ensure_future(session.all((WRITE, (1, n, n)) for n in range(3)))  # noqa: TID251 - awaited below
    await _sent(link, 3)
    link.requests[2].done(None, None, Refusal("too large"))
    link.requests[1].done(None, None, Failure("late"))
    await turn()
    await turn()
    assert not asked.done()
    link.requests[0].answer()
    with pytest.raises(OutcomeUnknown, match="late"):
        await asked


async def test_a_conditional_write_does_not_wait_behind_reads_that_nobody_answers(link: HandLink) -> None:
    session = Session(link)
    await session.prepare([READ, COMPARE])
    asked = asyncio.gather(*(session.run(READ, (n,)) for n in range(IN_FLIGHT_MAX + 10)))
    await _sent(link, IN_FLIGHT_MAX)
    link.answering = lambda request: request.answer((True,), names=("[applied]",))
    async with asyncio.timeout(10):
        assert await session.compare(COMPARE, ("b", "a", "c")) == (True, None)
    assert not asked.done()
    for request in link.requests[:IN_FLIGHT_MAX]:
        request.answer()
    assert len(await asked) == IN_FLIGHT_MAX + 10


async def test_everybody_together_is_bounded(link: HandLink) -> None:
    session = Session(link)
    await session.prepare([READ])
    asked = asyncio.gather(*(session.run(READ, (n,)) for n in range(IN_FLIGHT_MAX + 10)))
    await _sent(link, IN_FLIGHT_MAX)
    for _ in range(20):
        await turn()
    assert len(link.requests) == IN_FLIGHT_MAX
    link.answering = Request.answer
    for request in list(link.requests):
        request.answer()
    assert len(await asked) == IN_FLIGHT_MAX + 10


async def test_who_is_cancelled_gives_the_room_back_with_the_answer(link: HandLink) -> None:
    session = Session(link)
    await session.prepare([READ])
    for _ in range(2):
        asked = asyncio.gather(*(session.run(READ, (n,)) for n in range(IN_FLIGHT_MAX)))
        await _sent(link, IN_FLIGHT_MAX)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        for request in link.requests:
            request.answer()
        link.requests.clear()
        await turn()
    link.answering = Request.answer
    assert list(await session.run(READ, (1,))) == []


@pytest.mark.parametrize(
    ("rows", "names", "verdict"),
    [
        ([(True,)], ["[applied]"], (True, None)),
        ([(False,)], ["[applied]"], (False, None)),
        ([(False, 3, "x")], ["[applied]", "b", "c"], (False, {"b": 3, "c": "x"})),
    ],
)
async def test_the_verdict_of_a_conditional_write(
    link: HandLink, rows: list[tuple[object, ...]], names: list[str], verdict: object
) -> None:
    session = Session(link)
    link.answering = lambda request: request.answer(*rows, names=names)
    assert await session.compare(COMPARE, (1, 2, 3)) == verdict


async def test_a_conditional_write_without_a_verdict_is_in_doubt(link: HandLink) -> None:
    session = Session(link)
    link.answering = Request.answer
    with pytest.raises(OutcomeUnknown):
        await session.compare(COMPARE, (1, 2, 3))


async def test_only_conditional_writes_have_a_verdict(link: HandLink) -> None:
    with pytest.raises(Bug):
        await Session(link).compare(WRITE, (1, 2, 3))


@pytest.mark.parametrize(
    ("statement", "error", "expected"),
    [
        (READ, Failure("late"), StoreUnavailable),
        (WRITE, Failure("late"), OutcomeUnknown),
        (COMPARE, Failure("late"), OutcomeUnknown),
        (WRITE, Refusal("no"), StoreUnavailable),
        (COMPARE, Refusal("no"), StoreUnavailable),
        (COMPARE, RuntimeError("no thread"), OutcomeUnknown),
        (WRITE, TypeError("an int for a text"), Bug),
    ],
)
async def test_what_was_not_sent_ends_as_what_failed(
    link: HandLink, statement: Statement, error: Exception, expected: type[Exception]
) -> None:
    session = Session(link)
    link.not_sent = error
    with pytest.raises(expected):
        await session.run(statement, (1, 2, 3))
    link.not_sent = None
    link.answering = lambda request: request.done(None, None, error)
    if isinstance(error, Failure | Refusal):
        with pytest.raises(expected):
            await session.run(statement, (1, 2, 3))


@pytest.mark.parametrize("error", [Refusal("no such table"), Failure("late")])
async def test_what_can_not_be_prepared_was_not_done(link: HandLink, error: Exception) -> None:
    link.not_prepared = error
    with pytest.raises(StoreUnavailable, match=str(error)):
        await Session(link).run(WRITE, (1, 2, 3))


@pytest.mark.parametrize("forgets", [False, True])
async def test_closing_ends_what_is_in_flight(link: HandLink, forgets: bool) -> None:
    link.forgets = forgets
    session = Session(link)
    await session.prepare([READ, COMPARE])
    asked = asyncio.gather(session.run(READ, (1,)), session.compare(COMPARE, (1, 2, 3)), return_exceptions=True)
    await _sent(link, 2)
    await session.close()
    read_error, write_error = await asked
    assert isinstance(read_error, StoreUnavailable)
    assert isinstance(write_error, OutcomeUnknown)
    with pytest.raises(StoreUnavailable, match="closed"):
        await session.run(READ, (1,))
    await session.close()


async def test_an_answer_that_comes_twice_counts_once(link: HandLink) -> None:
    session = Session(link)

    def twice(request: Request) -> None:
        request.answer((1,))
        request.answer((2,))

    link.answering = twice
    assert list(await session.run(READ, (1,))) == [(1,)]
