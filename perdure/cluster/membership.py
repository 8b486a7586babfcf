"""Membership of this process: the view that it has, its own place in it, and the removal of who is dead.

Invariants: a view is replaced only by a newer one. A member stands under the id of a lease; who has lost its lease
joins anew under the next one, and one that others have removed comes back only if it has renewed its lease since. A
change is made on what is stored, so that one of unknown outcome may be made twice. Refuses to know what roles do with
a view.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import msgspec
import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.entropy import Entropy
from perdure.base.errors import PerdureError, Unavailable
from perdure.base.tasks import Background
from perdure.cluster.attempts import attempt_within, pause_s
from perdure.cluster.lease import Lease
from perdure.cluster.members import KEY, KIND, Member, MemberState, View, from_document, to_document
from perdure.cluster.watching import Watching, WatchOptions, neighbours
from perdure.store.contract import Documents, LeaseStore, OutcomeUnknown

Unsubscribe = Callable[[], None]
Change = Callable[[View], View]

log = structlog.get_logger(__name__)


class MembershipOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. The members are read each `read_s`, more or less by chance; a call of the store may take `call_s`. A
    change is tried `attempts` times. A host that was suspected is let in again after `suspect_s`. What was
    read in the last `fresh_s` is news.
    """

    read_s: float = 1.0
    call_s: float = 1.5
    attempts: int = 12
    retry_first_s: float = 0.02
    retry_max_s: float = 1.0
    suspect_s: float = 5.0
    fresh_s: float = 0.05
    watch: WatchOptions = WatchOptions()


class Watched(Protocol):
    """What directories and roles see of the membership."""

    @property
    def host(self) -> str:
        """The id of this process in the view; "" while it has none."""
        ...

    @property
    def view(self) -> View:
        """The newest view that is known here."""
        ...

    @property
    def suspects(self) -> frozenset[str]:
        """Hosts that this process can't reach just now: left out of its rings for new calls, and no more than that."""
        ...

    def subscribe(self, changed: Callable[[View], None]) -> Unsubscribe:
        """Call `changed` with each new view, and when `suspects` changed; it must not raise and not wait."""
        ...

    def suspect(self, host: str) -> None:
        """A connection to this host was refused: leave it out for a while, and watch its lease."""
        ...

    async def refresh(self, version: int = 0) -> View:
        """Read the members again, unless the view is as new as `version`; callers at the same time share a read.
        Without an answer in time it is the view as it is: doesn't raise.
        """
        ...


class SoleMembership:
    """The membership of a process that has its store for itself: no document, one view."""

    host = "sole"
    suspects: frozenset[str] = frozenset()

    def __init__(self, roles: tuple[str, ...] = ("frontend", "history", "matching")) -> None:
        self.view = View(0, (Member(self.host, dict.fromkeys(roles, ""), MemberState.SERVING),))

    def subscribe(self, changed: Callable[[View], None]) -> Unsubscribe:
        return lambda: None

    def suspect(self, host: str) -> None:
        """Nobody else is there."""

    async def refresh(self, version: int = 0) -> View:
        return self.view

    async def join(self, member: Member) -> None:
        """It is there."""

    async def serving(self) -> None:
        """It is, from the start."""

    async def leaving(self) -> None:
        """Nobody has to know."""

    async def leave(self) -> None:
        """Nobody has to know."""


class Membership:
    """The membership of a process on a shared store. The lease is begun by `join`, and stays until its owner ends it,
    after `leave`.
    """

    def __init__(
        self,
        documents: Documents,
        leases: LeaseStore,
        lease: Lease,
        clock: Clock,
        entropy: Entropy,
        options: MembershipOptions | None = None,
    ) -> None:
        self._documents = documents
        self._lease = lease
        self._clock = clock
        self._entropy = entropy
        self._options = options or MembershipOptions()
        self._watching = Watching(leases, clock, self._options.watch)
        self._background = Background(_failed)
        self._subscribers: dict[object, Callable[[View], None]] = {}
        self._suspected: dict[str, int] = {}  # host -> until when
        self._self: Member | None = None
        # Own ids that are in the view: the present one, and those of leases that were lost.
        self._placed: dict[str, None] = {}
        self._missed_at: int | None = None  # the lease's version when this host was found to be removed
        self._reading: asyncio.Task[None] | None = None
        self._read_ns = -SECOND_NS  # when the last read that went well was sent
        self._look_now = asyncio.Event()
        self.view = View()
        self.suspects: frozenset[str] = frozenset()
        lease.add_holder(self)

    @property
    def host(self) -> str:
        """See `Watched.host`."""
        host = self._lease.host
        # Whoever hears of the first view that has it has to find it here; others may remove it for a while.
        return host if host in self._placed or self.view.member(host) is not None else ""

    def subscribe(self, changed: Callable[[View], None]) -> Unsubscribe:
        """See `Watched.subscribe`."""
        token = object()
        self._subscribers[token] = changed

        def unsubscribe() -> None:
            self._subscribers.pop(token, None)

        return unsubscribe

    def suspect(self, host: str) -> None:
        """See `Watched.suspect`."""
        if host in ("", self._lease.host) or self.view.member(host) is None:
            return
        self._suspected[host] = self._clock.monotonic_ns() + int(self._options.suspect_s * SECOND_NS)
        self._look_now.set()
        self._review_suspects()

    async def join(self, member: Member) -> None:
        """Become a member, whose `host` is that of the lease. Returns when the others can see it. Raises Unavailable,
        and nothing has begun then.
        """
        await self._lease.begin()
        self._self = member
        try:
            await self._keep_place()
        except BaseException:
            self._self = None
            raise
        self._background.spawn(self._keep_reading(), "members")
        self._background.spawn(self._keep_watching(), "neighbours")

    async def serving(self) -> None:
        """Let the rings have this host; as soon as the store takes it, if that can't be now."""
        await self._become(MemberState.SERVING)

    async def leaving(self) -> None:
        """Let the rings have this host no more; it is still there. As soon as the store takes it; returns in bounded
        time.
        """
        try:
            async with asyncio.timeout(self._options.watch.lease_s):
                await self._become(MemberState.LEAVING)
        except TimeoutError:
            log.warning("the members can't be told yet that this host leaves")

    async def leave(self) -> None:
        """Be no member any more; returns in bounded time. The lease stays."""
        self._self = None
        await self._background.close()
        gone = {self._lease.host, *self._placed}
        try:
            async with asyncio.timeout(self._options.watch.lease_s):
                await self.change(lambda view: view.without(*gone))
        except (TimeoutError, PerdureError) as error:
            log.warning("left without notice", error=str(error))
        self._placed.clear()

    async def change(self, change: Change) -> View:
        """Write the members as `change` makes them, which must have the same result if it is made twice; the view
        then. Raises Unavailable after several others came between, and what `change` raises.
        """
        attempt = 1
        while True:
            try:
                view = self._adopt(await attempt_within(self._options.call_s, self._read_view))
                wanted = change(view)
                if wanted == view:
                    return view
                wanted = msgspec.structs.replace(wanted, version=view.version + 1)
                if await self._write(wanted):
                    return self._adopt(wanted)
                error: Unavailable = Unavailable("The members are changed by many others now.")
            except OutcomeUnknown as unknown:
                error = unknown
            if attempt >= self._options.attempts:
                raise error
            await asyncio.sleep(self._pause_s(attempt))
            attempt += 1

    async def refresh(self, version: int = 0) -> View:
        """See `Watched.refresh`."""
        age_ns = self._clock.monotonic_ns() - self._read_ns
        if 0 < version <= self.view.version or (not version and age_ns < self._options.fresh_s * SECOND_NS):
            return self.view
        if self._reading is None or self._reading.done():
            self._reading = self._background.spawn(self._read(), "reading the members")
        await asyncio.wait([self._reading])
        return self.view

    def revoked(self, epochs: Mapping[str, int]) -> None:
        """`perdure.cluster.lease.Holder`: shards are others' business."""

    def evicted(self) -> None:
        """`perdure.cluster.lease.Holder`: the next round joins anew, when there is a lease again."""
        self._missed_at = None
        self._look_now.set()

    async def _become(self, state: MemberState) -> None:
        if self._self is None:
            return
        self._self = msgspec.structs.replace(self._self, state=state)
        await self._try(self._keep_place)

    async def _keep_place(self) -> None:
        """See to it that this host is in the members as it should be. Raises Unavailable."""
        host, member = self._lease.host, self._self
        if not host or member is None or not self._may_stand(host):
            return
        wanted = msgspec.structs.replace(member, host=host)
        former = [other for other in self._placed if other != host]
        if self.view.member(host) != wanted or any(self.view.member(other) is not None for other in former):
            await self.change(lambda view: view.without(*former).with_member(wanted))
            log.info("stands in the members", host=host, state=str(wanted.state), version=self.view.version)
        for other in former:
            self._placed.pop(other, None)
        self._placed[host] = None

    def _may_stand(self, host: str) -> bool:
        """Whether this host isn't dead in others' eyes."""
        if host not in self._placed or self.view.member(host) is not None:
            self._missed_at = None
            return True
        if self._missed_at is None:
            self._missed_at = self._lease.version
            self._lease.hurry()
            return False
        return self._lease.version > self._missed_at

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(self._options.read_s * (0.75 + self._entropy.fraction() / 2))
            await self.refresh()
            await self._try(self._keep_place)
            self._review_suspects()

    async def _keep_watching(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._watching.pause_s * (0.9 + self._entropy.fraction() / 5)):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            await self._try(self._bury_dead)

    async def _bury_dead(self) -> None:
        """Look at the leases of neighbours and suspects; who is dead leaves the members. Raises Unavailable."""
        own = self._lease.host
        if not self.host or not self._lease.is_valid():
            return  # whoever can't renew its own lease doesn't judge others
        others = [member.host for member in self.view.members if member.host != own]
        watched = dict.fromkeys([*neighbours(others, own), *(host for host in others if host in self._suspected)])
        dead = await self._watching.look(list(watched))
        if dead:
            await self.change(lambda view: view.without(*dead))

    async def _try(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do it, or leave it to the next round."""
        try:
            await work()
        except PerdureError as error:
            log.warning("the members can't be changed yet", error=error.message)
        except Exception:
            # A defect here must not end what keeps this host in the cluster.
            log.exception("keeping the membership failed")

    async def _read(self) -> None:
        sent_ns = self._clock.monotonic_ns()
        try:
            self._adopt(await attempt_within(self._options.call_s, self._read_view))
            self._read_ns = sent_ns
        except PerdureError as error:
            log.debug("the members can't be read", error=error.message)

    async def _read_view(self) -> View:
        return from_document(await self._documents.read_document(KIND, KEY))

    async def _write(self, view: View) -> bool:
        return await attempt_within(self._options.call_s, lambda: self._documents.replace_document(to_document(view)))

    def _adopt(self, view: View) -> View:
        """Have `view` if it is newer; the view as read in any case, for it may be what a change has to be made on."""
        if view.version > self.view.version:
            self.view = view
            gone = [host for host in self._suspected if view.member(host) is None]
            for host in gone:
                del self._suspected[host]
            self.suspects = frozenset(self._suspected)
            self._tell()
        return view

    def _review_suspects(self) -> None:
        now_ns = self._clock.monotonic_ns()
        self._suspected = {host: until_ns for host, until_ns in self._suspected.items() if until_ns > now_ns}
        suspects = frozenset(self._suspected)
        if suspects != self.suspects:
            self.suspects = suspects
            self._tell()

    def _tell(self) -> None:
        for changed in list(self._subscribers.values()):
            changed(self.view)

    def _pause_s(self, attempt: int) -> float:
        return pause_s(self._entropy, attempt, self._options.retry_first_s, self._options.retry_max_s)


def _failed(error: BaseException) -> None:
    log.error("the membership failed", exc_info=error)
