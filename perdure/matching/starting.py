"""Starting a matched task through the history role, and handing a query over.

Invariant: every attempt to start one reference, also by a later poller, carries the same request id until the outcome
is known, so a start whose answer was lost is answered again instead of being refused. Knows no partition.
"""

import asyncio

from perdure.base.clock import MS_NS, SECOND_NS
from perdure.base.entropy import Entropy, new_id
from perdure.base.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from perdure.cluster.roles import Call, Directory, Outcome
from perdure.matching.matcher import Held
from perdure.matching.waiting import Question, Waiter
from perdure.workflow.requests import StartActivityTask, StartWorkflowTask
from perdure.workflow.tasks import Offer, QueueKind

ATTEMPTS = 6
FIRST_PAUSE_NS = 20 * MS_NS
REST_NS = 200 * MS_NS
REST_NS_MAX = 5 * SECOND_NS
REST_AFTER_BUG_NS_MAX = 60 * SECOND_NS


def rest_ns(held: Held[Offer], outcome: Outcome) -> int:
    """How long a reference is set aside after it could not be started; longer each time."""
    longest = REST_AFTER_BUG_NS_MAX if outcome is Outcome.FAILED else REST_NS_MAX
    return min(REST_NS << min(held.failures, 20), longest)


class Starter:
    """Calls the history role for one poller at a time; holds nothing."""

    __slots__ = ("_directory", "_entropy")

    def __init__(self, directory: Directory, entropy: Entropy) -> None:
        self._directory = directory
        self._entropy = entropy

    async def start(self, waiter: Waiter, held: Held[Offer]) -> tuple[Outcome, bytes, BaseException | None]:
        """Start `held` for `waiter`: the outcome, the encoded poll answer, and the error of a failure.

        While the owner can't be reached it is asked again, a few times and not past the end of the poll.
        """
        if not held.request_id:
            held.request_id = new_id(self._entropy)
        pause_ns = FIRST_PAUSE_NS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return Outcome.STARTED, await self._start(waiter, held), None
            except (NotFound, FailedPrecondition):
                return Outcome.OBSOLETE, b"", None
            except (Unavailable, Aborted, DeadlineExceeded):
                if attempt == ATTEMPTS or waiter.ended:
                    break
            except ResourceExhausted:
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, neither reference nor poller may be lost
                return Outcome.FAILED, b"", error
            await asyncio.sleep(pause_ns / SECOND_NS)
            pause_ns *= 2
        return Outcome.LATER, b"", None

    async def _start(self, waiter: Waiter, held: Held[Offer]) -> bytes:
        offer = held.reference
        poll = waiter.poll
        role = self._directory.history(offer.key.slot)
        call = Call(caller=waiter.call.caller, request_id=held.request_id)
        if poll.partition.kind == QueueKind.ACTIVITY:
            attempt = StartActivityTask(offer, held.request_id, poll.identity, waiter.capabilities)
            return await role.start_activity_task(offer.key, attempt, call)
        caller = call.caller
        task = StartWorkflowTask(
            offer=offer,
            request_id=held.request_id,
            identity=poll.identity,
            sticky_poll=bool(poll.normal_queue),
            poll_queue=poll.partition.name,
            capabilities=waiter.capabilities,
            client_name=caller.client_name,
            client_version=caller.client_version,
        )
        return await role.start_workflow_task(offer.key, task, call)

    async def hand_over(self, waiter: Waiter, question: Question) -> bytes:
        """The encoded poll answer that carries a query; b"" if it can't be had, which fails the query."""
        task = question.task
        pause_ns = FIRST_PAUSE_NS
        for attempt in range(1, ATTEMPTS + 1):
            if question.answer.done():
                return b""
            try:
                role = self._directory.history(task.key.slot)
                return await role.query_task(task.key, task, bool(waiter.poll.normal_queue), question.call)
            except (Unavailable, Aborted) as error:
                if attempt == ATTEMPTS or waiter.ended:
                    question.fail(error)
                    return b""
            except Exception as error:  # noqa: BLE001 - the client who asked gets it; the poller goes on waiting
                question.fail(error)
                return b""
            await asyncio.sleep(pause_ns / SECOND_NS)
            pause_ns *= 2
        return b""
