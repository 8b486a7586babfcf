"""The log of what clients and workers did: every call with its times on one clock, what it asked and what it got.

Invariant: an operation is written down before it is made; one that never returned stays `unknown`. The log draws no
conclusions: `perdure.testing.checkers` does.
"""

import hashlib
from enum import StrEnum
from typing import Any

import msgspec

from perdure.base.clock import Clock
from perdure.base.errors import Aborted, Bug, DeadlineExceeded, PerdureError, Refused, ResourceExhausted, Unavailable


class Kind(StrEnum):
    """What was called. The facts that `Op.args` and `Op.reply` hold are named beside each.

    - `START`: args `reuse`, `conflict` (the API's numbers). Reply `started`, `status`.
    - `SIGNAL`, `CANCEL`, `TERMINATE`: nothing more; the request id tells them apart.
    - `UPDATE`: a call or poll. Reply `update_id`, `stage` and, where there is one, the `outcome`'s digest.
    - `QUERY`: reply `signals`, the request ids of the signals that the workflow has seen.
    - `DESCRIBE`: reply `run_id`, `status`, `length`.
    - `HISTORY`: args `tail` (may it end in provisional events). Reply `first` (id), `digests`, `types`, `whole`.
    - `LIST`: reply `rows`, as (workflow id, run id, status); `COUNT`: reply `count`.
    - `POLL_WORKFLOW`: reply is the task: `scheduled`, `started`, `started_ns`, `attempt`, `stamp`; and as `HISTORY`.
    - `COMPLETE_WORKFLOW`, `FAIL_WORKFLOW`: args are the task, and `commands` as (command type, key).
    - `POLL_ACTIVITY`: reply is the task: `scheduled`, `started_ns`, `attempt`, `stamp`, `activity_id`, `heartbeat`.
    - `OPERATE`: an operator's request about activities. Args `what`.
    - `HEARTBEAT`: args are the task, and `details`. `COMPLETE_ACTIVITY`, `FAIL_ACTIVITY`, `CANCEL_ACTIVITY`: as well.
    """

    START = "start"
    SIGNAL = "signal"
    CANCEL = "cancel"
    TERMINATE = "terminate"
    UPDATE = "update"
    QUERY = "query"
    DESCRIBE = "describe"
    HISTORY = "history"
    LIST = "list"
    COUNT = "count"
    POLL_WORKFLOW = "poll_workflow"
    COMPLETE_WORKFLOW = "complete_workflow"
    FAIL_WORKFLOW = "fail_workflow"
    POLL_ACTIVITY = "poll_activity"
    HEARTBEAT = "heartbeat"
    COMPLETE_ACTIVITY = "complete_activity"
    FAIL_ACTIVITY = "fail_activity"
    CANCEL_ACTIVITY = "cancel_activity"
    OPERATE = "operate"


class Outcome(StrEnum):
    """`OK`: done. `FAIL`: definitely not done. `UNKNOWN`: may have happened once, or not at all."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Op(msgspec.Struct, kw_only=True):
    """One call. `party` makes its calls one after the other. `returned_ns` 0 = it never returned.

    `foreign`: the call names something of another namespace than the one it is made in.
    """

    n: int
    kind: Kind
    party: str
    invoked_ns: int
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    request_id: str = ""
    args: dict[str, Any] = {}
    foreign: bool = False
    returned_ns: int = 0
    outcome: Outcome = Outcome.UNKNOWN
    reply: dict[str, Any] = {}
    error: str = ""

    @property
    def ok(self) -> bool:
        """True if it was acknowledged."""
        return self.outcome is Outcome.OK

    @property
    def identity(self) -> str:
        """The identity that the call is made with: unique, so that an event names the call that caused it."""
        return f"{self.party}#{self.n}"

    @property
    def refused_as(self) -> str:
        """The class of the error, "" if there was none."""
        return self.error.partition(":")[0]


def outcome_of(error: BaseException) -> Outcome:
    """What an error says about the call: only a refusal says that it was not done."""
    if isinstance(error, Unavailable | Aborted | DeadlineExceeded | Bug):
        return Outcome.UNKNOWN
    if isinstance(error, Refused | ResourceExhausted):
        return Outcome.FAIL
    return Outcome.UNKNOWN


class OpLog:
    """All operations of a run, in the order of their invocation."""

    __slots__ = ("_clock", "notes", "ops")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ops: list[Op] = []
        self.notes: list[tuple[int, str]] = []

    def invoke(self, kind: Kind, party: str, **facts: Any) -> Op:
        """Write down that a call is about to be made; `facts` are fields of `Op`."""
        op = Op(n=len(self.ops), kind=kind, party=party, invoked_ns=self._clock.now_ns(), **facts)
        self.ops.append(op)
        return op

    def returned(self, op: Op, **reply: Any) -> None:
        """The call was answered."""
        op.returned_ns = self._clock.now_ns()
        op.outcome = Outcome.OK
        op.reply = reply

    def failed(self, op: Op, error: BaseException) -> None:
        """The call ended with an error."""
        op.returned_ns = self._clock.now_ns()
        op.outcome = outcome_of(error)
        message = error.message if isinstance(error, PerdureError) else str(error)
        op.error = f"{type(error).__name__}: {message}"

    def note(self, text: str) -> None:
        """Something else that happened: a fault, a crash, a restart. Part of the digest."""
        self.notes.append((self._clock.now_ns(), text))

    def digest(self) -> str:
        """A hash of everything that happened: equal for two runs of one seed."""
        return hashlib.blake2b(msgspec.json.encode((self.ops, self.notes)), digest_size=16).hexdigest()
