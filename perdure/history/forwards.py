"""Waiting for the end of a run's fast-forward: a long poll that looks again after every commit of its chain."""

import asyncio
from dataclasses import replace

from temporalio.api.workflowservice.v1 import PollWorkflowExecutionTimeSkippingResponse

from perdure.base.clock import SECOND_NS
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call
from perdure.history.chains import ShardChains
from perdure.history.transacting import Transacting
from perdure.workflow.time_skipping_requests import ForwardSeen, PollForward


async def await_forward(
    service: Transacting,
    chains: ShardChains,
    key: ChainKey,
    poll: PollForward,
    seen: ForwardSeen,
    call: Call,
    most_ns: int,
) -> PollWorkflowExecutionTimeSkippingResponse:
    """The final answer, or after `most_ns` that there is none yet. `seen`: what the first look saw."""
    if call.timeout_ns:
        most_ns = max(0, min(most_ns, call.timeout_ns - SECOND_NS))
    poll = replace(poll, target_ns=seen.pending_ns)
    try:
        async with asyncio.timeout(most_ns / SECOND_NS):
            while seen.pending_ns:
                seen = await _next_look(service, chains, key, poll, call)
    except TimeoutError:
        pass
    return seen.response


async def _next_look(
    service: Transacting, chains: ShardChains, key: ChainKey, poll: PollForward, call: Call
) -> ForwardSeen:
    """Look, so that no commit is missed; where nothing is final, wait for the next commit first."""
    entry = await chains.entry(key, (poll.request.workflow_execution.run_id,))
    with entry.watched() as waiter:
        seen: ForwardSeen = await service.transact_on(chains.shard, key, poll, call)
        if seen.pending_ns:
            await waiter
        return seen
