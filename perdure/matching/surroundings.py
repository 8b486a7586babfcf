"""What a partition stands in: what all partitions of a process share."""

from collections.abc import Callable

import msgspec

from perdure.base.clock import Clock
from perdure.base.entropy import Entropy
from perdure.base.limits import LimitsSource
from perdure.base.tasks import Background
from perdure.cluster.queue_configs import QueueConfigs
from perdure.cluster.roles import Directory
from perdure.matching.bounds import Bounds, Room
from perdure.matching.measured import QueueMeters
from perdure.workflow.tasks import QueueKey


class Surroundings(msgspec.Struct, frozen=True):
    """What all partitions of a process share. `on_error` hears of errors that nobody expected, `on_ended` of a branch
    that is none of its queue's partitions any more, and how many those are.
    """

    directory: Directory
    clock: Clock
    entropy: Entropy
    limits: LimitsSource
    bounds: Bounds
    room: Room
    background: Background
    on_error: Callable[[BaseException], None]
    meters: QueueMeters
    configs: QueueConfigs
    hosts: Callable[[], int] = lambda: 1  # how many serve the role
    on_ended: Callable[[QueueKey, int], None] = lambda _branch, _partitions: None
