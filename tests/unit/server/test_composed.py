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
from perdure.store.memory import MemoryStore
from perdure.workflow.tasks import QueueKey, QueueKind
from tests.unit.rpc.relay import FakeRole, hosting, relayed

_QUEUE = QueueKey("namespace", "queue", QueueKind.WORKFLOW)


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
