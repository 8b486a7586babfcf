"""Index rows to write that no chain's checkpoint would: what the auditor repaired, and timers that nothing wanted."""

import msgspec

from perdure.workflow.tasks import Offer, Timer


class Strays(msgspec.Struct):
    """They go with the next checkpoint of whatever chains; losing them loses a repair, which is made again."""

    added_offers: list[Offer] = []
    removed_offers: list[Offer] = []
    added_timers: list[Timer] = []
    removed_timers: list[Timer] = []

    def __bool__(self) -> bool:
        return bool(self.added_offers or self.removed_offers or self.added_timers or self.removed_timers)

    def take(self) -> "Strays":
        """What is here; afterwards nothing is."""
        taken = Strays(self.added_offers, self.removed_offers, self.added_timers, self.removed_timers)
        self.added_offers, self.removed_offers, self.added_timers, self.removed_timers = [], [], [], []
        return taken
