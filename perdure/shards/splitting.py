"""When a shard is split because of its load: a pure rule over what is measured.

A shard is split when it has had more transitions a second than the limit, look after look, for long enough; between two
splits of a process there is a pause, in which loads show what the last one has changed. Knows neither clock nor shard
but by numbers and names.
"""

from collections.abc import Mapping

import msgspec

from perdure.shards.rates import Rates


class SplitPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A shard with more than `transitions_per_s` in each look for `for_s` seconds is split into `parts`; then none for
    `pause_s`. The process looks every `look_s`. With `shards_max` shards in the cluster none is split any more.
    """

    transitions_per_s: float = 1_000.0
    for_s: float = 60.0
    pause_s: float = 300.0
    look_s: float = 5.0
    parts: int = 2
    shards_max: int = 1_024


class Loads:
    """What was seen of the shards of a process. `appended`: transitions of a shard since it came."""

    def __init__(self, policy: SplitPolicy) -> None:
        self._policy = policy
        self._rates = Rates()
        self._busy_since: dict[str, float] = {}
        self._quiet_until_s = 0.0

    def look(self, now_s: float, appended: Mapping[str, int]) -> None:
        """Note how far the shards are now."""
        rates = self._rates
        if rates.look(now_s, appended):
            self._busy_since = {
                shard: self._busy_since.get(shard, rates.before_s)
                for shard, rate in rates.per_s.items()
                if rate > self._policy.transitions_per_s
            }

    def to_split(self, shards: int) -> str | None:
        """The busiest shard that has to be split now, of `shards` in the cluster; None if there is none."""
        now_s = self._rates.seen_s
        if now_s < self._quiet_until_s or shards + self._policy.parts - 1 > self._policy.shards_max:
            return None
        ready = [shard for shard, since_s in self._busy_since.items() if now_s - since_s >= self._policy.for_s]
        return max(ready, key=lambda shard: (self._rates.per_s[shard], shard), default=None)

    def rest(self) -> None:
        """A split was tried: none for a while."""
        self._quiet_until_s = self._rates.seen_s + self._policy.pause_s
        self._busy_since.clear()
