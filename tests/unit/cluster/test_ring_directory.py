"""Finding owners, and following what has moved: who is asked, how often, and what the caller is told."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from perdure.base.clock import SECOND_NS
from perdure.base.errors import (
    HostUnreachable,
    NotFound,
    PartitionElsewhere,
    ShardElsewhere,
    ShardLost,
    Unavailable,
)
from perdure.base.metrics import Metrics
from perdure.base.slots import ChainKey
from perdure.cluster.measured import MeasuredDirectory
from perdure.cluster.members import Role, View
from perdure.cluster.ring import Rings, partition_key
from perdure.cluster.ring_directory import HOPS_MAX, RingDirectory
from perdure.cluster.roles import Call, Poll
from perdure.cluster.shard_map import ShardMapCache
from perdure.store.contract import ShardMap
from perdure.testing.loop import run_virtual, running_loop
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.cluster.views import FakeMembership, view
from tests.unit.shards.fakes import passes

KEY = ChainKey("ns", "wf")
QUEUE = QueueKey("ns", "queue", QueueKind.WORKFLOW)
HOSTS = ("a", "b", "c", "d", "e", "f", "g")


class FakeShards:
    """Shard rows of which only the map matters."""

    def __init__(self, *maps: ShardMap) -> None:
        self.found: ShardMap | None = maps[0]
        self.reads = 0

    async def read_map(self) -> ShardMap | None:
        self.reads += 1
        return self.found


class FakeRole:
    """History and matching of one address. `says`: what it raises or answers, in order, the last again and again."""

    def __init__(self, world: "World", address: str) -> None:
        self._world = world
        self._address = address
        self.says: list[Any] = ["done"]

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        return await self._answer(call)

    async def pull(self, shard: str, *_: object) -> Any:
        return await self._answer(Call())

    async def poll(self, asked: Poll, call: Call) -> Any:
        self._world.polls.append(asked)
        return await self._answer(call)

    async def end_polls(self, *_: object) -> None:
        await self._answer(Call())

    async def _answer(self, call: Call) -> Any:
        self._world.asked.append(self._address)
        self._world.calls.append(call)
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if callable(said):
            said = await said()
        if isinstance(said, BaseException):
            raise said
        return said


class World:
    """A directory of host `a`, which has both roles."""

    def __init__(self, known: View, host: str = "a") -> None:
        loop = running_loop()
        self.membership = FakeMembership(host, known)
        self.shards = FakeShards(ShardMap(1, ((0, "s1"), (32_768, "s2"))))
        self.map = ShardMapCache(self.shards, loop.clock, loop.entropy)  # type: ignore[arg-type]  # it reads the map
        self.roles: dict[str, FakeRole] = {}
        self.asked: list[str] = []
        self.calls: list[Call] = []
        self.polls: list[Poll] = []
        self.directory = RingDirectory(self.membership, self.map, self, loop.clock)  # type: ignore[arg-type]  # as above
        self.directory.local_history = self.role("local")  # type: ignore[assignment]  # as above
        self.directory.local_matching = self.role("local")  # type: ignore[assignment]  # as above

    def role(self, address: str) -> FakeRole:
        return self.roles.setdefault(address, FakeRole(self, address))

    history = matching = role

    def owner(self) -> str:
        """Who should have the shard of `KEY`, by the view."""
        return Rings(self.membership.view).owner(Role.HISTORY, self.map.shard_of(KEY.slot))

    def queue_owner(self) -> str:
        """Who should have `QUEUE`."""
        return Rings(self.membership.view).owner(Role.MATCHING, partition_key(QUEUE))

    async def transact(self, call: Call | None = None) -> Any:
        return await self.directory.history(KEY.slot).transact(KEY, "request", call or Call())

    async def poll(self, seconds: int = 60) -> Any:
        role = self.directory.matching(QUEUE)
        return await role.poll(Poll(QUEUE, "w", seconds * SECOND_NS), Call(timeout_ns=(seconds + 1) * SECOND_NS))


def known(*hosts: str) -> View:
    return view(1, *(hosts or HOSTS))


async def world_of(known: View, host: str = "x") -> World:
    world = World(known, host)
    await world.map.refresh()
    return world


def test_the_owner_is_asked_and_its_own_role_directly() -> None:
    async def work() -> None:
        world = await world_of(known())
        assert await world.transact() == "done"
        assert world.asked == [f"{world.owner()}:h"]
        alone = await world_of(known("a"), "a")
        assert await alone.transact() == "done"
        assert await alone.poll() == "done"
        assert alone.asked == ["local", "local"]

    run_virtual(work())


def test_a_hint_is_followed_at_once_and_remembered_for_a_while() -> None:
    async def work() -> None:
        world = await world_of(known())
        owner = world.owner()
        other = next(host for host in HOSTS if host != owner)
        world.role(f"{owner}:h").says = [ShardElsewhere("gone", other, 1)]
        assert await world.transact() == "done"
        assert await world.transact() == "done"
        assert world.asked == [f"{owner}:h", f"{other}:h", f"{other}:h"]
        assert running_loop().time() == 0
        await passes(3.1)
        assert await world.transact() == "done"
        assert world.asked[3:] == [f"{owner}:h", f"{other}:h"]

    run_virtual(work())


def test_a_newer_view_is_read_before_a_hint_is_followed() -> None:
    async def work() -> None:
        world = await world_of(known("a", "b"))
        world.membership.stored = view(7, "a", "b", "new")
        world.role(f"{world.owner()}:h").says = [ShardElsewhere("gone", "new", 7)]
        assert await world.transact() == "done"
        assert world.asked[-1] == "new:h"
        assert world.membership.refreshed == [7]

    run_virtual(work())


def test_without_a_hint_view_and_map_are_read_and_the_new_owner_is_asked() -> None:
    async def work() -> None:
        world = await world_of(known())
        owner = world.owner()
        await passes(1)
        world.role(f"{owner}:h").says = [ShardElsewhere("gone")]
        world.membership.stored = view(2, *(host for host in HOSTS if host != owner))
        reads = world.shards.reads
        assert await world.transact() == "done"
        assert world.asked == [f"{owner}:h", f"{world.owner()}:h"]
        assert world.shards.reads == reads + 1

    run_virtual(work())


def test_a_shard_that_was_split_is_found_under_its_childs_id() -> None:
    async def work() -> None:
        world = await world_of(known())
        owner = world.owner()
        await passes(1)
        children = tuple((slot, f"child-{slot}") for slot in range(0, 65_536, 64))
        world.shards.found = ShardMap(2, children)
        rings = Rings(world.membership.view)
        child = f"child-{KEY.slot // 64 * 64}"
        assert rings.owner(Role.HISTORY, child) != owner
        world.role(f"{owner}:h").says = [ShardElsewhere("it was split")]
        assert await world.transact() == "done"
        assert world.asked[1] == f"{rings.owner(Role.HISTORY, child)}:h"

    run_virtual(work())


def test_hosts_that_send_a_call_round_are_asked_once_each() -> None:
    async def work() -> None:
        world = await world_of(known())
        for host, following in zip(HOSTS, [*HOSTS[1:], HOSTS[0]], strict=True):
            world.role(f"{host}:h").says = [ShardElsewhere("not here", following, 1)]
        with pytest.raises(ShardElsewhere):
            await world.transact()
        assert len(world.asked) == len(set(world.asked)) == HOPS_MAX
        world = await world_of(known("b", "c"))
        for host, following in (("b", "c"), ("c", "b")):
            world.role(f"{host}:h").says = [ShardElsewhere("not here", following, 1)]
        with pytest.raises(ShardElsewhere):
            await world.transact()
        assert sorted(world.asked) == ["b:h", "c:h"]

    run_virtual(work())


def test_a_host_that_is_just_taking_the_shard_is_not_asked_again_at_once() -> None:
    async def work() -> None:
        world = await world_of(known())
        owner = world.owner()
        world.role(f"{owner}:h").says = [ShardElsewhere("being taken", owner, 1), "done"]
        with pytest.raises(ShardElsewhere):
            await world.transact()
        assert world.membership.refreshed == []
        assert await world.transact() == "done"
        assert world.asked == [f"{owner}:h"] * 2

    run_virtual(work())


def test_a_slot_whose_shard_is_another_by_now_is_not_waited_for_where_the_old_one_was() -> None:
    async def work() -> None:
        world = await world_of(known())
        owner = world.owner()
        await passes(1)
        world.role(f"{owner}:h").says = [ShardElsewhere("being taken", owner, 1)]
        world.shards.found = ShardMap(2, tuple((slot, f"child-{slot}") for slot in range(0, 65_536, 64)))
        assert await world.transact() == "done"
        assert world.asked == [f"{owner}:h", f"{world.owner()}:h"]

    run_virtual(work())


@pytest.mark.parametrize("error", [Unavailable("lost"), ShardLost("lost"), NotFound("no"), PartitionElsewhere("no")])
def test_what_may_have_been_done_is_not_sent_anywhere_else(error: Exception) -> None:
    async def work() -> None:
        world = await world_of(known())
        world.role(f"{world.owner()}:h").says = [error]
        with pytest.raises(type(error)):
            await world.transact()
        assert len(world.asked) == 1

    run_virtual(work())


def test_a_host_that_cannot_be_reached_is_suspected_and_the_next_one_is_asked() -> None:
    async def work() -> None:
        world = await world_of(known())
        owner = world.owner()
        world.role(f"{owner}:h").says = [HostUnreachable("refused", "address")]
        assert await world.transact() == "done"
        assert world.membership.suspects == {owner}
        successor = Rings(world.membership.view, [owner]).owner(Role.HISTORY, world.map.shard_of(KEY.slot))
        assert world.asked == [f"{owner}:h", f"{successor}:h"]
        asked = len(world.asked)
        assert await world.transact() == "done"
        assert f"{owner}:h" not in world.asked[asked:]
        world.membership.trust()
        world.role(f"{owner}:h").says = ["done"]
        await world.transact()
        assert world.asked[-1] == f"{owner}:h"

    run_virtual(work())


def test_a_third_host_that_the_own_role_could_not_reach_says_nothing_of_the_call() -> None:
    async def work() -> None:
        world = await world_of(known("a"), "a")
        world.role("local").says = [HostUnreachable("a third one", "address")]
        with pytest.raises(Unavailable) as caught:
            await world.transact()
        assert not isinstance(caught.value, HostUnreachable)
        assert world.membership.suspects == frozenset()

    run_virtual(work())


def test_while_nobody_serves_nothing_is_done_and_the_caller_is_told_so() -> None:
    async def work() -> None:
        world = await world_of(view(1))
        with pytest.raises(ShardElsewhere):
            await world.transact()
        with pytest.raises(PartitionElsewhere):
            world.directory.matching(QUEUE)
        unread = World(known())  # the map isn't there yet
        unread.shards.found = None
        with pytest.raises(ShardElsewhere):
            await unread.transact()
        assert world.asked == unread.asked == []

    run_virtual(work())


def test_pulls_go_to_the_owner_of_the_shard_and_end_when_there_is_no_such_shard() -> None:
    async def work() -> None:
        world = await world_of(known())
        role = world.directory.history_of_shard("s2")
        await role.pull("s2", QUEUE, None, 1)
        assert world.asked == [f"{Rings(world.membership.view).owner(Role.HISTORY, 's2')}:h"]
        for host in HOSTS:
            world.role(f"{host}:h").says = [ShardElsewhere("never heard of it")]
        with pytest.raises(NotFound):
            await role.pull("retired", QUEUE, None, 1)
        with pytest.raises(ShardElsewhere):
            await role.pull("s2", QUEUE, None, 1)

    run_virtual(work())


def test_a_poll_goes_with_its_partition_and_has_as_much_less_time() -> None:
    async def work() -> None:
        world = await world_of(known())
        owner = world.queue_owner()
        other = next(host for host in HOSTS if host != owner)

        async def moves() -> Exception:
            await passes(20)
            return PartitionElsewhere("moved", other, 1)

        world.role(f"{owner}:m").says = [moves]
        assert await world.poll() == "done"
        assert world.asked == [f"{owner}:m", f"{other}:m"]
        assert [round(asked.timeout_ns / SECOND_NS) for asked in world.polls] == [60, 40]
        assert [round(call.timeout_ns / SECOND_NS) for call in world.calls] == [61, 41]

    run_virtual(work())


def test_a_poll_whose_time_is_over_when_its_partition_moves_is_empty() -> None:
    async def work() -> None:
        world = await world_of(known())

        async def moves() -> Exception:
            await passes(60)
            return PartitionElsewhere("moved", "", 1)

        for host in HOSTS:
            world.role(f"{host}:m").says = [moves]
        world.membership.stored = view(2, *(host for host in HOSTS if host != world.queue_owner()))
        assert await world.poll() == b""

    run_virtual(work())


def test_partitions_of_one_host_have_one_role_and_it_goes_with_the_host() -> None:
    async def work() -> None:
        world = await world_of(known("b", "c"))
        queues = [QueueKey("ns", f"queue-{number}", QueueKind.WORKFLOW) for number in range(40)]
        roles = {id(world.directory.matching(queue)) for queue in queues}
        assert len(roles) == 2
        for role in {id(role): role for role in map(world.directory.matching, queues)}.values():
            await role.end_polls("ns", "instance", "")
        assert sorted(world.asked) == ["b:m", "c:m"]
        gone = world.directory.matching(QUEUE)
        owner = world.queue_owner()
        world.membership.set(view(2, *({"b", "c"} - {owner})))
        with pytest.raises(HostUnreachable):
            await gone.end_polls("ns", "instance", "")

    run_virtual(work())


def test_what_counts_the_calls_to_a_host_goes_with_it() -> None:
    async def work() -> None:
        world = await world_of(known("b"))
        counted = MeasuredDirectory(
            world.directory, Metrics(("history",)), running_loop().clock, str, "history", lasts=world.directory.lasts
        )
        history = counted.history(KEY.slot)
        for version in range(2, 30):
            kept = counted.matching(QUEUE)
            world.membership.set(view(version, f"host-{version}"))
            assert counted.matching(QUEUE) is not kept
            assert counted.history(KEY.slot) is history
            assert len(counted._matchings) == 1

    run_virtual(work())


def test_shards_are_told_which_partitions_have_moved() -> None:
    async def work() -> None:
        world = await world_of(known("b", "c"))
        told: list[Callable[[QueueKey], bool]] = []
        world.directory.on_moved = told.append
        owner = world.queue_owner()
        world.membership.set(view(2, "b", "c", pins={"s1": "b"}))
        assert told == []
        world.membership.set(view(3, *({"b", "c"} - {owner})))
        assert told[0](QUEUE)
        world.membership.set(view(4, "b", "c"))
        queues = [QueueKey("ns", f"queue-{number}", QueueKind.WORKFLOW) for number in range(200)]
        rings = Rings(world.membership.view)
        assert {queue for queue in queues if told[1](queue)} == {
            queue for queue in queues if rings.owner(Role.MATCHING, partition_key(queue)) == owner
        }

    run_virtual(work())


def test_an_address_that_does_not_answer_makes_its_hosts_suspect() -> None:
    async def work() -> None:
        world = await world_of(known())
        world.directory.suspect_address("c:m")
        world.directory.suspect_address("nobody:m")
        assert world.membership.suspects == {"c"}

    run_virtual(work())


def test_the_map_is_read_every_few_seconds_by_one_at_a_time_and_never_goes_back() -> None:
    async def work() -> None:
        world = await world_of(known())
        await asyncio.gather(*(world.map.refresh() for _ in range(20)))
        assert world.shards.reads == 1
        await passes(1)
        await asyncio.gather(*(world.map.refresh() for _ in range(20)))
        assert world.shards.reads == 2
        world.shards.found = ShardMap(0, ((0, "older"),))
        await passes(1)
        await world.map.start()
        assert world.map.shard_of(0) == "s1"
        before = world.shards.reads
        await passes(60)
        assert 9 <= world.shards.reads - before <= 16
        world.shards.found = ShardMap(5, ((0, "one"),))
        await passes(7)
        assert (world.map.version, world.map.shard_of(65_535)) == (5, "one")
        assert world.map.names("one")
        assert not world.map.names("s1")
        await world.map.stop()

    run_virtual(work())
