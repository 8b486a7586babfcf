"""Background work can't vanish: its error is handed on, and closing waits for it."""

import asyncio

import pytest

from perdure.base.tasks import Background, Endings


async def _fails() -> None:
    raise ValueError("lost")


async def test_an_error_reaches_the_handler() -> None:
    errors: list[BaseException] = []
    background = Background(errors.append)
    task = background.spawn(_fails())
    await asyncio.wait([task])
    assert [str(error) for error in errors] == ["lost"]
    assert len(background) == 0


async def test_close_cancels_and_waits() -> None:
    ended: list[str] = []
    begun = asyncio.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    background = Background(lambda error: ended.append(repr(error)))
    background.spawn(forever())
    await begun.wait()
    await background.close()
    assert ended == ["cleaned up"]
    assert len(background) == 0


@pytest.mark.parametrize("others", [0, 1])
async def test_a_task_knows_whether_it_was_ended_and_not_cancelled_too(others: int) -> None:
    endings = Endings()
    begun = asyncio.Event()

    async def work() -> bool:
        task = asyncio.current_task()
        assert task is not None
        try:
            begun.set()
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return endings.is_alone(task)
        return False

    task = asyncio.get_running_loop().create_task(work())
    await begun.wait()
    endings.end(task)
    for _ in range(others):
        task.cancel()
    assert await task is not bool(others)
    endings.forget(task)
    assert not endings.is_alone(task)
