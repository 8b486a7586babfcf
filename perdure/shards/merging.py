"""When neighbours are merged because both have little to do: a pure rule over what is measured.

Two shards side by side at one host are merged when they had, together and look after look, no more transitions a second
than the limit, for long enough; between two merges of a process there is a pause. The limit is far below that of a
split, so that what was merged is not split again for the same load, nor what was split merged. Knows neither clock nor
shard but by numbers and names.
"""

from collections.abc import Mapping, Sequence

import msgspec

from perdure.shards.rates import Rates
from perdure.shards.splitting import SplitPolicy

# A shard that is split has halves with half of the limit each: both together are so many times too busy to be merged.
_BELOW_SPLIT = 4

Pair = tuple[str, str]


class MergePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Two neighbours with at most `transitions_per_s` together in each look for `for_s` seconds become one; then none
    for `pause_s`. The process looks every `look_s`. With `shards_min` shards in the cluster none are merged any more.
    """

    transitions_per_s: float = 50.0
    for_s: float = 600.0
    pause_s: float = 60.0
    look_s: float = 5.0
    shards_min: int = 16

    def beside(self, split: SplitPolicy | None) -> "MergePolicy":
        """This policy where shards are split, too."""
        if split is None:
            return self
        most = min(self.transitions_per_s, split.transitions_per_s / _BELOW_SPLIT)
        return msgspec.structs.replace(self, transitions_per_s=most)


class Idle:
    """What was seen of the neighbours of a process."""

    def __init__(self, policy: MergePolicy) -> None:
        self._policy = policy
        self._rates = Rates()
        self._idle_since: dict[Pair, float] = {}
        self._quiet_until_s = 0.0

    def look(self, now_s: float, appended: Mapping[str, int], pairs: Sequence[Pair]) -> None:
        """Note how far the shards are now, and which are side by side here."""
        rates = self._rates
        if not rates.look(now_s, appended):
            return
        self._idle_since = {
            pair: self._idle_since.get(pair, rates.before_s)
            for pair in pairs
            if self._together(pair) <= self._policy.transitions_per_s
        }

    def to_merge(self, shards: int) -> Pair | None:
        """The two that have least to do of those that have to be merged now, of `shards` in the cluster; None if there
        are none.
        """
        now_s = self._rates.seen_s
        if now_s < self._quiet_until_s or shards <= self._policy.shards_min:
            return None
        ready = [pair for pair, since_s in self._idle_since.items() if now_s - since_s >= self._policy.for_s]
        return min(ready, key=lambda pair: (self._together(pair), pair), default=None)

    def rest(self) -> None:
        """A merge, or a split, was tried: none for a while."""
        self._quiet_until_s = self._rates.seen_s + self._policy.pause_s

    def _together(self, pair: Pair) -> float:
        """Their transitions a second; without end while one of them was not seen for long enough."""
        return sum(self._rates.per_s.get(shard, float("inf")) for shard in pair)
