"""The requests that the machine sends, as a list that other files extend.

A rule takes a stage and a way to draw values, and sends one request; where it does not apply it does nothing. Refusals
are legal answers: the stage checks that they change nothing they should not.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Memo, Payload, Payloads, SearchAttributes, WorkflowType
from temporalio.api.enums.v1 import QueryResultType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.query.v1 import WorkflowQueryResult
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionRequest,
)

from perdure.base.clock import SECOND_NS, to_duration
from perdure.workflow.requests import (
    AbandonQuery,
    DeleteRun,
    Describe,
    FireTimer,
    Look,
    ResetSticky,
    SignalWithStart,
)
from tests.transcripts.scenarios import cancel, command, done, signal, start, sticky, terminate
from tests.transcripts.stage import Stage

T = TypeVar("T")
_RARELY = 8
_SELDOM = [*(_RARELY * [False]), True]


class Draw:
    """Draws values, and remembers offers, timers and tokens of the past, which come back late."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw
        self.offers: list[Any] = []
        self.timers: list[Any] = []
        self.handed_out: list[Any] = []
        self.late_answers = 0

    def of(self, values: list[T]) -> T:
        """One of `values`, which are not empty."""
        chosen: T = self._draw(st.sampled_from(values))
        return chosen

    def several(self, values: list[T], at_most: int) -> list[T]:
        """Up to `at_most` of `values`."""
        chosen: list[T] = self._draw(st.lists(st.sampled_from(values), max_size=at_most))
        return chosen


Rule = Callable[[Stage, Draw], None]
RULES: list[Rule] = []
# What completions are made of: each makes one command from the state.
COMMANDS: list[Callable[[Stage, Draw], Command]] = []
# The same for commands that no state makes good.
BAD_COMMANDS: list[Callable[[Stage, Draw], Command]] = []


def rule(function: Rule) -> Rule:
    """Adds a rule."""
    RULES.append(function)
    return function


def completion_command(function: Callable[[Stage, Draw], Command]) -> Callable[[Stage, Draw], Command]:
    """Adds a command to what completions are made of."""
    COMMANDS.append(function)
    return function


@rule
def starts(stage: Stage, draw: Draw) -> None:
    fields: dict[str, Any] = draw.of(
        [
            {},
            {"workflow_run_timeout": to_duration(20 * SECOND_NS)},
            {"workflow_execution_timeout": to_duration(60 * SECOND_NS)},
            {"workflow_start_delay": to_duration(5 * SECOND_NS)},
            {"workflow_id_conflict_policy": 2},
            *(_RARELY * [{}]),
            {"workflow_id_conflict_policy": 3},
            {"workflow_id_reuse_policy": 2},
            {"workflow_id_reuse_policy": 3},
        ]
    )
    stage.decide(start(draw.of(["a", "b", "c"]), **fields))


@rule
def signals(stage: Stage, draw: Draw) -> None:
    stage.decide(signal(request_id=draw.of(["", "x", "y"])))


@rule
def signals_with_start(stage: Stage, draw: Draw) -> None:
    request = SignalWithStartWorkflowExecutionRequest(
        workflow_id="wf",
        workflow_type=WorkflowType(name="flow"),
        task_queue=TaskQueue(name="queue"),
        request_id=draw.of(["a", "x", "z"]),
        signal_name="signal",
        workflow_id_conflict_policy=draw.of([*(_RARELY * [0]), 3]),  # type: ignore[arg-type]  # plain ints
    )
    stage.decide(SignalWithStart(request))


@rule
def cancels(stage: Stage, draw: Draw) -> None:
    stage.decide(cancel())


@rule
def terminates(stage: Stage, draw: Draw) -> None:
    if draw.of(_SELDOM):
        stage.decide(terminate())


@rule
def polls(stage: Stage, draw: Draw) -> None:
    for offer in stage.offers():
        draw.offers.append(offer)
        is_sticky = bool(offer.sticky) and draw.of([True, False])
        before = stage.chain.runs[offer.run_id].workflow_task
        decision = stage.decide(stage.poll_request(offer, sticky=is_sticky, request_id=draw.of(["", "p"])))
        assert decision.refusal is None, "an offered task could not be started"
        assert before is not None
        stage.last = decision.reply
        draw.handed_out.append(decision.reply)


@rule
def polls_late(stage: Stage, draw: Draw) -> None:
    if draw.offers:
        stage.decide(stage.poll_request(draw.of(draw.offers), sticky=draw.of([True, False])))


@rule
def completes(stage: Stage, draw: Draw) -> None:
    if stage.last is None:
        return
    makers = draw.several(draw.of([COMMANDS, COMMANDS, COMMANDS, BAD_COMMANDS]), 4)
    commands = [make(stage, draw) for make in makers]
    fields = draw.of([{}, sticky()])
    if draw.of([False, False, True]):
        commands.append(draw.of(CLOSE_COMMANDS)(stage, draw))
    elif draw.of([False, True]):
        fields = {**fields, "force_create_new_workflow_task": True}
    answers = {query_id: _answer() for query_id in stage.run.ephemeral.queries} if stage.chain.current else {}
    fields = {**fields, "return_new_workflow_task": draw.of([True, False]), "query_results": draw.of([{}, answers])}
    stage.complete(*commands, **fields)


def _answer() -> WorkflowQueryResult:
    return WorkflowQueryResult(result_type=QueryResultType.QUERY_RESULT_TYPE_ANSWERED)


@rule
def fails(stage: Stage, draw: Draw) -> None:
    if stage.last is not None:
        cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
        stage.fail(cause=cause, failure=Failure(message="no"))


@rule
def time_passes(stage: Stage, draw: Draw) -> None:
    draw.timers += stage.timers()
    stage.advance(draw.of([0.5, 6.0, 11.0]))


@rule
def much_time_passes(stage: Stage, draw: Draw) -> None:
    if draw.of(_SELDOM):
        stage.advance(4 * 24 * 3600)


@rule
def timers_fire_again(stage: Stage, draw: Draw) -> None:
    if draw.timers:
        stage.decide(FireTimer(draw.of(draw.timers)))


@rule
def queries(stage: Stage, draw: Draw) -> None:
    stage.query(draw.of(["q", "r"]))


@rule
def queries_are_abandoned(stage: Stage, draw: Draw) -> None:
    if stage.chain.current is not None:
        stage.decide(AbandonQuery(stage.chain.current.run_id, "q"))


@rule
def looks(stage: Stage, draw: Draw) -> None:
    for request in (Look(), Describe(DescribeWorkflowExecutionRequest())):
        assert stage.decide(request).record is None


@rule
def resets_stickiness(stage: Stage, draw: Draw) -> None:
    stage.decide(ResetSticky(""))


@rule
def deletes(stage: Stage, draw: Draw) -> None:
    if draw.of(_SELDOM):
        stage.decide(DeleteRun(""))


@completion_command
def marker(stage: Stage, draw: Draw) -> Command:
    return command("RECORD_MARKER", marker_name="marker")


def bad_marker(stage: Stage, draw: Draw) -> Command:
    return command("RECORD_MARKER")


BAD_COMMANDS.append(bad_marker)


@completion_command
def search_attribute(stage: Stage, draw: Draw) -> Command:
    value = draw.of([b'"word"', b'["a","b"]', b"null"])
    attributes = SearchAttributes(indexed_fields={"CustomKeywordField": Payload(data=value)})
    return command("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", search_attributes=attributes)


@completion_command
def memo(stage: Stage, draw: Draw) -> Command:
    fields = {"note": Payload(data=draw.of([b'"text"', b"null"]))}
    return command("MODIFY_WORKFLOW_PROPERTIES", upserted_memo=Memo(fields=fields))


def bad_attribute(stage: Stage, draw: Draw) -> Command:
    attributes = SearchAttributes(indexed_fields={"Unknown": Payload(data=b"7")})
    return command("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", search_attributes=attributes)


BAD_COMMANDS.append(bad_attribute)


def complete(stage: Stage, draw: Draw) -> Command:
    return done()


def fail(stage: Stage, draw: Draw) -> Command:
    return command("FAIL_WORKFLOW_EXECUTION", failure=Failure(message="no"))


def be_cancelled(stage: Stage, draw: Draw) -> Command:
    return command("CANCEL_WORKFLOW_EXECUTION", details=Payloads())


# The commands that close the run.
CLOSE_COMMANDS: list[Callable[[Stage, Draw], Command]] = [complete, fail, be_cancelled]
