"""Runs that should have gone long ago are found by their list rows; what becomes of them is what their state says."""

from collections.abc import Sequence

import pytest

from perdure.base.clock import SECOND_NS
from perdure.base.errors import ShardLost, Unavailable
from perdure.base.slots import slot_of
from perdure.shards.controller import Shards
from perdure.shards.options import ShardOptions
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Checkpoint, Store
from perdure.testing.loop import running_loop
from perdure.testing.store_faults import Fault
from perdure.visibility.rows import VisibilityRow
from perdure.workflow.tasks import Effect, EffectKind, Timer, TimerKind
from tests.unit.shards.fakes import RUN, Host, home_of, key, memory, passes, virtual

HOUR_S = 3_600
RETENTION_NS = 24 * HOUR_S * SECOND_NS
INTERVAL_S = 600.0
# More than a walk of what these tests have takes.
LONG_S = 5 * INTERVAL_S
# The auditor knows what is in memory, which here is all; the walk is for what isn't.
ALONE = ShardOptions(shards=1, audit_interval_s=1e9, sweep_interval_s=1e9)


class Walker(Host):
    """A host that knows namespaces, and looks after them."""

    def __init__(self, inner: Store, name: str = "O", options: ShardOptions | None = None) -> None:
        super().__init__(inner, name, options or ALONE)
        self.retentions: list[tuple[str, int]] = [("ns", RETENTION_NS)]
        self.shards = Shards(
            self.store, self.role, self.clock, self.world.entropy, self.options, self.meters, self.known
        )

    async def known(self) -> Sequence[tuple[str, int]]:
        """The namespaces."""
        return self.retentions

    @property
    def counted(self) -> float:
        """What the metric says."""
        return sum(sample.value for metric in self.meters.overdue.collect() for sample in metric.samples)


def retention(closed_ns: int, name: str = "wf") -> Timer:
    """The end of a run that closed then."""
    return Timer(closed_ns + RETENTION_NS, key(name), RUN, TimerKind.RETENTION)


def row(closed_ns: int, name: str = "wf", start_ns: int = 1, namespace_id: str = "ns") -> VisibilityRow:
    """How lists show it."""
    return VisibilityRow(
        namespace_id, name, f"run of {name}", 1, status=2, start_time_ns=start_ns, close_time_ns=closed_ns
    )


async def lose_row(host: Host, shard: OwnedShard, timer: Timer) -> None:
    """The row of a timer that lies far ahead goes: nothing else knows it."""
    await passes(10)
    assert not shard.timers.is_armed(timer)
    stamp_us = host.clock.now_ns() // 1000
    await host.store.checkpoints.write(Checkpoint(stamp_us, home_of(shard), [], [], [], [], [], [], [], [timer]))
    assert not await shard.timers.holds(timer)


def test_a_lost_timer_is_found_and_the_run_goes() -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store)
        shard = await host.start()
        closed_ns = shard.now_ns()
        lost, kept = retention(closed_ns), retention(closed_ns, "kept")
        await host.role.add(shard, key(), 1, lost)
        await host.role.add(shard, key("kept"), 1, kept)
        await store.visibility.upsert([row(closed_ns), row(closed_ns, "kept", 2)])
        await lose_row(host, shard, lost)
        await passes(25 * HOUR_S - 20)
        assert [fired for fired, _ in host.role.fired] == [kept], "one hour later than that nobody is late"
        assert key() not in host.role.asked
        await passes(LONG_S)
        assert [fired for fired, _ in host.role.fired] == [kept, lost]
        assert host.counted == 1
        assert shard.auditor.repaired_timers == 0
        await passes(LONG_S)
        assert not await store.checkpoints.read_timers(home_of(shard), None, 10)
        assert host.counted == 1

    virtual(work())


def test_a_timer_that_was_found_is_written_again() -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store)
        shard = await host.start()
        # The run's own retention is longer than the namespace's, which was made shorter.
        late = retention(shard.now_ns() + 1000 * HOUR_S * SECOND_NS)
        await host.role.add(shard, key(), 1, late)
        await store.visibility.upsert([row(shard.now_ns())])
        await lose_row(host, shard, late)
        await passes(26 * HOUR_S)
        assert host.counted == 1
        assert host.role.fired == []
        await host.role.add(shard, key("any"), 1)
        await passes(10)
        assert await store.checkpoints.read_timers(home_of(shard), None, 10) == [late]

    virtual(work())


def test_a_run_that_is_only_late_stays_with_its_timer() -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store)
        shard = await host.start()
        late = retention(shard.now_ns())
        await host.role.add(shard, key(), 1, late)
        await store.visibility.upsert([row(shard.now_ns())])
        await passes(24 * HOUR_S - 1)
        host.role.fail("fire", *[Unavailable("not now")] * 1000)
        await passes(3 * HOUR_S)
        assert len(host.role.asked) > 5
        assert host.counted == 0
        assert shard.timers.is_armed(late)
        host.role.errors.clear()
        await passes(LONG_S)
        assert [fired for fired, _ in host.role.fired] == [late]

    virtual(work())


def test_a_timer_that_fires_between_two_looks_is_not_taken_for_lost() -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store)
        shard = await host.start()
        timer = retention(shard.now_ns() - 30 * HOUR_S * SECOND_NS)
        await store.visibility.upsert([row(1)])
        answers: list[Timer | None] = [timer, None]

        async def left_of(*_: object) -> Timer | None:
            return answers.pop(0)

        host.role.left_of = left_of  # type: ignore[method-assign, assignment]  # answers as if it went meanwhile
        await passes(INTERVAL_S + 1)
        assert answers == []
        assert host.counted == 0
        assert not shard.timers.is_armed(timer)

    virtual(work())


def test_an_open_run_is_left_alone_and_the_row_of_one_that_is_gone_is_deleted() -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store)
        shard = await host.start()
        await host.role.add(shard, key("open"), 1)
        await store.visibility.upsert([row(5, "open"), row(5, "gone", 2)])
        await passes(INTERVAL_S + 1)
        assert host.role.performed == [Effect(key("gone"), "run of gone", EffectKind.VISIBILITY_DELETE, 2**62, 2)]
        assert host.counted == 1

    virtual(work())


@pytest.mark.parametrize("which", [0, 1])
def test_runs_of_other_hosts_are_left_alone(which: int) -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store, options=ShardOptions(shards=2))
        await host.start_with(which)
        (mine,) = host.shards.owned()
        names = [f"w{n}" for n in range(8)]
        await store.visibility.upsert([row(5, name, n) for n, name in enumerate(names)])
        await passes(LONG_S)
        owned = {name for name in names if slot_of("ns", name) in mine.slots}
        assert 0 < len(owned) < 8
        assert {effect.key.workflow_id for effect in host.role.performed} == owned

    virtual(work())


def test_one_page_at_a_time_and_one_namespace_after_the_other() -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store, options=ShardOptions(shards=1, overdue_page=2))
        host.retentions = [("b", RETENTION_NS), ("ns", RETENTION_NS), ("forever", 1 << 70), ("a", RETENTION_NS)]
        await host.start()
        rows = [row(5, f"w{n}", n, namespace_id) for namespace_id in ("b", "a", "forever") for n in range(3)]
        await store.visibility.upsert(rows)
        seen: list[tuple[str, str]] = []
        await passes(1)
        for _ in range(6):
            await passes(INTERVAL_S)
            seen += [(each.namespace_id, each.workflow_id) for each in host.role.asked]
            seen.append(("", ""))
            host.role.asked.clear()
        pages = "".join(f"{namespace_id}{name}" or " " for namespace_id, name in seen)
        assert pages.split(" ")[:6] == ["aw0aw1", "aw2", "bw0bw1", "bw2", "", ""]

    virtual(work())


def test_what_a_run_or_the_store_refuses_stops_no_walk() -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store)
        await host.start()
        names = ["lost", "broken", "fine"]
        await store.visibility.upsert([row(5, name, n) for n, name in enumerate(names)])
        host.role.broken.add(key("broken"))
        host.role.fail("left_of", ShardLost("just now"))
        host.faults.arm("overdue", Fault.REFUSED, Fault.LOST)
        await passes(2 * INTERVAL_S + 1)
        assert host.role.performed == []
        await passes(INTERVAL_S + 10)
        assert [effect.key for effect in host.role.performed] == [key("fine")]
        await passes(INTERVAL_S)
        assert {effect.key for effect in host.role.performed} == {key("lost"), key("fine")}

    virtual(work())


def test_a_namespace_that_can_t_be_looked_at_hides_no_other() -> None:
    async def work() -> None:
        store = memory()
        host = Walker(store, options=ShardOptions(shards=1, overdue_page=1))
        host.retentions = [("a", RETENTION_NS), ("b", RETENTION_NS)]
        await host.start()
        await store.visibility.upsert([row(5, f"w{n}", n, name) for name in "ab" for n in range(2)])
        await passes(INTERVAL_S + 1)
        assert [each.namespace_id for each in host.role.asked] == ["a"]
        host.role.asked.clear()
        host.role.fail("left_of", *[Unavailable("not now")] * 3)
        await passes(3 * INTERVAL_S)
        assert host.role.asked == []
        await passes(INTERVAL_S)
        assert [each.namespace_id for each in host.role.asked] == ["b"]

    virtual(work())


def test_idle_costs_one_question_an_interval_and_none_without_shards_or_after_the_end() -> None:
    async def work() -> None:
        asked = []
        for shards, options in ((1, ShardOptions(shards=1)), (64, ShardOptions(shards=64))):
            host = Walker(memory(), options=options)
            host.retentions = [(f"n{n}", RETENTION_NS) for n in range(50)]
            await host.start()
            await passes(1000)
            before = host.faults.operations
            await passes(100 * INTERVAL_S)
            asked.append(host.faults.operations - before)
            assert len(host.shards.owned()) == shards
            await host.shards.stop()
            before = host.faults.operations
            await passes(LONG_S)
            assert host.faults.operations == before
        sweeps = 100 * INTERVAL_S / 30
        assert asked[0] == asked[1] == pytest.approx(sweeps + 100, abs=2)

    virtual(work())


def test_a_process_without_a_shard_asks_nothing() -> None:
    async def work() -> None:
        store = memory()
        old = Walker(store, options=ShardOptions(shards=1, reacquire_first_s=1e6, reacquire_max_s=1e6))
        shard = await old.start()
        shard.fail("lost")
        await passes(10)
        before = old.faults.operations
        await passes(LONG_S)
        assert old.faults.operations == before
        assert running_loop().time() > LONG_S

    virtual(work())
