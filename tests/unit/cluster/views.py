"""A membership that the test decides: what is known here, and what the store would say."""

from collections.abc import Callable

from perdure.cluster.members import Member, MemberState, View

SERVING = MemberState.SERVING


def view(version: int, *hosts: str, pins: dict[str, str] | None = None) -> View:
    """These hosts serve history and matching, at their own names."""
    members = (Member(host, {"history": f"{host}:h", "matching": f"{host}:m"}, SERVING) for host in hosts)
    return View(version, tuple(members), pins or {})


class FakeMembership:
    """`perdure.cluster.membership.Watched`. `stored`: what a refresh finds."""

    def __init__(self, host: str, known: View) -> None:
        self.host = host
        self.view = known
        self.stored: View | None = None
        self.suspects: frozenset[str] = frozenset()
        self.refreshed: list[int] = []
        self._subscribers: list[Callable[[View], None]] = []

    def subscribe(self, changed: Callable[[View], None]) -> Callable[[], None]:
        self._subscribers.append(changed)
        return lambda: self._subscribers.remove(changed)

    def set(self, known: View) -> None:
        """This is the view from now on."""
        self.view = known
        for changed in self._subscribers:
            changed(known)

    def suspect(self, host: str) -> None:
        self.suspects |= {host}
        self.set(self.view)

    def trust(self) -> None:
        """Nobody is suspected any more."""
        self.suspects = frozenset()
        self.set(self.view)

    async def refresh(self, version: int = 0) -> View:
        self.refreshed.append(version)
        if self.stored is not None and self.stored.version > self.view.version:
            self.set(self.stored)
        return self.view
