"""The document of members: what is read is what was written, and what it refuses."""

import msgspec
import pytest

from perdure.base.errors import Bug, FailedPrecondition
from perdure.cluster.members import (
    MEMBERS_MAX,
    PINS_MAX,
    Member,
    MemberState,
    Role,
    View,
    from_document,
    to_document,
)
from perdure.store.contract import Document

FULL = Member("b", {"history": "h:7234"}, MemberState.LEAVING, "pod-1", "0.1.0", 3, 1_700_000_000_000_000_000)


def test_a_view_comes_back_as_it_was_written() -> None:
    view = View(5, (Member("a", {}), FULL), {"shard": "a"})
    document = to_document(view)
    assert (document.kind, document.key, document.version) == ("cluster", "members", 4)
    assert from_document(document) == view


def test_without_a_document_nobody_is_there_and_the_first_is_newer_than_that() -> None:
    assert from_document(None) == View()
    assert to_document(View(1)).version == 0


def test_a_document_of_a_newer_release_is_read() -> None:
    body = msgspec.msgpack.encode(
        {"version": 1, "members": [{"host": "a", "addresses": {"archive": "a:1"}, "state": "serving", "zone": "z"}]}
    )
    view = from_document(Document("cluster", "members", 8, body))
    assert view == View(9, (Member("a", {"archive": "a:1"}, MemberState.SERVING),))


def test_a_document_that_is_none_is_an_error_and_no_empty_cluster() -> None:
    with pytest.raises(Bug):
        from_document(Document("cluster", "members", 8, b"\xc1"))


def test_members_are_in_the_order_of_their_ids() -> None:
    view = View().with_member(FULL).with_member(Member("a", {})).with_member(Member("c", {}))
    assert [member.host for member in view.members] == ["a", "b", "c"]
    assert view.address("b", Role.HISTORY) == "h:7234"
    assert view.address("b", Role.MATCHING) == ""
    assert view.address("nobody", Role.HISTORY) == ""
    assert [member.host for member in view.without("b").members] == ["a", "c"]


def test_a_member_that_comes_again_replaces_what_was_said_of_it() -> None:
    view = View().with_member(FULL).with_member(msgspec.structs.replace(FULL, state=MemberState.SERVING))
    assert view.serving(Role.HISTORY) == ("b",)
    assert len(view.members) == 1


def test_members_and_pins_are_bounded() -> None:
    view = View(1, tuple(Member(f"{number:04}", {}) for number in range(MEMBERS_MAX)))
    with pytest.raises(FailedPrecondition, match="at most 500 members"):
        view.with_member(Member("one more", {}))
    assert view.with_member(Member("0000", {"history": "h"})).address("0000", Role.HISTORY) == "h"
    pinned = msgspec.structs.replace(view, pins={str(shard): "0000" for shard in range(PINS_MAX)})
    with pytest.raises(FailedPrecondition, match="at most 4096 pins"):
        pinned.with_pin("one more", "0000")
    assert len(pinned.with_pin("0", "").pins) == PINS_MAX - 1


def test_a_pin_to_a_host_that_is_gone_makes_room_for_another() -> None:
    view = View(1, (FULL,), {"x": "b", "y": "gone"})
    assert view.with_pin("z", "b").pins == {"x": "b", "z": "b"}
