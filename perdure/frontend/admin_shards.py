"""What operators see of hosts and shards, and how they split, merge and move shards.

Invariants: what is shown of a host is what it says itself, within `ASK_S`; one that doesn't answer is shown as such. A
split or merge is asked of whoever serves the shards; it is repeated only where nothing was done. Refuses to know what a
split is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from google.protobuf.struct_pb2 import Struct

from perdure.base.clock import SECOND_NS
from perdure.base.errors import FailedPrecondition, HostUnreachable, NotFound, PerdureError, ShardElsewhere, Unavailable
from perdure.base.slots import SLOTS
from perdure.cluster.members import Member, Role, View
from perdure.cluster.operations import Operations
from perdure.cluster.roles import Call
from perdure.cluster.shard_host import ShardHost, ShardState, ShardView
from perdure.frontend.admin_fields import reply_of, seconds_of, text_of, texts_of, time_text, whole_of
from perdure.frontend.methods import Scope, rpc
from perdure.frontend.services import Services
from perdure.store.contract import ShardMap

ASK_S = 3.0
MERGED_MAX = 64
# How long a change of shards may take, for a caller without a deadline; less than that of one with a deadline.
_CHANGE_S = 30.0
_MARGIN = 0.8
_LOOK_S = 0.2
T = TypeVar("T")


class Told:
    """What a host says of its shards: `views`, or `error` if it doesn't."""

    def __init__(self, host: str, views: Sequence[ShardView] = (), error: str = "") -> None:
        self.host = host
        self.views = {view.shard: view for view in views}
        self.error = error


async def ask_hosts(operations: Operations) -> list[Told]:
    """What all history hosts say, side by side; in bounded time, and none raises."""
    hosts = [member.host for member in operations.view.members if Role.HISTORY in member.addresses]
    return list(await asyncio.gather(*(ask_host(operations, host) for host in hosts)))


async def ask_host(operations: Operations, host: str) -> Told:
    """What one of them says."""
    try:
        async with asyncio.timeout(ASK_S):
            return Told(host, await operations.shard_host(host).list_shards())
    except TimeoutError:
        return Told(host, error=f"no answer within {ASK_S:g} s")
    except PerdureError as error:
        return Told(host, error=error.message)


def standing_map(operations: Operations) -> ShardMap:
    """The map of shards. Raises Unavailable while it is not known."""
    if operations.shard_map is None:
        raise Unavailable("The map of shards is not known here yet.")
    return operations.shard_map


def named(view: View, host: str) -> str:
    """A host for people: what it is called, and its id."""
    member = view.member(host)
    return f"{member.name} ({host})" if member is not None and member.name else host


class ShardCalls:
    """The RPCs about hosts and shards."""

    def __init__(self, services: Services, operations: Operations) -> None:
        self._clock = services.clock
        self._operations = operations

    @rpc(Struct, Scope.NONE)
    async def Ring(self, _request: Struct, _call: Call) -> Struct:
        await self._operations.refresh()
        view, suspects, now_ns = self._operations.view, self._operations.suspects, self._clock.now_ns()
        members = [
            {
                "host": member.host,
                "name": member.name,
                "roles": sorted(member.addresses),
                "addresses": dict(member.addresses),
                "state": str(member.state),
                "release": member.release,
                "formats": member.formats,
                "started": time_text(member.started_ns),
                "age_s": seconds_of(max(0, now_ns - member.started_ns)) if member.started_ns else 0,
                "tls": member.tls,
                "suspect": member.host in suspects,
                "self": member.host == self._operations.host,
            }
            for member in view.members
        ]
        return reply_of({"version": view.version, "members": members, "pins": dict(view.pins)})

    @rpc(Struct, Scope.NONE)
    async def ListShards(self, _request: Struct, _call: Call) -> Struct:
        await self._operations.refresh()
        told = await ask_hosts(self._operations)
        return reply_of(listing(self._operations, told))

    @rpc(Struct, Scope.NONE)
    async def SplitShard(self, request: Struct, call: Call) -> Struct:
        shard, parts = text_of(request, "shard"), whole_of(request, "parts", 2)
        until = _deadline(call)
        await self._operations.refresh()
        self._check_named([shard])
        created = await self._on_owner(shard, lambda host: host.split(shard, parts), until)
        await self._unpin([shard])
        return reply_of({"retired": [shard], "created": list(created)})

    @rpc(Struct, Scope.NONE)
    async def MergeShards(self, request: Struct, call: Call) -> Struct:
        """Those of other hosts are moved to that of the first one before."""
        shards, until = texts_of(request, "shards", MERGED_MAX), _deadline(call)
        await self._operations.refresh()
        self._check_named(shards)
        home = self._operations.owner_of_shard(shards[0])
        away = [shard for shard in shards if self._operations.owner_of_shard(shard) != home]
        if away:
            # The first one too: a member that joins must not take it away from the others.
            await self._operations.pin(dict.fromkeys(shards, home))
        try:
            if away and not await self._serves(home, shards, until):
                raise Unavailable("The shards have not all come to one host in time; ask again.")
            created = await self._on_owner(shards[0], lambda host: host.merge(shards), until)
        finally:
            if away:
                await self._unpin(shards)
        return reply_of({"retired": shards, "created": [created]})

    @rpc(Struct, Scope.NONE)
    async def MoveShard(self, request: Struct, call: Call) -> Struct:
        shard, wanted = text_of(request, "shard"), text_of(request, "host", needed=False)
        until = _deadline(call)
        await self._operations.refresh()
        self._check_named([shard])
        view = await self._operations.pin({shard: self._host(wanted).host if wanted else ""})
        host = self._operations.owner_of_shard(shard)
        served = await self._serves(host, [shard], until)
        return reply_of({"shard": shard, "host": host, "served": served, "version": view.version})

    # ---------------------------------------------------------------------------------------------------- inside

    def _check_named(self, shards: Sequence[str]) -> None:
        there = {shard for _, shard in standing_map(self._operations).shards}
        for shard in shards:
            if shard not in there:
                raise NotFound(f"There is no shard {shard}: see `perdure admin shard list`.")

    def _host(self, wanted: str) -> Member:
        """A serving history host by its id or, if only one is called so, by its name."""
        serving = set(self._operations.view.serving(Role.HISTORY))
        found = [member for member in self._operations.view.members if wanted in (member.host, member.name)]
        if not found:
            raise NotFound(f"There is no host {wanted}: see `perdure admin ring`.")
        able = [member for member in found if member.host in serving]
        if not able:
            raise FailedPrecondition(f"{wanted} is no history host that serves.")
        if len(able) > 1:
            raise FailedPrecondition(f"{len(able)} history hosts are called {wanted}: expected the id of one.")
        return able[0]

    async def _on_owner(self, shard: str, act: Callable[[ShardHost], Awaitable[T]], until: float) -> T:
        """`act` on whoever serves the shard; again, as long as nothing was done and there is time."""
        hint = ""
        while True:
            host = hint or self._operations.owner_of_shard(shard)
            try:
                if not host:
                    raise ShardElsewhere("No history host is known that has the shard.")
                async with asyncio.timeout_at(until):
                    return await act(self._operations.shard_host(host))
            except TimeoutError:
                raise Unavailable("It is not known yet what became of it: see `perdure admin shard list`.") from None
            except (ShardElsewhere, HostUnreachable) as error:
                if asyncio.get_running_loop().time() + _LOOK_S >= until:
                    raise
                hint = error.host if isinstance(error, ShardElsewhere) and error.host != host else ""
            await asyncio.sleep(_LOOK_S)
            await self._operations.refresh()
            self._check_named([shard])

    async def _unpin(self, shards: Sequence[str]) -> None:
        """What is retired needs no pin. One that stays does no harm."""
        pinned = [shard for shard in shards if shard in self._operations.view.pins]
        if pinned:
            await self._operations.pin(dict.fromkeys(pinned, ""))

    async def _serves(self, host: str, shards: Sequence[str], until: float) -> bool:
        """Wait until the host says that it serves them all; whether it did so in time."""
        while True:
            views = (await ask_host(self._operations, host)).views
            if all(shard in views and views[shard].state is ShardState.SERVING for shard in shards):
                return True
            if asyncio.get_running_loop().time() + _LOOK_S >= until:
                return False
            await asyncio.sleep(_LOOK_S)


def listing(operations: Operations, told: Sequence[Told]) -> dict[str, Any]:
    """The map, and for each shard who should have it and what the hosts that have to do with it say."""
    shard_map, view = standing_map(operations), operations.view
    firsts = [first for first, _ in shard_map.shards]
    ends = [*firsts[1:], SLOTS]
    hosts = [
        {"host": each.host, "name": _name(view, each.host), "answers": not each.error, "error": each.error}
        for each in told
    ]
    shards = []
    for (first, shard), end in zip(shard_map.shards, ends, strict=True):
        owner = operations.owner_of_shard(shard)
        entry: dict[str, Any] = {
            "shard": shard,
            "first_slot": first,
            "end_slot": end,
            "owner": owner,
            "owner_name": _name(view, owner),
        }
        entry["pinned"] = shard in view.pins
        entry["hosts"] = [_said(each.host, each.views[shard]) for each in told if shard in each.views]
        entry["state"] = state_of(entry["hosts"], next((each.error for each in told if each.host == owner), ""))
        shards.append(entry)
    return {"version": shard_map.version, "view": view.version, "shards": shards, "hosts": hosts}


def state_of(said: Sequence[dict[str, Any]], error: str) -> str:
    """What becomes of calls to a shard, in a word: by whoever is closest to serving it."""
    states = {str(each["state"]) for each in said}
    for state in (ShardState.SERVING, ShardState.LEAVING, ShardState.STUCK, ShardState.TAKING):
        if state.value in states:
            return state.value
    return "unreachable" if error else "nowhere"


def _said(host: str, view: ShardView) -> dict[str, Any]:
    return {
        "host": host,
        "state": str(view.state),
        "epoch": view.epoch,
        "wanted": view.is_wanted,
        "tail_bytes": view.tail_bytes,
        "dirty_bytes": view.dirty_bytes,
        "reason": view.reason,
    }


def _name(view: View, host: str) -> str:
    member = view.member(host)
    return member.name if member is not None else ""


def _deadline(call: Call) -> float:
    """When an answer has to be on its way, by the loop's clock."""
    longest = min(_CHANGE_S, call.timeout_ns / SECOND_NS * _MARGIN) if call.timeout_ns else _CHANGE_S
    return asyncio.get_running_loop().time() + longest
