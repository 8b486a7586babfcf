"""Whether this process may answer from what it remembers of its shards (rule L11): the seam, and the case of a store
that belongs to one process.
"""

import asyncio
from typing import Protocol


class Tenure(Protocol):
    """What a process knows of its right to own shards."""

    @property
    def host(self) -> str:
        """The id under which it owns shards now; "" while it may own none, and where no id is needed."""
        ...

    def is_valid(self) -> bool:
        """Whether nobody else can have answered for a shard that is still here, up to this moment. Asked after the
        state was read, once an answer: it must be cheap.
        """
        ...

    def is_revoked(self, shard: str, epoch: int) -> bool:
        """Whether an owner of a higher epoch has announced that it takes the shard."""
        ...

    def outlive(self, host: str, shard: str, epoch: int) -> "asyncio.Future[None]":
        """Take the shard from `host`: done when it answers nothing more from what it knew of it before `epoch`."""
        ...

    def hurry(self) -> None:
        """A shard was lost: confirm it soon, whoever has taken it waits."""
        ...

    async def begin(self) -> None:
        """Before the first shard is taken. Raises StoreUnavailable."""
        ...

    async def end(self) -> None:
        """After the last shard was given up, in bounded time: the next owner need not wait."""
        ...


class Sole:
    """The store has one process by construction."""

    host = ""

    def is_valid(self) -> bool:
        return True

    def is_revoked(self, shard: str, epoch: int) -> bool:
        return False

    def outlive(self, host: str, shard: str, epoch: int) -> "asyncio.Future[None]":
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        over.set_result(None)
        return over

    def hurry(self) -> None:
        """Nobody waits."""

    async def begin(self) -> None:
        """Nothing to begin."""

    async def end(self) -> None:
        """Nothing to end."""


SOLE = Sole()
