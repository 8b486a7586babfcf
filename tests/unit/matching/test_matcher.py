from perdure.matching.bounds import Bounds, Room
from perdure.matching.matcher import Held, Matcher, Place
from perdure.workflow.tasks import Offer
from tests.unit.matching.fakes import figures, offer

Partition = Matcher[Offer, str, str]


def partition(references_max: int = 10, room: Room | None = None, **bounds: int) -> Partition:
    return Matcher(Bounds(references_max=references_max, **bounds), room or Room())


def names(pairs: list[tuple[str, Held[Offer] | str]]) -> list[str]:
    return [work.reference.key.workflow_id if isinstance(work, Held) else work for _, work in pairs]


def drain(matcher: Partition, count: int) -> list[str]:
    found = []
    for n in range(count):
        matcher.join(f"drain-{n}")
        pairs = matcher.match(100)
        found += names(pairs)
        for _, work in pairs:
            assert isinstance(work, Held)
            matcher.finish(work)
    for n in range(count):
        matcher.leave(f"drain-{n}")
    return found


def one(matcher: Partition) -> Held[Offer]:
    matcher.join("one")
    ((_, held),) = matcher.match(1)
    assert isinstance(held, Held)
    return held


def test_pollers_are_served_in_order_of_arrival_and_one_that_got_nothing_goes_first() -> None:
    matcher = partition()
    for name in ("a", "b", "c"):
        matcher.join(name)
    matcher.leave("b")
    matcher.add("s1", [offer(1)], 1)
    ((poller, held),) = matcher.match(9)
    assert poller == "a"
    assert isinstance(held, Held)
    matcher.finish(held)
    matcher.rejoin("a")
    matcher.add("s1", [offer(2), offer(3)], 1)
    assert [poller for poller, _ in matcher.match(9)] == ["a", "c"]


def test_the_best_reference_goes_first() -> None:
    matcher = partition()
    assert matcher.add("s1", [offer(1), offer(5)], 1) == 2
    assert matcher.add("s2", [offer(9, priority=1), offer(2, priority=5)], 1) == 2
    assert drain(matcher, 5) == ["wf-9", "wf-1", "wf-5", "wf-2"]


def test_calls_go_before_references_and_are_not_rationed() -> None:
    matcher = partition()
    matcher.add("s1", [offer(1)], 1)
    matcher.call("q1")
    matcher.call("q2")
    matcher.call("q3")
    matcher.drop_call("q2")
    for name in ("a", "b", "c"):
        matcher.join(name)
    assert names(matcher.match(0)) == ["q1", "q3"]
    assert matcher.is_starving
    matcher.recall("q1")
    assert names(matcher.match(1)) == ["q1"]


def test_what_is_held_is_taken_again_without_a_trace() -> None:
    matcher = partition()
    matcher.add("s1", [offer(1)], 1)
    held = one(matcher)
    assert matcher.add("s1", [offer(1), offer(2)], 1) == 2
    assert (len(matcher), matcher.added) == (2, 2)
    matcher.finish(held)
    assert drain(matcher, 2) == ["wf-2"]


def test_a_full_partition_refuses_what_is_worse_and_evicts_for_what_is_better() -> None:
    matcher = partition(references_max=2)
    assert matcher.add("s1", [offer(1), offer(2), offer(3)], 1) == 2
    assert matcher.add("s2", [offer(4, priority=1), offer(5)], 1) == 1
    assert drain(matcher, 1) == ["wf-4"]
    assert drain(matcher, 1) == ["wf-1"]
    assert drain(matcher, 1) == [], "wf-2 was evicted: it must be pulled"
    assert [(pull.shard, pull.after) for pull in matcher.wanted()] == [("s1", None), ("s2", None)]


def test_what_is_behind_a_shards_first_ones_is_pulled_if_it_has_more_than_is_held() -> None:
    matcher = partition(page=2)
    matcher.report(figures(3))
    assert matcher.add("s1", [offer(1), offer(2)], 1, more=True) == 2
    assert drain(matcher, 3) == ["wf-1", "wf-2"]
    assert [(pull.shard, pull.after) for pull in matcher.wanted()] == [("s1", None)]
    matcher.pulled("s1", [offer(3)], 1, end=True)
    matcher.report(figures(3))
    assert matcher.add("s1", [offer(3), offer(4), offer(5)], 1, more=True) == 3, "it holds all there are"
    assert matcher.wanted() == []
    assert drain(matcher, 3) == ["wf-3", "wf-4", "wf-5"]


def test_a_shard_that_holds_more_is_pulled_from_and_goes_on_where_it_was() -> None:
    matcher = partition(references_max=4, page=2)
    assert matcher.add("s1", [offer(n) for n in range(1, 9)], 1) == 4
    assert matcher.wanted() == []
    assert drain(matcher, 3) == ["wf-1", "wf-2", "wf-3"]
    assert matcher.wanted() == [], "the low water is one reference"
    assert drain(matcher, 1) == ["wf-4"]
    (pull,) = matcher.wanted()
    assert (pull.after, pull.limit) == (None, 2)
    assert matcher.wanted() == [], "one pull of a shard at a time"
    matcher.pulled("s1", [offer(5), offer(6)], 1, end=False)
    assert drain(matcher, 2) == ["wf-5", "wf-6"]
    (pull,) = matcher.wanted()
    assert pull.after == offer(6)
    matcher.pulled("s1", [offer(7)], 1, end=True)
    assert drain(matcher, 2) == ["wf-7"]
    assert matcher.wanted() == []


def test_nothing_is_handed_out_past_what_a_shard_may_still_have() -> None:
    matcher = partition(references_max=2)
    matcher.add("s1", [offer(1), offer(2), offer(3)], 1)
    assert drain(matcher, 2) == ["wf-1", "wf-2"]
    matcher.add("s2", [offer(4)], 1)
    assert drain(matcher, 1) == [], "wf-3 is better, and not here"
    matcher.wanted()
    matcher.pulled("s1", [offer(3)], 1, end=True)
    assert drain(matcher, 2) == ["wf-3", "wf-4"]


def test_what_ends_while_a_page_is_on_its_way_does_not_come_back_with_it() -> None:
    matcher = partition(references_max=1)
    matcher.add("s1", [offer(1), offer(2), offer(3)], 1)
    held = one(matcher)
    matcher.finish(held)
    matcher.wanted()
    matcher.withdraw("s1", [offer(2)])
    matcher.pulled("s1", [offer(2), offer(3)], 1, end=True)
    assert drain(matcher, 2) == ["wf-3"]


def test_what_comes_while_a_page_is_on_its_way_is_not_forgotten() -> None:
    matcher = partition(references_max=2, late_max=0)
    matcher.add("s1", [offer(1), offer(2), offer(3)], 1)
    drain(matcher, 2)
    matcher.wanted()
    assert matcher.add("s1", [offer(4)], 1) == 0
    matcher.pulled("s1", [offer(3)], 1, end=True)
    assert drain(matcher, 1) == ["wf-3"]
    assert [pull.after for pull in matcher.wanted()] == [offer(3)]


def test_a_shard_that_does_not_answer_holds_nobody_up() -> None:
    matcher = partition(references_max=2)
    matcher.add("s1", [offer(1), offer(2), offer(3)], 1)
    drain(matcher, 2)
    matcher.add("s2", [offer(4)], 1)
    matcher.wanted()
    matcher.pull_failed("s1", gone=False)
    assert matcher.wanted() == []
    assert drain(matcher, 1) == ["wf-4"]
    matcher.resume_pulls("s1")
    assert [pull.shard for pull in matcher.wanted()] == ["s1"]
    matcher.pull_failed("s1", gone=True)
    matcher.resume_pulls("s1")
    assert matcher.wanted() == []
    assert matcher.is_idle


def test_one_withdrawn_while_it_is_started_is_dropped_when_that_fails() -> None:
    matcher = partition()
    matcher.add("s1", [offer(1), offer(2), offer(3)], 1)
    held = one(matcher)
    matcher.withdraw("s1", [offer(1), offer(2)])
    matcher.give_back(held)
    assert drain(matcher, 2) == ["wf-3"]
    matcher.add("s1", [offer(1)], 1)
    held = one(matcher)
    matcher.withdraw("s1", [offer(1)])
    assert not matcher.rest(held)
    assert len(matcher) == 0


def test_one_that_rests_is_passed_over_and_a_newer_owner_wakes_it() -> None:
    matcher = partition()
    matcher.add("s1", [offer(1), offer(2)], 1)
    matcher.report(figures(2, epoch=1))
    held = one(matcher)
    assert matcher.rest(held)
    assert drain(matcher, 1) == ["wf-2"]
    matcher.report(figures(1, epoch=2))
    assert held.place is Place.READY
    assert drain(matcher, 1) == ["wf-1"]


def test_a_shards_newest_epoch_says_how_much_waits() -> None:
    matcher = partition()
    matcher.report(figures(5, "s1", epoch=2, oldest_ns=70))
    matcher.report(figures(9, "s1", epoch=1, oldest_ns=10))
    matcher.report(figures(2, "s2", oldest_ns=50))
    assert matcher.backlog() == (7, 50)
    matcher.add("s2", [offer(1), offer(2)], 1)
    drain(matcher, 2)
    assert matcher.backlog() == (5, 70)
    matcher.forget_silent()
    matcher.report(figures(4, "s2"))
    matcher.forget_silent()
    assert matcher.backlog() == (4, 0), "a shard that says nothing any more may be no more"


def test_the_process_is_bounded_and_each_partition_keeps_its_minimum() -> None:
    room = Room(references_max=3)
    first = partition(room=room, references_min=1)
    second = partition(room=room, references_min=1)
    assert first.add("s1", [offer(n) for n in range(5)], 1) == 3
    assert second.add("s1", [offer(n) for n in range(5)], 1) == 1
    assert second.add("s1", [offer(0, priority=1)], 1) == 1, "in exchange for its own worst"
    assert second.wanted() == [], "there is no room for a page"
    first.clear()
    assert (room.references, room.bytes) == (1, 1)


def test_bytes_are_bounded_too() -> None:
    matcher = partition(bytes_max=100, references_min=1)
    assert matcher.add("s1", [offer(1), offer(2), offer(3)], 40) == 2


def test_what_a_split_shard_had_is_counted_once_and_belongs_to_who_tells_of_it() -> None:
    matcher = partition()
    matcher.report(figures(3, "parent", epoch=4))
    matcher.add("parent", [offer(1), offer(2), offer(3)], 1)
    matcher.report(figures(0, "parent", epoch=4))
    for child, references in (("left", [offer(1), offer(3)]), ("right", [offer(2)])):
        matcher.report(figures(len(references), child, epoch=5))
        assert matcher.add(child, references, 1) == len(references)
    assert matcher.backlog()[0] == 3
    assert drain(matcher, 3) == ["wf-1", "wf-2", "wf-3"]
    assert matcher.backlog()[0] == 0


def test_figures_of_a_split_shard_that_could_not_say_so_go_with_time() -> None:
    matcher = partition()
    matcher.report(figures(9, "parent"))
    matcher.add("parent", [offer(1), offer(2)], 1)
    for _ in range(3):
        matcher.forget_silent()
        matcher.report(figures(9, "child"))
        matcher.add("child", [offer(1), offer(2)], 1)
    assert matcher.backlog()[0] == 9
