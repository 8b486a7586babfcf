"""Whatever shards commit, withdraw and lose, and whenever pages arrive: the order is exact, and nothing is lost. With
fairness keys it is that of their turns, over all shards; while they don't count it is that of times.
"""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.matching.bounds import Bounds, Room
from perdure.matching.fairness import FIRST, Turn, next_turn, stride_of
from perdure.matching.matcher import Held, Matcher, Pull
from perdure.workflow.tasks import Offer, lane_of
from tests.unit.matching.fakes import offer

SHARDS = ("s1", "s2", "s3")
STEPS = (
    "commit",
    "commit_many",
    "withdraw",
    "poll",
    "finish",
    "give_back",
    "rest",
    "wake",
    "ask",
    "read",
    "deliver",
    "fail",
    "resume",
    "switch",
)


class Page(msgspec.Struct):
    pull: Pull[Offer]
    offers: list[Offer] | None = None
    end: bool = False


# Fairness keys and what they weigh.
WEIGHTS = {"": 1.0, "a": 1.0, "b": 3.0, "c": 0.1, "d": 2.5}


class Model:
    """Three shards and the partition that serves their tasks, of these fairness keys."""

    def __init__(self, room: Room, keys: int = 1, *, fair: bool = False) -> None:
        self.keys = list(WEIGHTS)[:keys]
        self.fair = fair
        self.hands: dict[int, Turn] = {}
        bounds = Bounds(references_max=4, references_min=1, page=2, pulls_max=2, late_max=1)
        self.matcher: Matcher[Offer, int, str] = Matcher(bounds, room, lambda task: task.fairness_weight)
        self.matcher.rank(fair=fair, gate=None)
        self.outstanding: dict[str, dict[Offer, None]] = {shard: {} for shard in SHARDS}
        self.started: list[Held[Offer]] = []
        self.resting: list[Held[Offer]] = []
        self.pages: list[Page] = []
        self.unreachable: set[tuple[str, str]] = set()  # shard, lane
        self.serial = 0
        self.pollers = 0

    def step(self, kind: str, choice: int) -> None:
        getattr(self, kind)(choice)
        self.check()

    def commit(self, choice: int, count: int = 1) -> None:
        shard = SHARDS[choice % 3]
        key = self.keys[choice // 9 % len(self.keys)]
        fresh = [
            offer(self.serial + n, priority=1 + choice // 3 % 3, key=key, weight=WEIGHTS[key]) for n in range(count)
        ]
        self.serial += count
        self.outstanding[shard].update(dict.fromkeys(fresh))
        accepted = self.matcher.add(shard, fresh, 1, fresh[0].queue.version)
        assert 0 <= accepted <= count

    def commit_many(self, choice: int) -> None:
        self.commit(choice, 4)

    def withdraw(self, choice: int) -> None:
        shard = SHARDS[choice % 3]
        offers = list(self.outstanding[shard])
        if offers:
            void = offers[choice % len(offers)]
            del self.outstanding[shard][void]
            self.matcher.withdraw(shard, [void], void.queue.version)

    def poll(self, choice: int) -> None:
        self.pollers += 1
        self.matcher.join(self.pollers)
        for _, held in self.matcher.match(100):
            assert isinstance(held, Held)
            self.check_order(held)
            self.started.append(held)

    def check_order(self, handed: Held[Offer]) -> None:
        busy = {held.order for held in [*self.started, *self.resting]}
        assert handed.order not in busy, "one reference went to two pollers"
        heads: dict[str, Offer] = {}
        for shard, offers in self.outstanding.items():
            for entry in offers:
                lane = entry.queue.version
                if entry.order not in busy and (shard, lane) not in self.unreachable:
                    heads[lane] = min(heads.get(lane, entry), entry, key=lambda each: each.order)
        rank = self.turn if self.fair else lambda entry: entry.order
        assert not heads or rank(handed.reference) <= min(map(rank, heads.values()))
        if self.fair and self.matcher.lanes > 1:
            priority, *turn = self.turn(handed.reference)
            self.hands[priority] = (turn[0], turn[1])

    def turn(self, entry: Offer) -> Any:
        """When it may go, were it its key's first."""
        hand = self.hands.get(entry.priority, FIRST)
        return entry.priority, *next_turn(hand, entry.queue.version, stride_of(entry.fairness_weight))

    def finish(self, choice: int) -> None:
        if self.started:
            held = self.started.pop(choice % len(self.started))
            self.outstanding[held.shard].pop(held.reference, None)
            self.matcher.finish(held)

    def give_back(self, choice: int) -> None:
        if self.started:
            self.matcher.give_back(self.started.pop(choice % len(self.started)))

    def rest(self, choice: int) -> None:
        if self.started:
            held = self.started.pop(choice % len(self.started))
            if self.matcher.rest(held):
                self.resting.append(held)

    def wake(self, choice: int) -> None:
        if self.resting:
            self.matcher.wake(self.resting.pop(choice % len(self.resting)))

    def ask(self, choice: int) -> None:
        self.pages += [Page(pull) for pull in self.matcher.wanted()]

    def read(self, choice: int) -> None:
        if self.pages:
            page = self.pages[choice % len(self.pages)]
            pull = page.pull
            listed = [entry for entry in self.outstanding[pull.shard] if entry.queue.version == pull.lane]
            rest = sorted(listed, key=lambda entry: entry.order)
            rest = [entry for entry in rest if pull.after is None or entry.order > pull.after.order]
            page.offers = rest[: pull.limit]
            page.end = len(page.offers) < pull.limit

    def deliver(self, choice: int) -> None:
        if self.pages:
            page = self.pages[choice % len(self.pages)]
            if page.offers is None:
                self.read(choice)
            assert page.offers is not None
            self.pages.remove(page)
            self.unreachable.discard((page.pull.shard, page.pull.lane))
            self.matcher.pulled(page.pull.shard, page.offers, 1, end=page.end, lane=page.pull.lane)

    def fail(self, choice: int) -> None:
        if self.pages:
            page = self.pages.pop(choice % len(self.pages))
            self.unreachable.add((page.pull.shard, page.pull.lane))
            self.matcher.pull_failed(page.pull.shard, gone=False, lane=page.pull.lane)

    def resume(self, choice: int) -> None:
        for key in self.keys:
            self.matcher.resume_pulls(SHARDS[choice % 3], lane_of(key))

    def switch(self, choice: int) -> None:
        self.fair = not self.fair
        self.matcher.rank(fair=self.fair, gate=None)

    def check(self) -> None:
        assert len(self.matcher) <= 4 + len(self.started)

    def drain(self) -> None:
        """Everything works from now on."""
        for shard in range(3):
            self.resume(shard)
        for _ in range(20 + 4 * self.serial):
            self.wake(0)
            self.ask(0)
            self.deliver(0)
            self.poll(0)
            self.finish(0)


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 44)), max_size=80),
    room=st.sampled_from((2, 1_000)),
    keys=st.sampled_from((1, 2, 5)),
    fair=st.booleans(),
)
def test_the_order_is_exact_and_everything_is_handed_out_in_the_end(
    steps: list[tuple[str, int]], room: int, keys: int, *, fair: bool
) -> None:
    model = Model(Room(references_max=room), keys, fair=fair)
    for kind, choice in steps:
        model.step(kind, choice)
    model.drain()
    assert model.outstanding == {shard: {} for shard in SHARDS}
    assert len(model.matcher) == 0
