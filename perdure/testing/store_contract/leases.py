"""Leases: one row a host, compare-and-set on a version."""

import asyncio

from perdure.store.contract import LeaseRow
from perdure.testing.store_contract.suite import StoreSuite, fresh


class LeaseContract(StoreSuite):
    """`LeaseStore`."""

    async def test_a_lease_is_created_once(self) -> None:
        async with self.opened() as store:
            row = LeaseRow(fresh(), 0)
            assert await store.leases.read_lease(row.host) is None
            assert await store.leases.replace_lease(row)
            assert not await store.leases.replace_lease(LeaseRow(row.host, 0, (("shard", 2),)))
            assert await store.leases.read_lease(row.host) == row

    async def test_a_lease_is_replaced_over_the_version_before_it_only(self) -> None:
        async with self.opened() as store:
            host = fresh()
            revoked = ((fresh(), 2), (fresh(), 1 << 40))
            assert await store.leases.replace_lease(LeaseRow(host, 0))
            assert not await store.leases.replace_lease(LeaseRow(host, 2))
            assert await store.leases.replace_lease(LeaseRow(host, 1, revoked))
            assert not await store.leases.replace_lease(LeaseRow(host, 1))
            assert await store.leases.read_lease(host) == LeaseRow(host, 1, revoked)
            assert await store.leases.replace_lease(LeaseRow(host, 2))
            assert await store.leases.read_lease(host) == LeaseRow(host, 2)

    async def test_a_missing_lease_is_not_replaced(self) -> None:
        async with self.opened() as store:
            host = fresh()
            assert not await store.leases.replace_lease(LeaseRow(host, 1))
            assert await store.leases.read_lease(host) is None

    async def test_a_lease_is_removed_at_its_version_only(self) -> None:
        async with self.opened() as store:
            host = fresh()
            await store.leases.replace_lease(LeaseRow(host, 0))
            await store.leases.replace_lease(LeaseRow(host, 1, ((fresh(), 3),)))
            for version in (0, 2):
                assert not await store.leases.remove_lease(host, version)
            assert await store.leases.remove_lease(host, 1)
            assert await store.leases.read_lease(host) is None

    async def test_what_was_removed_is_neither_renewed_nor_removed_again(self) -> None:
        async with self.opened() as store:
            host = fresh()
            await store.leases.replace_lease(LeaseRow(host, 0))
            assert await store.leases.remove_lease(host, 0)
            assert not await store.leases.replace_lease(LeaseRow(host, 1))
            assert not await store.leases.remove_lease(host, 0)
            assert await store.leases.read_lease(host) is None

    async def test_hosts_have_a_lease_each(self) -> None:
        async with self.opened() as store:
            one, other = fresh(), fresh()
            await store.leases.replace_lease(LeaseRow(one, 0))
            await store.leases.replace_lease(LeaseRow(other, 0))
            await store.leases.remove_lease(one, 0)
            assert await store.leases.read_lease(other) == LeaseRow(other, 0)

    async def test_of_a_renewal_and_a_revocation_at_once_one_is_done(self) -> None:
        async with self.opened() as store:
            host = fresh()
            await store.leases.replace_lease(LeaseRow(host, 0))
            rows = [LeaseRow(host, 1), *(LeaseRow(host, 1, ((fresh(), epoch),)) for epoch in range(5))]
            done = await asyncio.gather(*map(store.leases.replace_lease, rows))
            assert sum(done) == 1
            assert await store.leases.read_lease(host) == rows[done.index(True)]
