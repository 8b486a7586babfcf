"""What hosts ask of each other about the shards that they own. Holds the contract only."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from perdure.base.slots import SlotRange


class ShardView(msgspec.Struct, frozen=True):
    """A shard as its owner sees it. `epoch`: the one that it serves at."""

    shard: str
    slots: SlotRange
    epoch: int


class ShardHost(Protocol):
    """A history host, as the owner of shards. Every method may raise the error tree of `perdure.base.errors`."""

    async def let_go(self, shard: str, epoch: int, view: int) -> None:
        """Release the shard to whoever has drawn `epoch`, by the members as of version `view`. Returning is the
        release; so is a shard that isn't here. Raises FailedPrecondition if a newer view says that it belongs here.
        """
        ...

    async def list_shards(self) -> list[ShardView]:
        """The shards that are served here, by their first slot."""
        ...

    async def split(self, shard: str, parts: int) -> list[str]:
        """Replace a shard by so many; their ids. Raises ShardElsewhere, Refused."""
        ...

    async def merge(self, shards: Sequence[str]) -> str:
        """Replace neighbouring shards, all owned here, by one; its id. Raises ShardElsewhere, Refused."""
        ...
