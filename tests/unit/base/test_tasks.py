"""Background work can't vanish: its error is handed on, and closing waits for it."""

import asyncio

from perdure.base.tasks import Background


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
