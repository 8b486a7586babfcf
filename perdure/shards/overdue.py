"""Overdue runs: closed ones whose retention ended long ago by their list row, and that are still there.

A retention timer has no other trace than its row: nobody loads a closed run, so the auditor never sees it. If the row
is lost, the run stays for ever. So lists are walked, slowly and for ever, oldest starts first, one page of one
namespace at a time. Invariant: what is done is what the run's own state says: its timer goes into the index if it is
not there; the list row of a run that is gone, and only of one, is deleted. A list row alone decides nothing.

One process looks after the shards it has. It costs a page each `overdue_interval_s`, whatever the number of shards and
namespaces, and some reads for each run that looks overdue.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import structlog

from perdure.base.clock import SECOND_NS
from perdure.base.errors import ShardLost, Unavailable
from perdure.base.slots import ChainKey
from perdure.base.tasks import Background
from perdure.shards.options import World
from perdure.shards.retrying import once
from perdure.shards.shard import OwnedShard
from perdure.visibility.rows import VisibilityRow
from perdure.workflow.tasks import Timer

log = structlog.get_logger(__name__)

# Later than that no timer is that still has its row, unless its shard was away.
_LATE_NS = 3_600 * SECOND_NS
# A page that fails so often in a row is left, and the rest of its namespace until the next walk.
_FAILURES_MAX = 3

# Each namespace's id and for how long, in ns, it keeps closed runs. Raises Unavailable.
Retentions = Callable[[], Awaitable[Sequence[tuple[str, int]]]]


class Owners(Protocol):
    """The shards of this process."""

    def owned(self) -> Sequence[OwnedShard]:
        """All that are here now."""
        ...

    def by_slot(self, slot: int) -> OwnedShard:
        """The shard of a slot. Raises Unavailable while this process does not have it."""
        ...


class OverdueWalk:
    """The walk of one process. What it finds, a timer or a list row, was lost or left by a defect, and is counted."""

    def __init__(self, world: World, owners: Owners, retentions: Retentions, background: Background) -> None:
        self._world = world
        self._owners = owners
        self._retentions = retentions
        self._background = background
        self._namespace_id = ""
        self._place = b""
        self._failures = 0

    def start(self) -> None:
        """Walk until the background is closed."""
        self._background.spawn(self._run(), "overdue runs")

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._world.options.overdue_interval_s)
            try:
                await self._look()
                self._failures = 0
            except Unavailable as error:
                self._failures += 1
                log.info("overdue runs can't be looked for now", error=error.message)
            except Exception:
                # A defect here must not let the store fill up.
                self._failures += 1
                log.exception("looking for overdue runs failed")
            if self._failures == _FAILURES_MAX:
                self._failures, self._place = 0, b""  # one namespace must not hide all others

    async def _look(self) -> None:
        """Look at one page: the next of the namespace that is walked, or the first of the next one. Raises
        Unavailable: the same page is looked at again, a few times.
        """
        if not self._owners.owned():
            return
        world = self._world
        retentions = dict(await once(world, self._retentions))
        if not retentions:
            return
        if not self._place or self._namespace_id not in retentions:
            ids = sorted(retentions)
            self._namespace_id = ids[bisect_right(ids, self._namespace_id) % len(ids)]
            self._place = b""
        namespace_id, place = self._namespace_id, self._place
        closed_before_ns = world.clock.now_ns() - retentions[namespace_id] - _LATE_NS
        if closed_before_ns <= 0:  # for ever, or nearly: stores take no such times
            self._place = b""
            return
        overdue = world.store.visibility.overdue
        rows, following = await once(
            world, lambda: overdue(namespace_id, closed_before_ns, place, world.options.overdue_page)
        )
        for row in rows:
            await self._check(row)
        self._place = following

    async def _check(self, row: VisibilityRow) -> None:
        """Do what is left to do for the run of a row, if its shard is here. Raises Unavailable."""
        key = ChainKey(row.namespace_id, row.workflow_id)
        try:
            shard = self._owners.by_slot(key.slot)
        except Unavailable:
            return  # its owner looks after it, or a later walk does
        try:
            await self._settle(shard, key, row)
        except ShardLost:
            return
        except Unavailable:
            raise
        except Exception:
            # It concerns this run only: one that is quarantined must not hide those that started after it.
            log.exception("overdue run left as it is", wf_id=key.workflow_id, run_id=row.run_id)

    async def _settle(self, shard: OwnedShard, key: ChainKey, row: VisibilityRow) -> None:
        executions = self._world.executions
        left = await executions.left_of(shard, key, row.run_id, row.start_time_ns)
        if left is None:
            return
        about = {"wf_id": key.workflow_id, "run_id": row.run_id, "namespace_id": key.namespace_id}
        if isinstance(left, Timer):
            # It may have fired between the two looks; what the state still wants after the index was asked is lost.
            if await shard.timers.holds(left) or left != await executions.left_of(
                shard, key, row.run_id, row.start_time_ns
            ):
                return
            shard.auditor.restore(left)
            log.error("timer of a closed run was lost", due_ns=left.due_ns, **about)
        else:
            await executions.perform(shard, [left])
            log.warning("list row deleted of a run that is gone", **about)
        self._world.meters.overdue.inc()
