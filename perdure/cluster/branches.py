"""The partitions of a task queue: its root, which has all of its tasks, and branches, where some of its polls wait.

A branch is a partition with a name that no caller can give a queue, the reference's form (`common/tqid`). Invariant:
the root has the queue's own name, so a queue that was never spread has nothing but its root. Pure; refuses to know who
owns a partition, and how many there are.
"""

from perdure.workflow.task_queue_names import RESERVED_PREFIX
from perdure.workflow.tasks import QueueKey

# More than a root can supply.
PARTITIONS_MAX = 64


def branch_of(root: QueueKey, index: int) -> QueueKey:
    """The `index`th partition of a queue; the first, at 0, is the root itself."""
    if not index:
        return root
    return QueueKey(root.namespace_id, f"{RESERVED_PREFIX}{root.name}/{index}", root.kind, root.version)


def root_of(partition: QueueKey) -> tuple[QueueKey, int]:
    """The root of a partition's queue, and which of its partitions this one is."""
    name = partition.name
    if not name.startswith(RESERVED_PREFIX):
        return partition, 0
    queue, _, index = name[len(RESERVED_PREFIX) :].rpartition("/")
    if not (queue and index.isascii() and index.isdigit() and 0 < int(index) < PARTITIONS_MAX):
        return partition, 0
    return QueueKey(partition.namespace_id, queue, partition.kind, partition.version), int(index)
