"""The other hosts, as far as shards have to do with them: the seam, and the case that there are none.

Refuses to know how hosts reach one another, and who decides which shard is whose.
"""

from collections.abc import Callable
from typing import Protocol

from perdure.base.errors import Unavailable

# Which host should have a shard, by its id; "" = nobody, or unknown.
OwnerOf = Callable[[str], str]


class Neighbours(Protocol):
    """Who else may have shards."""

    def is_member(self, host: str) -> bool:
        """Whether a living host of this id can be asked, as far as is known."""
        ...

    async def ask(self, host: str, shard: str, epoch: int, view: int) -> None:
        """`ShardHost.let_go` of that host. Raises as that; Unavailable if it can't be reached."""
        ...

    async def refresh(self, view: int) -> None:
        """Read the map of shards again, and the members unless they are as new as `view`; `Shards.assign` was called
        with what is new when this returns. Doesn't raise.
        """
        ...


class Alone:
    """Nobody else is there, or nobody that could be asked."""

    def is_member(self, host: str) -> bool:
        return False

    async def ask(self, host: str, shard: str, epoch: int, view: int) -> None:
        raise Unavailable("There are no other hosts.")

    async def refresh(self, view: int) -> None:
        """There is nothing to read."""


def nobody(shard: str) -> str:
    """`OwnerOf` where no other host is known."""
    return ""
