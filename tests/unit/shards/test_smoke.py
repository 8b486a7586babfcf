from tests.unit.shards.fakes import Host, key, memory, offer, passes, timer, virtual


def test_what_was_added_is_there_after_a_take_over() -> None:
    async def work() -> None:
        store = memory()
        first = Host(store)
        shard = await first.start()
        soon = timer(shard.now_ns() + 3_000_000_000)
        for value in range(1, 11):
            await first.role.add(shard, key(), value, *((offer(value), soon) if value == 1 else ()))
        await passes(1)
        second = Host(store, "N")
        shard = await second.start()
        assert sum(second.role.chain(shard, key()).values) == 55
        await passes(5)
        assert [fired for fired, _ in second.role.fired] == [soon]
        assert await second.role.stored_sum(key()) == 55
        assert second.role.offered == [offer(1)]
        await second.shards.stop()

    virtual(work())
