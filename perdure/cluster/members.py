"""Who is in the cluster: the document `cluster`/`members`, as values.

Invariant: a host's id is never used again, so that a member that is gone stays gone. A document that can't be read is
an error, never an empty cluster. Bounded: `MEMBERS_MAX` hosts, `PINS_MAX` pins. Pure; refuses to know who is alive.
"""

from enum import StrEnum

import msgspec

from perdure.base.errors import Bug, FailedPrecondition
from perdure.store.contract import Document

KIND = "cluster"
KEY = "members"
MEMBERS_MAX = 500
PINS_MAX = 4_096
# A view of version 0 is of nobody, or of a store that one process has. So the document's first version is told apart.
_FIRST = 1


class Role(StrEnum):
    """What a host may serve."""

    FRONTEND = "frontend"
    HISTORY = "history"
    MATCHING = "matching"


class MemberState(StrEnum):
    """Only a serving member is in the rings. A leaving one still answers, and hands over what it has."""

    JOINING = "joining"
    SERVING = "serving"
    LEAVING = "leaving"


class Member(msgspec.Struct, frozen=True):
    """A host. `host`: the id of its lease. `addresses`: role -> "ip:port" at which other hosts reach it. `name`: for
    people, a host's or pod's name. `formats`: the newest stored format that it reads. `tls`: what it takes from other
    hosts is TLS.
    """

    host: str
    addresses: dict[str, str]
    state: MemberState = MemberState.JOINING
    name: str = ""
    release: str = ""
    formats: int = 0
    started_ns: int = 0
    tls: bool = False


class View(msgspec.Struct, frozen=True):
    """Who is there, by id. `version` numbers the views: a higher one is newer, 0 is nobody's. `pins`: shard id -> host
    that an operator has moved it to.
    """

    version: int = 0
    members: tuple[Member, ...] = ()
    pins: dict[str, str] = {}

    def member(self, host: str) -> Member | None:
        """The member of this id."""
        return next((member for member in self.members if member.host == host), None)

    def address(self, host: str, role: Role) -> str:
        """Where a host's role is reached; "" if it isn't."""
        member = self.member(host)
        return member.addresses.get(role, "") if member is not None else ""

    def addresses(self) -> frozenset[str]:
        """At which any member is reached."""
        return frozenset(address for member in self.members for address in member.addresses.values())

    def plain_addresses(self) -> frozenset[str]:
        """At which a member is reached in plain text, by what it says of itself; the newest one at an address."""
        takes_tls = {
            address: member.tls
            for member in sorted(self.members, key=lambda member: member.started_ns)
            for address in member.addresses.values()
        }
        return frozenset(address for address, tls in takes_tls.items() if not tls)

    def serving(self, role: Role) -> tuple[str, ...]:
        """The hosts that a ring of this role has, by id."""
        return tuple(
            member.host for member in self.members if member.state is MemberState.SERVING and role in member.addresses
        )

    def with_member(self, member: Member) -> "View":
        """This view with a member added or replaced. Raises FailedPrecondition if there are too many."""
        others = {other.host: other for other in self.members} | {member.host: member}
        if len(others) > MEMBERS_MAX:
            raise FailedPrecondition(f"A cluster has at most {MEMBERS_MAX} members.")
        return msgspec.structs.replace(self, members=tuple(others[host] for host in sorted(others)))

    def without(self, *hosts: str) -> "View":
        """This view less some members. Pins to them stay: they mean nothing while their host isn't there."""
        return msgspec.structs.replace(
            self, members=tuple(member for member in self.members if member.host not in hosts)
        )

    def with_pin(self, shard: str, host: str) -> "View":
        """This view with a shard pinned to a host; "" takes the pin away. Pins to hosts that are gone are dropped.
        Raises FailedPrecondition if there are too many.
        """
        there = {member.host for member in self.members}
        pins = {at: to for at, to in self.pins.items() if to in there and at != shard}
        if host:
            pins[shard] = host
        if len(pins) > PINS_MAX:
            raise FailedPrecondition(f"A cluster has at most {PINS_MAX} pins.")
        return msgspec.structs.replace(self, pins=pins)


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(View)


def to_document(view: View) -> Document:
    """The document that makes `view` the stored one, if that of the version before is."""
    return Document(KIND, KEY, view.version - _FIRST, _encoder.encode(view))


def from_document(document: Document | None) -> View:
    """The view that is stored; one of version 0 if nobody ever joined. Raises Bug if it can't be read."""
    if document is None:
        return View()
    try:
        view = _decoder.decode(document.body)
    except msgspec.MsgspecError as error:
        raise Bug(f"The document of members can't be read: {error}") from error
    return msgspec.structs.replace(view, version=document.version + _FIRST)
