"""What lanes of a partition hold, as values: references, where they are, what is asked of shards. Knows no rules."""

from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

import msgspec

Order = tuple[Any, ...]


class Reference(Protocol):
    """What names a task and says where it stands: `order` is unique to it, the smallest goes first."""

    @property
    def order(self) -> Order: ...


class Figures(Protocol):
    """A shard's absolute figures for this lane; those of an older `epoch` are void. `oldest_ns` 0 = none."""

    @property
    def shard(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def oldest_ns(self) -> int: ...


R = TypeVar("R", bound=Reference)


class Place(Enum):
    """Where a held reference is: to be handed out, handed out and being started, or set aside for a while."""

    READY = 1
    STARTING = 2
    RESTING = 3


class Held(msgspec.Struct, Generic[R], eq=False):
    """A reference that is held. `withdrawn`: its shard took it back while it was being started.

    `request_id` and `failures` belong to who starts it: the id of a start of unknown outcome, how often it failed.
    """

    reference: R
    order: Order
    shard: str
    size: int
    place: Place = Place.READY
    withdrawn: bool = False
    request_id: str = ""
    failures: int = 0
    lane: str = ""


class Pull(msgspec.Struct, Generic[R], frozen=True):
    """A question to a shard: up to `limit` references of a lane in order beyond `after` (None = from its head)."""

    shard: str
    after: R | None
    limit: int
    lane: str = ""


class Stock:
    """What all lanes of a partition hold together, and how many there are. `relieve`: has another lane give up
    something for this one; False if none has more to give.
    """

    __slots__ = ("bytes", "lanes", "pulling", "references", "relieve", "size")

    def __init__(self) -> None:
        self.references = 0
        self.bytes = 0
        self.size = 0  # of the largest reference so far
        self.pulling = 0  # pulls under way
        self.lanes = 1
        self.relieve: Callable[[Any], bool] = lambda _: False
