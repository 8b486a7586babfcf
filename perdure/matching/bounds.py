"""What a partition may hold, and what all partitions of a process may hold together."""

import msgspec


class Bounds(msgspec.Struct, frozen=True):
    """What a partition may hold. `references_min`: so many it may hold even where the process as a whole is full.
    `tasks_per_second`: with more than that its queue gets another one; a quarter of what a core carries (0020).
    """

    references_max: int = 10_000
    bytes_max: int = 16 << 20
    references_min: int = 100
    page: int = 500  # references to ask for in one pull
    pulls_max: int = 8  # shards that are pulled from at once
    tasks_per_second: float = 2_500.0
    late_max: int = 1_000  # references taken beyond the gap while a pull of their shard is under way
    lanes_max: int = 10_000  # fairness keys that have tasks at once; of others nothing is kept

    @property
    def low_water(self) -> int:
        """With fewer references than this to hand out, shards that hold more are pulled from."""
        return max(1, self.references_max // 4)


class Room:
    """The references and bytes that all partitions of a process hold together, and how many they may. So many
    partitions may be loaded at once; `each` may hold so much.
    """

    __slots__ = ("bytes", "bytes_max", "each", "partitions_max", "references", "references_max")

    def __init__(
        self,
        references_max: int = 250_000,
        bytes_max: int = 256 << 20,
        partitions_max: int = 100_000,
        each: Bounds = Bounds(),  # noqa: B008 - it is frozen
    ) -> None:
        self.each = each
        self.partitions_max = partitions_max
        self.references_max = references_max
        self.bytes_max = bytes_max
        self.references = 0
        self.bytes = 0

    def is_full(self, size: int) -> bool:
        """True if one more reference of `size` bytes does not fit."""
        return self.references >= self.references_max or self.bytes + size > self.bytes_max
