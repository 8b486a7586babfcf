"""How late the judges' own loop is: where they get no time, a slow heal says more of the machine than the cluster."""

import asyncio

from tests.e2e.clusters import passes

_LOOK_S = 0.2


class Stalls:
    """`longest`: seconds, of the whole run; `take` gives those since it was called last."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._lately = 0.0

    async def watch(self) -> None:
        """Look from now on, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            await passes(_LOOK_S)
            self.seen(loop.time() - begun - _LOOK_S)

    def seen(self, late_s: float) -> None:
        """It was so late."""
        self.longest = max(self.longest, late_s)
        self._lately = max(self._lately, late_s)

    def take(self) -> float:
        """The longest since the last time."""
        lately, self._lately = self._lately, 0.0
        return lately
