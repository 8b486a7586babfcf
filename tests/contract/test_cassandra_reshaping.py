"""Shards are split and merged on a real node: their index rows go along, and nothing is left of the retired."""

import asyncio

from perdure.base.clock import SystemClock
from perdure.base.entropy import SystemEntropy
from perdure.base.slots import ChainKey, SlotRange
from perdure.shards.controller import Shards
from perdure.shards.options import ShardOptions, World
from perdure.shards.retired import remove_retired
from perdure.store.contract import Home, Store
from perdure.testing.store_contract.suite import fresh
from perdure.workflow.tasks import Offer, QueueKey, QueueKind, Timer, TimerKind
from tests.cassandra.fixtures import Keyspace
from tests.contract.cassandra_stores import opened
from tests.unit.shards.fakes import AddingRole

QUEUE = QueueKey("ns", "queue", QueueKind.WORKFLOW)
CHAINS = 60
OFFERS = 5


def _offers(name: str, number: int) -> list[Offer]:
    key = ChainKey("ns", name)
    return [Offer(key, name, QUEUE, event, 1, 0, 1_000_000 * event + number) for event in range(1, OFFERS + 1)]


async def _settled(shards: Shards) -> None:
    await asyncio.gather(*(shard.inheriting.wait() for shard in shards.owned()))
    assert not any(shard.claim.row.inherits for shard in shards.owned())


async def _check(shards: Shards, names: list[str]) -> None:
    owned = shards.owned()
    assert sum(shard.backlog(QUEUE).count for shard in owned) == OFFERS * len(names)
    found = [offer for shard in owned for offer in (await shard.read_offers(QUEUE, None, 1_000))[0]]
    assert sorted(found, key=lambda offer: (offer.run_id, offer.order)) == sorted(
        (offer for number, name in enumerate(names) for offer in _offers(name, number)),
        key=lambda offer: (offer.run_id, offer.order),
    )
    for number, name in enumerate(names):
        shard = shards.by_slot(ChainKey("ns", name).slot)
        assert await shard.timers.holds(_timer(name, number))


def _timer(name: str, number: int) -> Timer:
    return Timer((1 << 62) + number * 60_000_000_000, ChainKey("ns", name), name, TimerKind.USER, 1)


async def _left(store: Store, shards: list[str]) -> list[str]:
    """Of these shards those that have any index row."""
    left = []
    for shard in shards:
        home = Home(shard, SlotRange())
        if await store.checkpoints.read_timers(home, None, 1) or await store.checkpoints.count_offers(home):
            left.append(shard)
    return left


async def test_index_rows_go_along_and_nothing_is_left_of_the_retired(keyspace: Keyspace) -> None:
    async with opened(keyspace) as store:
        keyspace.empty()
        role = AddingRole(store)
        options = ShardOptions(shards=2, checkpoint_age_s=0.1, inherit_interval_s=0.01)
        clock, entropy = SystemClock(), SystemEntropy()
        shards = Shards(store, role, clock, entropy, options)
        await shards.start()
        names = [fresh() for _ in range(CHAINS)]
        for number, name in enumerate(names):
            shard = shards.by_slot(ChainKey("ns", name).slot)
            await role.add(shard, ChainKey("ns", name), 1, *_offers(name, number), _timer(name, number))
        retired = [shard.shard_id for shard in shards.owned()]
        await shards.split(retired[0], 3)
        await _check(shards, names)
        await _settled(shards)
        await _check(shards, names)
        retired += [shard.shard_id for shard in shards.owned() if shard.shard_id not in retired]
        whole = await shards.merge([shard.shard_id for shard in shards.owned()])
        await _check(shards, names)
        ended = names.pop()
        shard = shards.by_slot(0)
        await role.values(shard, ChainKey("ns", ended))
        gone: list[Offer | Timer] = [*_offers(ended, CHAINS - 1), _timer(ended, CHAINS - 1)]
        await shard.durable(role.put(shard, ChainKey("ns", ended), 1, removed=list(gone)))
        await _settled(shards)
        await shard.catch_up()
        await _check(shards, names)
        assert len(await store.shards.list_unnamed()) == len(retired)
        assert await remove_retired(World(store, role, clock, entropy, options)) == len(retired)
        assert await store.shards.list_unnamed() == []
        assert await _left(store, [*retired, whole]) == [whole]
        await _check(shards, names)
        await shards.stop()
