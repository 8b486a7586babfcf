"""The errand that calls a completion callback: at least once, until the receiver has it or refuses it for good.

A call whose outcome is not recorded, because the shard was lost meanwhile, is made again; receivers know the run by the
link that it carries.
"""

from temporalio.api.common.v1 import Callback

from perdure.base.clock import SECOND_NS
from perdure.history.callbacks import is_internal
from perdure.history.completions import completion
from perdure.history.errands import Errand, runs
from perdure.workflow.requests import CallbackPlan, RecordCallback
from perdure.workflow.tasks import TimerKind

_INTERNAL_ANSWER = "handler error (BAD_REQUEST): invalid callback token"
# With the wait for a place among the calls of a destination.
_TIMEOUT_NS = 60 * SECOND_NS


@runs(TimerKind.CALLBACK, _TIMEOUT_NS)
async def call(errand: Errand, plan: CallbackPlan) -> None:
    """Call, and note what came of it. Raises Unavailable while the destination rests."""
    callback, timer = Callback.FromString(plan.callback), errand.timer
    if is_internal(callback):  # nothing in this cluster waits for a completion yet: no token is a valid one
        await errand.bring_back(RecordCallback(timer, _INTERNAL_ANSWER))
        return
    failure, retryable = await _call(errand, plan, callback.nexus.url)
    await errand.bring_back(RecordCallback(timer, failure, retryable))


async def _call(errand: Errand, plan: CallbackPlan, url: str) -> tuple[str, bool]:
    """What was wrong, "" for nothing, and whether to repeat it."""
    key, calls = errand.timer.key, errand.callbacks
    destination = calls.destination(key.namespace_id, url)
    async with destination.room:
        destination.begin()
        try:
            namespace = (await errand.namespaces.by_id(key.namespace_id)).name
            event = await errand.event(plan.segments, plan.close_event_id)
            sent = completion(plan, key, errand.timer.run_id, namespace, event)
            failure, retryable = await calls.post(namespace, sent)
        except BaseException:
            destination.abandoned()
            raise
        destination.ended(is_down=retryable)
    return failure, retryable
