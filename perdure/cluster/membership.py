"""Membership of this process: the view that it has, and its own place in it.

Invariant: a view is replaced only by a newer one. Refuses to know what roles do with it.
"""

from collections.abc import Callable
from typing import Protocol

from perdure.cluster.members import Member, MemberState, View

Unsubscribe = Callable[[], None]


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

    async def leave(self) -> None:
        """Nobody has to know."""
