"""What the parts of the history role ask of the whole: decide this, and say that a shard is gone."""

from collections.abc import Callable
from typing import Any, Protocol

from perdure.base.errors import ShardLost
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey, SlotRange
from perdure.cluster.roles import Call
from perdure.history.chains import ShardChains
from perdure.shards.contract import Shard
from perdure.workflow.tasks import Timer


class Transacting(Protocol):
    """The five steps around a decision: find, load, decide, commit, answer."""

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        """Decide a request of `perdure.workflow.requests` and commit; the reply is the request's."""
        ...

    async def observe(
        self, key: ChainKey, request: Any, call: Call, decided: Callable[[Any], None]
    ) -> tuple[Any, ShardChains]:
        """As `transact`; `decided` gets the reply at once, before anything else can be decided or is durable."""
        ...

    async def limits(self, key: ChainKey) -> Limits:
        """Those of the chain's namespace, as they are now. Raises NamespaceNotFound."""
        ...

    async def transact_on(self, shard: Shard, key: ChainKey, request: Any, call: Call) -> Any:
        """The same on a shard that is known to own the key."""
        ...

    async def run_errand(self, shard: Shard, timer: Timer) -> None:
        """Do what a run of this shard wants at another workflow id. Raises Unavailable to be called again."""
        ...

    def lost(self, slots: SlotRange, error: ShardLost) -> None:
        """The shard of these slots is gone: whoever waits for something of it gets `error`."""
        ...
