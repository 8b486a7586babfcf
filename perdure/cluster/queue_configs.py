"""What operators set for a task queue: documents in the store, read and changed by the owner of its partition.

Invariant: a change is made on what is stored, also if somebody else changed it meanwhile. Refuses to know what a limit
does. The body of a document is a temporal.api.taskqueue.v1.TaskQueueConfig.
"""

from temporalio.api.taskqueue.v1 import RateLimitConfig, TaskQueueConfig
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest

from perdure.base.clock import Clock, to_timestamp
from perdure.base.errors import Aborted, InvalidArgument
from perdure.store.contract import Document, Documents
from perdure.workflow.tasks import QueueKey

KIND = "queue_config"
# Fairness keys with a weight, of one queue: the reference's `matching.maxFairnessKeyWeightOverrides`.
WEIGHTS_MAX = 1_000
_CHANGE_ATTEMPTS = 5


class QueueConfigs:
    """The configurations in one store; without a store nothing was ever set, and nothing can be."""

    def __init__(self) -> None:
        self._documents: Documents | None = None

    def open(self, documents: Documents) -> None:
        """From now on they are these documents."""
        self._documents = documents

    async def read(self, queue: QueueKey) -> tuple[TaskQueueConfig | None, int]:
        """A queue's configuration and its version; (None, -1) if none was ever set."""
        document = await self._read(queue)
        return (None, -1) if document is None else (TaskQueueConfig.FromString(document.body), document.version)

    async def change(
        self, queue: QueueKey, update: UpdateTaskQueueConfigRequest, clock: Clock
    ) -> tuple[TaskQueueConfig, int]:
        """Carry out an update whose fields were checked, and return what `read` would; one that sets nothing only
        reads. Raises Aborted after several others came between.
        """
        for _ in range(_CHANGE_ATTEMPTS):
            found, version = await self.read(queue)
            config = found or TaskQueueConfig()
            if not _apply(config, update, clock):
                return config, version
            changed = Document(KIND, _key(queue), version + 1, config.SerializeToString())
            if self._documents is not None and await self._documents.replace_document(changed):
                return config, version + 1
        raise Aborted("The task queue's configuration was changed by another call; read it again.")

    async def _read(self, queue: QueueKey) -> Document | None:
        if self._documents is None:
            return None
        return await self._documents.read_document(KIND, _key(queue))


def _apply(config: TaskQueueConfig, update: UpdateTaskQueueConfigRequest, clock: Clock) -> bool:
    """Put what an update sets into `config`; False if it sets nothing. Raises InvalidArgument."""
    changed = False
    if update.HasField("update_queue_rate_limit"):
        config.queue_rate_limit.CopyFrom(_limit(update.update_queue_rate_limit, update.identity, clock))
        changed = True
    if update.HasField("update_fairness_key_rate_limit_default"):
        limit = _limit(update.update_fairness_key_rate_limit_default, update.identity, clock)
        config.fairness_keys_rate_limit_default.CopyFrom(limit)
        changed = True
    weights = config.fairness_weight_overrides
    for key in update.unset_fairness_weight_overrides:
        weights.pop(key, None)
        changed = True
    for key, weight in update.set_fairness_weight_overrides.items():
        weights[key] = weight
        changed = True
    if update.set_fairness_weight_overrides and len(weights) > WEIGHTS_MAX:
        raise InvalidArgument("fairness weight overrides update rejected: exceeding maximum key size")
    return changed


def _limit(asked: UpdateTaskQueueConfigRequest.RateLimitUpdate, identity: str, clock: Clock) -> RateLimitConfig:
    limit = RateLimitConfig()
    if asked.HasField("rate_limit"):
        limit.rate_limit.CopyFrom(asked.rate_limit)
    limit.metadata.reason = asked.reason
    limit.metadata.update_identity = identity
    limit.metadata.update_time.CopyFrom(to_timestamp(clock.now_ns()))
    return limit


def _key(queue: QueueKey) -> str:
    return f"{queue.namespace_id}/{int(queue.kind)}/{queue.name}"
