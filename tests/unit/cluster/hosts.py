"""Hosts of a shared store with nothing but a lease and a membership, which can be cut off and stopped."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context, ContextVar
from typing import Any

from perdure.cluster.lease import Lease, LeaseOptions
from perdure.cluster.members import Member, Role, View, from_document
from perdure.cluster.membership import Membership, MembershipOptions
from perdure.store.memory import MemoryStore
from perdure.testing.faulty_store import FaultyStore
from perdure.testing.loop import VirtualClock, run_virtual, running_loop
from perdure.testing.store_faults import Faults

LEASES = LeaseOptions()
_STORE: ContextVar["Store | None"] = ContextVar("store", default=None)
_HOST: ContextVar["Host | None"] = ContextVar("host", default=None)


def _held(context: Context) -> "list[asyncio.Handle] | None":
    host = context.get(_HOST)
    return host.held if host is not None else None


def virtual(work: Coroutine[Any, Any, None]) -> None:
    """Run it on virtual time; whoever is stopped at the end goes on, to be ended."""

    async def whole() -> None:
        try:
            await work
        finally:
            store = _STORE.get()
            for host in store.made if store is not None else ():
                host.go_on()

    run_virtual(whole())


class Store:
    """The store that all hosts share, and its faults."""

    def __init__(self) -> None:
        loop = running_loop()
        loop.holds = _held
        self.inner = MemoryStore(VirtualClock(loop), is_shared=True)
        self.faults = Faults(loop.entropy.fork("faults"))
        self.made: list[Host] = []
        _STORE.set(self)

    async def view(self) -> View:
        """What is stored."""
        return from_document(await self.inner.documents.read_document("cluster", "members"))

    async def hosts(self) -> list[str]:
        """Who is stored, by id."""
        return [member.host for member in (await self.view()).members]


class Host:
    """One process. `held`: what would run if it weren't stopped."""

    def __init__(self, store: Store, name: str, options: MembershipOptions | None = None) -> None:
        loop = running_loop()
        entropy = loop.entropy.fork(name)
        self.name = name
        store.made.append(self)
        self.store = FaultyStore(store.inner, store.faults, name)
        clock = VirtualClock(loop)
        self.lease = Lease(self.store.leases, clock, entropy, LEASES)
        self.membership = Membership(self.store.documents, self.store.leases, self.lease, clock, entropy, options)
        self.held: list[asyncio.Handle] | None = None
        self.views: list[View] = []
        self.known_as: list[str] = []  # its own id, at each view
        self.membership.subscribe(self._changed)

    def _changed(self, view: View) -> None:
        self.views.append(view)
        self.known_as.append(self.host)

    @property
    def host(self) -> str:
        return self.membership.host

    def member(self) -> Member:
        return Member("", dict.fromkeys(Role, f"{self.name}:1"), name=self.name)

    async def start(self) -> "Host":
        """Join, and serve."""
        _HOST.set(self)
        try:
            await self.membership.join(self.member())
            await self.membership.serving()
        finally:
            _HOST.set(None)
        return self

    async def end(self) -> None:
        await self.membership.leave()
        await self.lease.end()

    def kill(self) -> None:
        """From now on nothing of it runs."""
        self.held = []

    def go_on(self) -> None:
        """It was only stopped."""
        held, self.held = self.held, None
        running_loop().go_on(held or [])

    def knows(self) -> list[str]:
        """Whom it knows."""
        return [member.host for member in self.membership.view.members]
