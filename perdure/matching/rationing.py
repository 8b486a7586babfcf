"""How much of a queue may go, and to whom first: its rate limits, whether its lanes are fair, and the timers of both.

Invariants: what operators set holds from when it was read, and before that nothing may go that it could hold back. A
partition whose tasks have no lanes and no limits pays for one look at both. Refuses to know polls.
"""

import asyncio
from collections.abc import Callable

from temporalio.api.taskqueue.v1 import TaskQueueConfig

from perdure.base.clock import MS_NS, SECOND_NS
from perdure.base.errors import Unavailable
from perdure.cluster.branches import root_of
from perdure.matching.fairness import weight_in
from perdure.matching.limiting import KeyLimits, Limit
from perdure.matching.matcher import Matcher
from perdure.matching.pacing import UNLIMITED
from perdure.matching.references import Held
from perdure.matching.surroundings import Surroundings
from perdure.matching.waiting import Question, Taker
from perdure.workflow.tasks import Offer, QueueKey, QueueKind

_INFINITE = float("inf")
_RETRY_S = 1.0


class Ration:
    """That of one partition. `changed`: called when there may be something to hand out; `throttled`: when the queue's
    limit makes a poll wait.
    """

    __slots__ = (
        "_around",
        "_changed",
        "_fair",
        "_is_root",
        "_keys",
        "_keys_timer",
        "_matcher",
        "_read",
        "_reading",
        "_throttled",
        "_timer",
        "_weights",
        "key",
        "limit",
    )

    def __init__(
        self, key: QueueKey, around: Surroundings, changed: Callable[[], None], throttled: Callable[[], None]
    ) -> None:
        self.key = key
        self._around = around
        self._changed = changed
        self._throttled = throttled
        self._is_root = not root_of(key)[1]
        # Of workflow tasks nobody can set one; of a queue's tasks its root alone keeps it.
        is_known = key.kind == QueueKind.WORKFLOW or not self._is_root
        self.limit = Limit(around.clock.monotonic_ns(), is_known=is_known)
        self._matcher: Matcher[Offer, Taker, Question] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._keys_timer: asyncio.TimerHandle | None = None
        self._keys: KeyLimits | None = None
        self._weights: dict[str, float] = {}
        self._fair = False
        self._read = not self._is_root
        self._reading = False

    def follow(self, matcher: Matcher[Offer, Taker, Question]) -> None:
        """It is this one's references that are rationed."""
        self._matcher = matcher

    def weigh(self, offer: Offer) -> float:
        """The weight of a task's fairness key."""
        return weight_in(self._weights, offer.fairness_key, offer.fairness_weight)

    async def know(self) -> None:
        """Read what operators set, if that can hold anything back and was not read yet."""
        if not self.limit.is_known:
            await self._read_config()

    async def know_all(self) -> None:
        """Read what operators set, if it was not read yet."""
        if not self._read:
            await self._read_config()

    def learn(self, config: TaskQueueConfig | None, version: int) -> None:
        """What operators set for this queue; None = nothing."""
        self._read = True
        if not self.limit.learn(config, version, self._around.clock.monotonic_ns()):
            return
        config = config or TaskQueueConfig()
        self._weights = dict(config.fairness_weight_overrides)
        rate = _INFINITE
        if config.fairness_keys_rate_limit_default.HasField("rate_limit"):
            rate = config.fairness_keys_rate_limit_default.rate_limit.requests_per_second
        if not rate < _INFINITE:  # that is none, nor is what is no number
            self._keys = None
        elif self._keys is not None:
            self._keys.set_rate(rate)
        else:
            clock, keys_max = self._around.clock, self._around.bounds.lanes_max
            self._keys = KeyLimits(rate, self.weigh, clock.monotonic_ns, keys_max)
        self.close()
        self._rank()

    def ask(self, rate: float | None) -> None:
        """The latest poller asks for so many tasks a second; None = for no limit."""
        self.limit.ask(rate, self._around.clock.monotonic_ns())
        self._forget_timer()

    def available(self) -> int:
        """How many tasks may go now; it is asked before each match."""
        matcher = self._matcher
        if matcher is not None and matcher.lanes > 1:
            self._look(matcher)
        limit = self.limit
        return limit.available(self._around.clock.monotonic_ns()) if limit.is_set else UNLIMITED

    def take(self) -> None:
        """One of the available tasks goes."""
        if self.limit.is_set:
            self.limit.take()

    def refund(self, held: Held[Offer]) -> None:
        """One that went did not count after all."""
        self.limit.refund()
        if self._keys is not None:
            self._keys.refund(held)

    def await_more(self) -> None:
        """What could go has gone: what is held back goes on when it may."""
        if self._keys is None and not self.limit.is_set:
            return
        matcher, loop = self._matcher, asyncio.get_running_loop()
        if self._keys is not None:
            pause_ns = self._keys.wait_ns()
            if pause_ns is not None:
                self._await_keys(max(pause_ns, MS_NS) / SECOND_NS)
        if self.limit.is_set and self._timer is None and matcher is not None and matcher.is_starving:
            pause_ns = self.limit.wait_ns(self._around.clock.monotonic_ns())
            if pause_ns is not None:
                self._throttled()
                self._timer = loop.call_later(max(pause_ns, MS_NS) / SECOND_NS, self._on_limit)

    def _await_keys(self, pause_s: float) -> None:
        """Look at the keys by then, or before if that was so already: one that was closed later may open sooner."""
        loop = asyncio.get_running_loop()
        if self._keys_timer is not None:
            if self._keys_timer.when() <= loop.time() + pause_s + MS_NS / SECOND_NS:
                return
            self._keys_timer.cancel()
        self._keys_timer = loop.call_later(pause_s, self._on_keys)

    def close(self) -> None:
        """Nothing is handed out any more, or all is looked at anew."""
        self._forget_timer()
        if self._keys_timer is not None:
            self._keys_timer.cancel()
            self._keys_timer = None

    def _look(self, matcher: Matcher[Offer, Taker, Question]) -> None:
        """There are lanes: whether they are fair, and what weights operators set."""
        if not (self._read or self._reading):
            self._reading = True
            self._around.background.spawn(self._read_along())
        key, around = self.key, self._around
        kind = key.kind.name.capitalize()
        limits = around.limits.of(around.meters.name_of(key.namespace_id), key.name, kind)
        fair = limits.is_fair(key.name, kind)
        if fair != self._fair:
            self._fair = fair
            self._rank()

    async def _read_config(self) -> None:
        self.learn(*await self._around.configs.read(self.key))
        self._changed()

    async def _read_along(self) -> None:
        """Tasks go meanwhile, by the weights they came with."""
        try:
            await self._read_config()
        except Unavailable:
            await asyncio.sleep(_RETRY_S)
        finally:
            self._reading = False

    def _rank(self) -> None:
        if self._matcher is not None:
            self._matcher.rank(fair=self._fair, gate=self._keys)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_limit(self) -> None:
        self._timer = None
        self._changed()

    def _on_keys(self) -> None:
        self._keys_timer = None
        if self._keys is not None and self._matcher is not None:
            self._matcher.open(self._keys.opened())
            self._changed()
