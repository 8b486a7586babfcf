"""How many transitions a second the shards of a process have, from one look to the next.

Knows neither clock nor shard but by numbers and names.
"""

from collections.abc import Mapping


class Rates:
    """`seen_s`: when somebody looked last; `per_s`: of each shard that was there at the look before, too."""

    def __init__(self) -> None:
        self.seen_s = 0.0
        self.before_s = 0.0
        self.per_s: dict[str, float] = {}
        self._seen: Mapping[str, int] = {}

    def look(self, now_s: float, appended: Mapping[str, int]) -> bool:
        """Note how far the shards are now; `appended`: transitions of each since it came. False if no time passed."""
        passed_s = now_s - self.seen_s
        if passed_s <= 0:
            return False
        self.per_s = {
            shard: (count - self._seen[shard]) / passed_s for shard, count in appended.items() if shard in self._seen
        }
        self._seen, self.before_s, self.seen_s = dict(appended), self.seen_s, now_s
        return True
