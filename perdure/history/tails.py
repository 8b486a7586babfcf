"""The newest history batches of a branch, in memory.

Invariant: the nodes are contiguous and end at the newest event; those that no checkpoint holds yet are never dropped.
"""

from bisect import bisect_right
from collections.abc import Sequence

from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]  # not in the stubs
from temporalio.api.history.v1 import History, HistoryEvent

from perdure.store.contract import Node

_EVENTS_TAG = bytes((History.DESCRIPTOR.fields_by_name["events"].number << 3 | 2,))
CLEAN_BYTES_MAX = 256 << 10


def history_of(events: Sequence[bytes]) -> bytes:
    """An encoded History of these encoded events; histories join by concatenation."""
    return b"".join(part for event in events for part in (_EVENTS_TAG, _VarintBytes(len(event)), event))


class Tail:
    """The newest nodes of one branch. `clean_end`: events below it are checkpointed."""

    __slots__ = ("bytes", "clean_end", "nodes")

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.bytes = 0
        self.clean_end = 0

    def add(self, node: Node) -> None:
        """Add the newest batch."""
        self.nodes.append(node)
        self.bytes += len(node.body)

    @property
    def first(self) -> int:
        """The first event id in memory; 0 if nothing is."""
        return self.nodes[0].first if self.nodes else 0

    def dirty(self) -> list[Node]:
        """The nodes that no checkpoint holds yet."""
        return [node for node in self.nodes if node.first >= self.clean_end]

    def clean(self, end: int) -> None:
        """Events below `end` are checkpointed; old ones beyond the byte bound are forgotten."""
        self.clean_end = max(self.clean_end, end)
        drop = 0
        while drop < len(self.nodes) - 1 and self.bytes > CLEAN_BYTES_MAX and self.nodes[drop].end <= self.clean_end:
            self.bytes -= len(self.nodes[drop].body)
            drop += 1
        del self.nodes[:drop]

    def overlapping(self, first: int, end: int) -> list[Node]:
        """The nodes with events in `first` <= id < `end`."""
        start = max(0, bisect_right(self.nodes, first, key=lambda node: node.first) - 1)
        found = []
        for node in self.nodes[start:]:
            if node.first >= end:
                break
            if node.end > first:
                found.append(node)
        return found


def events_of(node: Node) -> Sequence[HistoryEvent]:
    """The node's events."""
    return History.FromString(node.body).events


def cut(node: Node, first: int, end: int) -> Node:
    """The node with only its events `first` <= id < `end`: a task's history may begin inside a batch."""
    if node.first >= first and node.end <= end:
        return node
    kept = [event.SerializeToString() for event in events_of(node) if first <= event.event_id < end]
    return Node(node.branch, max(node.first, first), min(node.end, end), history_of(kept))
