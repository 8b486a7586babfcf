"""What hosts ask of one another about shards, whichever of their chains: to let one go, to show, split and merge them.

Between processes these are gRPC calls, as those of `perdure.cluster.roles`. An owner's answer is a hint until the store
agrees: no call here makes anybody an owner.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from perdure.base.slots import SlotRange


class ShardState(StrEnum):
    """What a host does with a shard."""

    TAKING = "taking"
    SERVING = "serving"
    LEAVING = "leaving"  # refuses what is new, until what is on its way is definite
    STUCK = "stuck"  # can't be taken by anybody until somebody looks at it


class ShardView(msgspec.Struct, frozen=True):
    """A shard as its host sees it. `slots` None, `epoch` 0 while that is unknown. `is_wanted`: by the host's view it is
    its own. `tail_bytes`: of log that a next owner would read; `dirty_bytes`: of it not checkpointed. `reason`: why it
    doesn't serve.
    """

    shard: str
    state: ShardState
    slots: SlotRange | None = None
    epoch: int = 0
    is_wanted: bool = True
    tail_bytes: int = 0
    dirty_bytes: int = 0
    reason: str = ""


class ShardHost(Protocol):
    """A history host, as other hosts see it."""

    async def let_go(self, host: str, shard: str, epoch: int, view: int) -> None:
        """Release a shard to who has drawn `epoch` for it, and asks under version `view` of the members.

        Returning is the release (L11): the callee answers nothing more from what it knew of the shard before `epoch`,
        or had nothing of it. `host`: who is asked, by the id of its lease: another process may be at its address now.
        Idempotent; goes on when the caller is gone. Raises ShardElsewhere if the callee isn't `host`;
        FailedPrecondition if a newer view than the caller's says that the shard is the callee's, or its epoch is newer.
        """
        ...

    async def list_shards(self) -> list[ShardView]:
        """The shards that are here, or are being taken, by their first slot."""
        ...

    async def split(self, shard: str, parts: int) -> list[str]:
        """Split an owned shard into as many parts; their ids. Raises ShardElsewhere, InvalidArgument."""
        ...

    async def merge(self, shards: Sequence[str]) -> str:
        """Merge owned neighbours into one; its id. Raises ShardElsewhere, InvalidArgument."""
        ...
