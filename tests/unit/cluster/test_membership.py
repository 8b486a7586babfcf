"""Joining, leaving, and the removal of the dead, on virtual time. Each test is one interleaving."""

import asyncio

import msgspec
import pytest

from perdure.base.errors import Unavailable
from perdure.cluster.members import MemberState, Role, to_document
from perdure.cluster.membership import SoleMembership
from perdure.store.contract import Document
from perdure.testing.store_faults import Fault
from tests.unit.cluster.hosts import Host, Store, virtual
from tests.unit.shards.fakes import passes

LEASE_AND_TENTH = 5.5


async def cluster(store: Store, count: int) -> list[Host]:
    """So many hosts, which know one another, in the order of their ids."""
    hosts = [await Host(store, f"h{number}").start() for number in range(count)]
    await passes(1.5)
    hosts.sort(key=lambda host: host.host)
    assert all(host.knows() == [host.host for host in hosts] for host in hosts)
    return hosts


async def until_gone(store: Store, host: str) -> float:
    """Seconds until the host is no member any more."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while host in await store.hosts():
        assert loop.time() - begun < 30
        await passes(0.01)
    return loop.time() - begun


def test_a_host_joins_serves_and_leaves() -> None:
    async def work() -> None:
        store = Store()
        other = await Host(store, "other").start()
        host = Host(store, "h")
        assert host.host == ""
        await host.membership.join(host.member())
        assert host.host == host.lease.host != ""
        await passes(1.5)
        seen = other.membership.view.member(host.host)
        assert seen == msgspec.structs.replace(host.member(), host=host.host)
        for become, state in (
            (host.membership.serving, MemberState.SERVING),
            (host.membership.leaving, MemberState.LEAVING),
        ):
            await become()
            await passes(1.5)
            seen = other.membership.view.member(host.host)
            assert seen is not None
            assert seen.state is state
        left = host.host
        await host.end()
        assert host.host == ""
        assert await store.hosts() == [other.host]
        assert await store.inner.leases.read_lease(left) is None

    virtual(work())


def test_views_only_get_newer_and_subscribers_see_each_once() -> None:
    async def work() -> None:
        store = Store()
        first = await Host(store, "first").start()
        for name in "abc":
            await Host(store, name).start()
            await passes(1.5)
        versions = [view.version for view in first.views]
        assert versions == sorted(set(versions))
        stored = await store.view()
        assert first.membership.view == stored
        older = first.views[0]

        async def behind(kind: str, key: str) -> Document | None:
            return to_document(older)

        first.store.documents.read_document = behind  # type: ignore[method-assign]  # a replica that missed writes
        await passes(3)
        assert first.membership.view == stored

    virtual(work())


def test_who_was_killed_is_removed_after_a_lease_and_a_tenth_and_not_before() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 4)
        dead = hosts[1]
        await passes(0.3)
        dead.kill()
        gone = dead.lease.host
        # Renewed at most 1.5 s ago; looked at each second, and each quarter when it is late.
        assert LEASE_AND_TENTH - 1.5 <= await until_gone(store, gone) <= LEASE_AND_TENTH + 1.5
        assert await store.inner.leases.read_lease(gone) is None
        await passes(1.5)
        assert all(gone not in host.knows() for host in hosts if host is not dead)

    virtual(work())


@pytest.mark.parametrize("count", [2, 3])
def test_the_last_one_removes_all_others(count: int) -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, count)
        for host in hosts[1:]:
            host.kill()
        await passes(8)
        assert await store.hosts() == [hosts[0].host]

    virtual(work())


def test_most_of_the_hosts_die_at_once() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 9)
        for host in hosts[:7]:
            host.kill()
        # Whoever is watched by the dead only is watched by the living once those are gone: two by two.
        await passes(40)
        assert await store.hosts() == [host.host for host in hosts[7:]]

    virtual(work())


def test_two_watchers_at_once_remove_a_host_once() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 5)
        hosts[2].kill()
        before = (await store.view()).version
        await passes(10)
        assert (await store.view()).version == before + 1
        assert len(await store.hosts()) == 4

    virtual(work())


def test_a_host_that_stood_still_comes_back_under_another_id() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 3)
        stopped = hosts[0]
        former = stopped.lease.host
        stopped.kill()
        await passes(20)
        assert former not in await store.hosts()
        stopped.go_on()
        await passes(4)
        assert stopped.lease.host not in ("", former)
        assert stopped.host == stopped.lease.host
        stored = await store.view()
        assert sorted(member.host for member in stored.members) == sorted(host.lease.host for host in hosts)
        assert stopped.host in stored.serving(Role.MATCHING)
        # Whoever was told of that view knew at once which of the members it was.
        first = next(index for index, view in enumerate(stopped.views) if view.member(stopped.host) is not None)
        assert stopped.known_as[first] == stopped.host

    virtual(work())


def test_a_host_that_stood_still_for_less_than_its_lease_stays() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 3)
        before = await store.view()
        hosts[0].kill()
        await passes(3.5)
        hosts[0].go_on()
        await passes(20)
        assert await store.view() == before

    virtual(work())


def test_who_wakes_up_from_a_long_sleep_buries_nobody() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 2)
        for host in hosts:  # as when the machine sleeps
            host.kill()
        await passes(600)
        leases = [host.lease.host for host in hosts]
        for host in hosts:
            host.go_on()
        await passes(20)
        assert [host.lease.host for host in hosts] == leases
        assert await store.hosts() == leases

    virtual(work())


@pytest.mark.parametrize("seconds", [4, 60])
def test_while_the_store_is_away_nobody_is_removed(seconds: int) -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 5)
        before = await store.view()
        for host in hosts:
            store.faults.cut(host.name)
        await passes(seconds)
        for host in hosts:
            store.faults.mend(host.name)
        await passes(20)
        assert await store.view() == before

    virtual(work())


def test_a_host_without_the_store_is_removed_by_those_who_have_it() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 3)
        former = hosts[0].lease.host
        store.faults.cut(hosts[0].name)
        await passes(8)
        assert former not in await store.hosts()
        store.faults.mend(hosts[0].name)
        await passes(4)
        assert len(await store.hosts()) == 3
        assert former not in await store.hosts()

    virtual(work())


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.DONE, Fault.LATE, Fault.SLOW, Fault.UNFINISHED])
def test_a_change_whose_outcome_is_unknown_is_made_once(fault: Fault) -> None:
    async def work() -> None:
        store = Store()
        first = await Host(store, "first").start()
        store.faults.arm("replace_document", fault)
        second = await Host(store, "second").start()
        await store.faults.land()
        await passes(3)
        stored = await store.view()
        assert sorted(stored.serving(Role.HISTORY)) == sorted([first.host, second.host])
        assert first.membership.view == second.membership.view == stored

    virtual(work())


def test_thirty_hosts_join_at_once() -> None:
    async def work() -> None:
        store = Store()
        hosts = [Host(store, f"h{number}") for number in range(30)]
        await asyncio.gather(*(host.start() for host in hosts))
        await passes(3)
        ids = sorted(host.host for host in hosts)
        assert await store.hosts() == ids
        assert all(host.knows() == ids for host in hosts)
        assert len((await store.view()).serving(Role.FRONTEND)) == 30

    virtual(work())


def test_whoever_cannot_join_is_told_and_is_no_member() -> None:
    async def work() -> None:
        store = Store()
        store.faults.arm("replace_document", *[Fault.LOST] * 100)
        host = Host(store, "h")
        with pytest.raises(Unavailable):
            await host.start()
        assert host.host == ""
        store.faults.heal()
        await passes(10)
        assert await store.hosts() == []

    virtual(work())


def test_a_member_that_was_removed_by_hand_stands_again_after_it_renewed_its_lease() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 2)
        former = hosts[1].host
        await hosts[0].membership.change(lambda view: view.without(former))
        await passes(4)
        assert former in await store.hosts()

    virtual(work())


def test_a_host_whose_row_is_gone_never_stands_under_the_same_id_again() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 2)
        dead = hosts[1]
        dead.kill()
        former = dead.lease.host
        await until_gone(store, former)
        dead.go_on()
        for _ in range(300):
            assert former not in await store.hosts()
            await passes(0.01)
        await passes(3)
        assert len(await store.hosts()) == 2

    virtual(work())


def test_a_suspect_is_left_out_for_a_while_and_loses_nothing() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 5)
        who, whom = hosts[0], hosts[4]
        before = await store.view()
        told = len(who.views)
        who.membership.suspect(whom.host)
        who.membership.suspect("nobody")
        who.membership.suspect(who.host)
        assert who.membership.suspects == {whom.host}
        assert len(who.views) == told + 1
        await passes(3)
        who.membership.suspect(whom.host)
        await passes(3)
        assert who.membership.suspects == {whom.host}
        await passes(4)
        assert who.membership.suspects == frozenset()
        assert len(who.views) == told + 2
        assert await store.view() == before

    virtual(work())


def test_a_suspect_is_watched_by_who_suspects_it() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 9)
        dead = hosts[5]
        for watcher in hosts[3:5]:  # nobody else watches it
            watcher.kill()
        dead.kill()
        gone = dead.lease.host
        while gone in await store.hosts():
            hosts[0].membership.suspect(gone)
            await passes(0.5)
            assert asyncio.get_running_loop().time() < 12
        assert hosts[0].membership.suspects == frozenset()

    virtual(work())


def test_callers_who_want_news_at_once_share_a_read() -> None:
    async def work() -> None:
        store = Store()
        hosts = await cluster(store, 2)
        third = await Host(store, "third").start()
        reads = []
        read = hosts[0].store.documents.read_document

        async def counted(kind: str, key: str) -> Document | None:
            reads.append(key)
            return await read(kind, key)

        hosts[0].store.documents.read_document = counted  # type: ignore[method-assign]  # of this one host
        views = await asyncio.gather(*(hosts[0].membership.refresh() for _ in range(50)))
        assert len(reads) == 1
        assert all(third.host in [member.host for member in view.members] for view in views)
        await hosts[0].membership.refresh(hosts[0].membership.view.version)
        assert len(reads) == 1
        store.faults.cut(hosts[0].name)
        await passes(0.1)
        assert await hosts[0].membership.refresh() == views[0]

    virtual(work())


def test_a_process_alone_is_its_own_cluster() -> None:
    async def work() -> None:
        alone = SoleMembership()
        assert alone.view.serving(Role.HISTORY) == (alone.host,)
        assert await alone.refresh() is alone.view
        assert alone.suspects == frozenset()

    virtual(work())
