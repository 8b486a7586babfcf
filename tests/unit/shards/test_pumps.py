"""What is done after a commit: offers, withdrawals, effects; and the auditor's part in it (T1)."""

from perdure.base.errors import Bug, Unavailable
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.testing.loop import VirtualClock, running_loop
from perdure.testing.store_faults import Fault
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.shards.fakes import QUEUE, Host, effect, key, memory, offer, passes, timer, virtual

OTHER = QueueKey("ns", "other", QueueKind.ACTIVITY)


def test_offers_go_out_after_the_commit_in_order_with_absolute_figures() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        host.faults.arm("append", Fault.LOST)
        offers = [offer(number, time_ns=number, priority=1 + number % 2) for number in range(1, 7)]
        position = host.role.put(shard, key(), 1, reversed(offers))
        await passes(0.001)
        assert not host.role.offered
        await shard.durable(position)
        await passes(0.001)
        assert host.role.offered == sorted(offers, key=lambda one: one.order)
        assert [(figures.count, figures.oldest_ns, figures.epoch) for figures in host.role.backlogs] == [(6, 1, 1)]

    virtual(work())


def test_an_offer_that_is_not_taken_comes_again_unless_it_is_void() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        host.role.fail("offer", *[Unavailable("no matching")] * 5)
        await host.role.add(shard, key(), 1, offer(1), offer(2))
        await passes(0.005)
        await shard.durable(host.role.put(shard, key(), 1, removed=[offer(1)]))
        await passes(10)
        assert host.role.offered == [offer(2)]

    virtual(work())


def test_a_defect_in_offering_does_not_stop_the_shard_and_the_auditor_comes_back_to_it() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        host.role.fail("offer", Bug("broken"))
        await host.role.add(shard, key(), 1, offer(1))
        await passes(1)
        assert not host.role.offered
        await passes(60)
        assert host.role.offered[0] == offer(1)
        assert shard.pump.failures == 1
        assert not shard.is_lost

    virtual(work())


def test_partitions_that_moved_are_offered_again_until_somebody_takes_them() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        await host.role.add(shard, key(), 1, offer(1), offer(2), offer(3, queue=OTHER))
        await passes(1)
        host.role.offered.clear()
        host.role.fail("offer", *[Unavailable("no owner yet")] * 5)
        shard.pump.reoffer(lambda partition: partition == QUEUE)
        shard.pump.reoffer(lambda partition: partition == QUEUE)
        await passes(3)
        assert host.role.offered == [offer(1), offer(2)]
        host.role.fail("offer", Bug("broken"))
        shard.pump.reoffer(lambda partition: True)
        await passes(1)
        assert len(host.role.offered) > 2  # one partition's defect keeps no other from its owner
        assert not shard.is_lost

    virtual(work())


def test_who_is_offered_a_head_hears_that_there_is_more() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, offers_batch=2))
        shard = await host.start()
        await host.role.add(shard, key(), 1, offer(1), offer(2), offer(3), offer(4, queue=OTHER))
        await passes(1)
        assert not any(backlog.has_more for backlog in host.role.backlogs)
        host.role.backlogs.clear()
        for partition in (QUEUE, OTHER):
            await shard.pump.offer_head(partition)
        assert [(backlog.count, backlog.has_more) for backlog in host.role.backlogs] == [(3, True), (1, False)]

    virtual(work())


def test_void_offers_are_withdrawn_together() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        offers = [offer(number) for number in range(5)]
        await host.role.add(shard, key(), 1, *offers)
        await passes(1)
        for one in offers:
            await shard.durable(host.role.put(shard, key(), 1, removed=[one]))
        host.role.fail("withdraw", Bug("broken"))
        await passes(1)
        await host.role.add(shard, key(), 1, offer(9))
        await passes(0.01)
        await shard.durable(host.role.put(shard, key(), 1, removed=[offer(9)]))
        await passes(1)
        assert host.role.withdrawn == [offer(9)]
        assert shard.offers.backlog(QUEUE).count == 0

    virtual(work())


def test_what_does_not_fit_into_the_pump_is_offered_from_the_index() -> None:
    """Matching asks only for what it was told of: an offer that nobody mentions waits for the auditor."""

    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, offers_pending_max=10, offers_batch=4))
        shard = await host.start()
        offers = [offer(number) for number in range(50)]
        await host.role.add(shard, key(), 1, *offers)
        await passes(1)
        assert host.role.offered == offers
        assert host.role.backlogs[-1].count == 50
        page, backlog = await shard.read_offers(QUEUE, offers[9], 100)
        assert page == offers[10:]
        assert backlog.count == 50

    virtual(work())


def test_a_new_owner_offers_what_is_outstanding() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        shard = await host.start()
        stored, logged = offer(1, "a"), offer(1, "b", queue=OTHER)
        await host.role.add(shard, key("a"), 1, stored)
        await passes(5)
        await host.role.add(shard, key("b"), 1, logged)
        other = Host(store, "N")
        await other.start()
        await passes(1)
        assert sorted(other.role.offered, key=lambda one: one.key) == [stored, logged]

    virtual(work())


def test_a_new_owner_offers_until_it_is_taken_and_outlives_a_defect_of_matching() -> None:
    async def work() -> None:
        store = memory()
        shard = await (host := Host(store)).start()
        await host.role.add(shard, key(), 1, offer(1), offer(3, queue=OTHER))
        other = Host(store, "N")
        other.role.fail("offer", Bug("broken"), *[Unavailable("no matching")] * 3)
        found = await other.start()
        await passes(5)  # much less than the auditor takes
        assert len(other.role.offered) == 1
        assert not found.is_lost

    virtual(work())


def test_the_auditor_reminds_matching_of_every_queue_also_where_one_is_not_taken() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        await host.role.add(shard, key(), 1, offer(1), offer(3, queue=OTHER))
        await passes(9)
        host.role.offered.clear()
        host.role.fail("offer", Bug("broken"))
        await passes(60)
        assert {one.queue for one in host.role.offered} == {QUEUE, OTHER}
        assert not shard.is_lost

    virtual(work())


def test_matching_that_forgot_is_reminded_within_half_a_minute() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        for number in range(1, 20):
            await host.role.add(shard, key(), 1, offer(number, time_ns=host.clock.now_ns()))
            await passes(0.1)
            host.role.offered.clear()
            await passes(29)
            assert host.role.offered, number
            await shard.durable(host.role.put(shard, key(), 1, removed=list(host.role.offered[:1])))
            await passes(number / 2)

    virtual(work())


def test_the_newest_effect_of_a_run_speaks_for_the_older_ones() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        host.role.fail("perform", *[Unavailable("the lists are away")] * 3)
        await host.role.add(shard, key(), 1, effect(1))
        await shard.durable(host.role.put(shard, key(), 1, [effect(2)], [effect(1)]))
        await passes(10)
        assert host.role.performed == [effect(2)]

    virtual(work())


def test_an_effect_that_can_not_be_done_is_given_up_and_the_others_are_done() -> None:
    async def work() -> None:
        host = Host(memory())
        shard = await host.start()
        perform = host.role.perform

        async def choosy(at: object, effects: object) -> None:
            if effect(1, "bad") in effects:  # type: ignore[operator]  # a list of effects
                raise ZeroDivisionError
            await perform(at, effects)  # type: ignore[arg-type]  # passes on what it was called with

        host.role.perform = choosy  # type: ignore[method-assign, assignment]  # the role, but with a defect
        await shard.durable(host.role.put(shard, key("bad"), 1, [effect(1, "bad")]))
        await shard.durable(host.role.put(shard, key("good"), 1, [effect(1, "good")]))
        await passes(60)
        assert host.role.performed == [effect(1, "good")]
        assert shard.effects.abandoned == 1
        assert await host.role.stored_sum(key("bad")) == 1

    virtual(work())


def test_effects_in_the_log_are_done_by_the_next_owner() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        shard = await host.start()
        host.role.fail("perform", *[Unavailable("the lists are away")] * 1000)
        await host.role.add(shard, key(), 1, effect())
        await passes(5)
        other = Host(store, "N")
        await other.start()
        await passes(1)
        assert other.role.performed == [effect()]

    virtual(work())


def test_the_auditor_repairs_what_is_not_indexed_and_counts_it() -> None:
    async def work() -> None:
        store = memory()
        host = Host(store)
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        await passes(5)
        due = timer(shard.now_ns() + 100_000_000_000)
        host.role.chain(shard, key()).tasks += [offer(7), due]
        await passes(60)
        assert (shard.auditor.repaired_offers, shard.auditor.repaired_timers) == (1, 1)
        assert host.role.offered[0] == offer(7)
        assert (await shard.read_offers(QUEUE, None, 10))[0] == [offer(7)]
        await host.role.add(shard, key(), 2)
        await passes(60)
        assert [fired for fired, _ in host.role.fired] == [due]

    virtual(work())


def test_the_auditor_finds_nothing_wrong_with_what_is_on_its_way() -> None:
    async def work() -> None:
        host = Host(memory(), options=ShardOptions(shards=1, checkpoint_age_s=0.3))
        shard = await host.start()
        for number in range(200):
            far = timer(shard.now_ns() + (number % 3) * 10**13, str(number), number)
            one = offer(number, str(number))
            if number % 3 == 0:
                host.faults.arm("append", Fault.LOST, Fault.SLOW)
            position = host.role.put(shard, key(str(number)), 1, [one, far])
            audit = shard.auditor.audit()
            await audit
            await shard.durable(position)
            if number % 2:
                host.role.put(shard, key(str(number)), 1, removed=[one, far], urgent=True)
            await passes(0.05)
        assert (shard.auditor.repaired_offers, shard.auditor.repaired_timers) == (0, 0)

    virtual(work())


def test_the_auditor_finds_no_defect_where_another_may_have_done_the_task() -> None:
    async def work() -> None:
        store = MemoryStore(VirtualClock(running_loop()), is_shared=True)
        host = Host(store, options=ShardOptions(shards=1, checkpoint_age_s=0.5, audit_interval_s=3600))
        shard = await host.start()
        await host.role.add(shard, key(), 1)
        host.faults.arm("replace_lease", *[Fault.LOST] * 1_000)
        await passes(10)
        assert not shard.can_answer
        # As for one that slept while its successor fired the timer and dropped its row.
        host.role.chain(shard, key()).tasks += [timer(shard.now_ns() + 100_000_000_000)]
        await shard.auditor.audit()
        assert shard.auditor.repaired_timers == 0

    virtual(work())
