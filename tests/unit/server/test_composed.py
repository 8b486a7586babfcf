"""A process of a cluster, with its connections to others."""

import asyncio

from perdure.base.clock import SystemClock
from perdure.base.entropy import SystemEntropy
from perdure.cluster.members import Member, MemberState, Role
from perdure.cluster.roles import PartitionView
from perdure.rpc.role_handlers import matching_methods
from perdure.server.cluster import Options, ground
from perdure.server.composed import OfCluster
from perdure.server.options import ServingOptions
from perdure.shards.options import ShardOptions
from perdure.store.memory import MemoryStore
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.rpc.relay import FakeRole, hosting, relayed

_QUEUE = QueueKey("namespace", "queue", QueueKind.WORKFLOW)


def composed(store: MemoryStore, *roles: Role) -> OfCluster:
    options = Options(shards=ShardOptions(shards=4))
    return OfCluster(ground(store, SystemClock(), SystemEntropy(), options), ServingOptions(roles=roles), None)


async def test_roles_that_start_alone_serve_when_they_can_and_a_frontend_when_there_are_others() -> None:
    store = MemoryStore(is_shared=True)
    frontend, history, matching = (composed(store, role) for role in (Role.FRONTEND, Role.HISTORY, Role.MATCHING))
    try:
        for each in (frontend, history, matching):
            await each.listen()
        await frontend.start(7233)
        assert not await frontend.settled(0.01)
        assert not frontend.serves(Role.FRONTEND)
        # Without matching there is no way to a worker, but there is one to the shards.
        await history.start(0)
        assert await history.settled(30.0)
        assert history.serves(Role.HISTORY)
        assert not await frontend.settled(0.01)
        await matching.start(0)
        assert await matching.settled(30.0)
        assert matching.serves(Role.MATCHING)
        # It was too late for the frontend's start, and is in time for its callers.
        assert await frontend.settled(30.0)
        assert frontend.serves(Role.FRONTEND)
        await matching.leave()
        await frontend.membership.refresh()
        assert frontend.serves(Role.FRONTEND)  # much of what it serves needs no matching
        assert not matching.serves(Role.MATCHING)
    finally:
        for each in (frontend, matching, history):
            await each.stop()


async def test_matching_alone_serves() -> None:
    matching = composed(MemoryStore(is_shared=True), Role.MATCHING)
    try:
        await matching.listen()
        await matching.start(0)
        assert await matching.settled(30.0)
        assert matching.serves(Role.MATCHING)
    finally:
        await matching.stop()


async def test_a_connection_to_a_host_that_is_no_member_any_more_is_closed() -> None:
    view = PartitionView([], 7, 0)
    async with hosting(matching_methods(FakeRole(describe=view))) as (_, port), relayed(port) as relay:
        stands = ground(MemoryStore(is_shared=True), SystemClock(), SystemEntropy(), Options())
        cluster = OfCluster(stands, ServingOptions(roles=(Role.FRONTEND,)), None)
        try:
            await cluster.start(7233)
            other = Member("other", {Role.MATCHING: relay.address}, MemberState.SERVING)
            await cluster.membership.change(lambda members: members.with_member(other))
            assert await cluster.directory.matching(_QUEUE).describe(_QUEUE) == view
            assert relay.open == 1
            await cluster.membership.change(lambda members: members.without("other"))
            async with asyncio.timeout(10.0):
                await relay.wait_open(0)
        finally:
            await cluster.stop()
