"""Bugs planted one at a time: some seed among the first few finds each, by a rule that is about it."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import CommandType, RetryState

from perdure.base.clock import SECOND_NS
from perdure.base.errors import NotFound
from perdure.frontend.admission import Admission
from perdure.history.chains import ShardChains
from perdure.history.executions import HistoryExecutions
from perdure.shards.index import OfferIndex
from perdure.shards.pumps import OfferPump
from perdure.shards.shard import OwnedShard
from perdure.store.contract import Checkpoint, Group, SegmentHeader, SegmentId, Written
from perdure.store.memory.checkpoints import MemoryCheckpoints
from perdure.store.memory.log import MemoryLog
from perdure.workflow import activity_attempts
from perdure.workflow.commands import Completion
from perdure.workflow.commands.run import run_commands
from perdure.workflow.decide import DECIDERS, Work
from perdure.workflow.deciders import (
    complete_activity,
    complete_workflow_task,
    fire_timer,
    query,
    start,
    start_activity_task,
)
from perdure.workflow.draft import Draft
from perdure.workflow.lookup import find_run
from perdure.workflow.requests import (
    BeginQuery,
    CompleteActivity,
    HeartbeatActivity,
    HeartbeatRecorded,
    QueryPlan,
    SignalWorkflow,
    StartActivityTask,
    StartWorkflow,
)
from perdure.workflow.state import ActivityAttempt, PendingTimer, Run
from perdure.workflow.tokens import TaskToken
from tests.sim.planting import Patch, Plant, Plants, must_be_found

_BEGINNINGS = (CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK, CommandType.COMMAND_TYPE_START_TIMER)
PLANTS = Plants()
breaks = PLANTS.breaks


@breaks(8, 12, 18, 22)
def reply_before_durable(patch: Patch) -> None:
    async def at_once(_shard: OwnedShard, _position: int) -> None:
        return

    patch.setattr(OwnedShard, "durable", at_once)


@breaks(22)
def completion_is_acknowledged_and_forgotten(patch: Patch) -> None:
    def forget(_work: Work, _request: Any) -> None:
        return

    patch.setitem(DECIDERS, CompleteActivity, forget)


@breaks(21, 22, 23)
def activity_is_retried_after_its_completion(patch: Patch) -> None:
    original = activity_attempts.end

    def end(draft: Any, activity: Any, attempt: ActivityAttempt, terminal: Any, *rest: Any) -> None:
        original(draft, activity, attempt, terminal, *rest)
        draft.run.put("activities", activity.scheduled_event_id, activity)
        draft.put("attempts", activity.scheduled_event_id, msgspec.structs.replace(attempt, started_time_ns=0))

    patch.setattr(complete_activity, "end", end)


@breaks(25)
def timers_fire_early(patch: Patch) -> None:
    put = Run.put

    def half(run: Run, field: str, key: Any, value: Any) -> None:
        if isinstance(value, PendingTimer):
            value = msgspec.structs.replace(value, due_ns=value.due_ns - SECOND_NS // 20)
        put(run, field, key, value)

    patch.setattr(Run, "put", half)


@breaks(12)
def signals_are_not_deduplicated(patch: Patch) -> None:
    decider = DECIDERS[SignalWorkflow]

    def twice(work: Work, request: SignalWorkflow) -> Any:
        again = type(request.request)()
        again.CopyFrom(request.request)
        again.request_id = ""
        return decider(work, SignalWorkflow(again))

    patch.setitem(DECIDERS, SignalWorkflow, twice)


@breaks(5, 12, 18, 30, 33)
def log_is_dropped_before_the_checkpoint_is_written(patch: Patch) -> None:
    async def write(_checkpoints: MemoryCheckpoints, _checkpoint: Checkpoint) -> None:
        return

    patch.setattr(MemoryCheckpoints, "write", write)


@breaks(5, 26)
def replay_applies_what_a_snapshot_holds(patch: Patch) -> None:
    load = ShardChains.load_run

    async def from_the_beginning(chains: ShardChains, entry: Any, run_id: str) -> int:
        await load(chains, entry, run_id)
        return 0

    patch.setattr(ShardChains, "load_run", from_the_beginning)


@breaks(23)
def an_attempt_is_given_to_everyone_who_asks(patch: Patch) -> None:
    original = start_activity_task.start_activity_task

    def generous(work: Work, request: Any) -> Any:
        run = work.chain.runs.get(request.offer.run_id)
        attempt = run.durable.attempts.get(request.offer.scheduled_event_id) if run is not None else None
        if attempt is not None and attempt.started_time_ns and attempt.attempt == request.offer.attempt:
            request = StartActivityTask(request.offer, attempt.request_id, request.identity)
        return original(work, request)

    patch.setitem(DECIDERS, StartActivityTask, generous)


@breaks(24)
def heartbeats_are_not_kept(patch: Patch) -> None:
    def deaf(_work: Work, _request: Any) -> HeartbeatRecorded:
        return HeartbeatRecorded(cancel_requested=False)

    patch.setitem(DECIDERS, HeartbeatActivity, deaf)


@breaks(5, 12, 18, 27)
def a_sealed_segment_grows(patch: Patch) -> None:
    append = MemoryLog.append

    async def unsealed(log: MemoryLog, segment: SegmentId, epoch: int, group: Group) -> Written:
        found = log._segments.get(segment)
        if found is not None and found.header.next is not None and found.header.last == group.n - 1:
            header = found.header
            found.groups.append(group)
            found.header = SegmentHeader(header.epoch, group.n, header.ceiling_us, header.next, group.n)
            return Written(True, SegmentHeader(epoch, group.n, header.ceiling_us))
        return await append(log, segment, epoch, group)

    patch.setattr(MemoryLog, "append", unsealed)


@breaks(10)
def workflows_close_over_buffered_signals(patch: Patch) -> None:
    patch.setattr(Completion, "unhandled", property(lambda _: False, lambda _, __: None))


@breaks(7, 8)
def any_completion_is_good_enough(patch: Patch) -> None:
    def lenient(run: Run, _token: TaskToken) -> Any:
        task = run.durable.workflow_task
        if task is None or not task.started_event_id:
            raise NotFound("Workflow task not found.")
        return task

    patch.setattr(complete_workflow_task, "started_task", lenient)


@breaks(18)
def starts_are_not_deduplicated(patch: Patch) -> None:
    original = start.start

    def forgetful(work: Work, request: Any) -> Any:
        again = type(request.request)()
        again.CopyFrom(request.request)
        again.request_id = work.context.new_id("again")
        return original(work, type(request)(again))

    patch.setitem(DECIDERS, StartWorkflow, forgetful)


@breaks(17)
def an_open_run_is_no_obstacle(patch: Patch) -> None:
    patch.setattr(start, "make_room", lambda _work, _current, _request: True)


@breaks(16)
def queries_do_not_wait_for_what_the_workflow_has_not_seen(patch: Patch) -> None:
    def hasty(work: Work, request: Any) -> QueryPlan:
        run = find_run(work, request.run_id)
        query._check_ready(run, request.deadline_ns)
        sticky = run.durable.sticky_queue
        return QueryPlan(run.run_id, task_queue=run.facts.task_queue, sticky_queue=sticky, sticky_timeout_ns=SECOND_NS)

    patch.setitem(DECIDERS, BeginQuery, hasty)


@breaks(31)
def lists_are_not_told(patch: Patch) -> None:
    async def lazy(_executions: HistoryExecutions, _shard: Any, effects: Sequence[Any]) -> None:
        assert effects

    patch.setattr(HistoryExecutions, "perform", lazy)


@breaks(26)
def offers_are_forgotten(patch: Patch) -> None:
    patch.setattr(OfferPump, "add", lambda _pump, _offer: None)

    async def nothing(_pump: OfferPump, _partition: Any) -> None:
        return

    patch.setattr(OfferPump, "offer_head", nothing)
    patch.setattr(OfferIndex, "is_fresh", lambda _index, _offer: False)


@breaks(32)
def tokens_of_other_namespaces_are_taken(patch: Patch) -> None:
    async def anything(*_: Any) -> None:
        return

    patch.setattr(Admission, "_refuse_other", anything)


@breaks(23)
def attempts_do_not_back_off(patch: Patch) -> None:
    def at_once(policy: RetryPolicy, attempt: int, *_: Any) -> tuple[Any, int]:
        if policy.maximum_attempts and attempt >= policy.maximum_attempts:
            return RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED, 0
        return RetryState.RETRY_STATE_IN_PROGRESS, 1

    patch.setattr(activity_attempts, "next_attempt", at_once)


@breaks(23)
def attempts_have_no_maximum(patch: Patch) -> None:
    def for_ever(policy: RetryPolicy, *_: Any) -> tuple[Any, int]:
        return RetryState.RETRY_STATE_IN_PROGRESS, policy.initial_interval.ToNanoseconds() * 2

    patch.setattr(activity_attempts, "next_attempt", for_ever)


@breaks(9)
def commands_are_carried_out_backwards(patch: Patch) -> None:
    original = run_commands

    def backwards(completion: Completion, answer: Any) -> None:
        commands = list(answer.commands)
        if all(command.command_type in _BEGINNINGS for command in commands):
            del answer.commands[:]
            answer.commands.extend(reversed(commands))
        original(completion, answer)

    patch.setattr(complete_workflow_task, "run_commands", backwards)


@breaks(7, 25, 26)
def timers_fire_whether_or_not_they_are_wanted(patch: Patch) -> None:
    patch.setattr(fire_timer, "wanted", lambda _run, timer: {timer})


@breaks(5)
def a_delta_is_left_out_of_the_log(patch: Patch) -> None:
    written = Draft.assign

    def unwritten(draft: Draft, field: str, value: Any, **how: Any) -> None:
        written(draft, field, value, **how)
        if field == "sticky_timeout_ns":
            draft._steps.pop()

    patch.setattr(Draft, "assign", unwritten)


@pytest.mark.parametrize(("rules", "plant"), PLANTS.all, ids=PLANTS.names)
def test_a_planted_bug_is_found(rules: set[int], plant: Plant, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    must_be_found(rules, plant=plant)
