"""Continue-as-new: the events of both runs, what the next run inherits, and what a completion may not do beside it."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import event_type_pb2 as kinds
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    complete_workflow,
    continue_as_new,
    modify_properties,
    record_marker,
    schedule_activity,
    start_child,
    start_timer,
    upsert_search_attributes,
)
from tests.conformance.harness.payloads import (
    duration,
    failure,
    header,
    memo,
    payloads,
    retry_policy,
    search_attributes,
)
from tests.conformance.harness.render import Rule
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session

# A run that continues within a second of its start waits for the rest of it; whether any is left is up to the machine.
THROTTLED = (
    Rule("WorkflowExecutionStartedEventAttributes.first_workflow_task_backoff", "the rest of a second, if any"),
    Rule("WorkflowExecutionContinuedAsNewEventAttributes.backoff_start_interval", "the rest of a second, if any"),
)


def anew(s: Session, **fields: Any) -> Any:
    """Continue as the same workflow on the same queue."""
    return continue_as_new(**{"workflow_type": common.WorkflowType(name="flow"), "task_queue": s.queue, **fields})


async def not_taken(s: Session, **fields: Any) -> None:
    """A continuation that is refused."""
    await s.start_quietly()
    await s.complete(await s.take(), anew(s, **fields))
    await s.show_history(first=3)


@scenario(rules=THROTTLED)
async def continues_as_new(s: Session) -> None:
    """Nothing but what must be there; the first run is still there."""
    run_id = await s.start_quietly()
    await s.complete(await s.take(), anew(s))
    await s.poll()
    await s.show_history(run_id=run_id, first=3)
    await s.describe(run_id=run_id)
    await s.describe()


@scenario(rules=THROTTLED)
async def continuation_throttled(s: Session) -> None:
    """A run lasts a second at least: the next one's first task waits for what is missing."""
    run_id = await s.start_quietly()
    before = (await s.events())[0]
    await s.advance(anew(s))
    task = await s.take()
    closed = (await s.events(run_id=run_id))[-1]
    started, scheduled = task.history.events[:2]
    missing = 1 - (closed.event_time.ToNanoseconds() - before.event_time.ToNanoseconds()) / 1e9
    attributes = started.workflow_execution_started_event_attributes
    backoff = attributes.first_workflow_task_backoff.ToNanoseconds() / 1e9
    assert missing <= 0 or abs(backoff - missing) < 0.1, f"{missing:g} s are missing, {backoff:g} s are waited"
    assert scheduled.event_time.ToNanoseconds() - started.event_time.ToNanoseconds() >= backoff * 1e9, "too early"
    s.note("a second from one start to the next task")


@scenario(rules=THROTTLED)
async def continuation_of_a_woken_run(s: Session) -> None:
    """A run that a cancellation woke long before its delay was over goes on at once, not after the delay."""
    await s.start_quietly(workflow_start_delay=duration(3600))
    await s.request_cancel()
    await s.complete(await s.take(), anew(s))
    await s.take()
    await s.show_history()


@scenario()
async def continues_with_everything(s: Session) -> None:
    """All that the command may say."""
    run_id = await s.start_quietly()
    await s.advance(
        anew(
            s,
            workflow_type=common.WorkflowType(name="next"),
            task_queue=s.children,
            input=payloads("in"),
            workflow_run_timeout=duration(200),
            workflow_task_timeout=duration(5),
            backoff_start_interval=duration(25),
            retry_policy=retry_policy(initial=1),
            initiator=enums.CONTINUE_AS_NEW_INITIATOR_WORKFLOW,
            failure=failure("last"),
            last_completion_result=payloads("result"),
            header=header(h="1"),
            memo=memo(m="2"),
            search_attributes=search_attributes(CustomKeywordField="k"),
        )
    )
    await s.show_history(run_id=run_id, first=5)
    await s.show_history()
    await s.describe()


@scenario(rules=THROTTLED)
async def continuation_inherits(s: Session) -> None:
    """What a run was started with, and which of it the next one has without being told."""
    run_id = await s.start_quietly(
        input=payloads("in"),
        workflow_execution_timeout=duration(500),
        workflow_run_timeout=duration(400),
        workflow_task_timeout=duration(7),
        retry_policy=retry_policy(initial=1),
        header=header(h="1"),
        memo=memo(m="2"),
        search_attributes=search_attributes(CustomKeywordField="k"),
        priority=common.Priority(priority_key=2, fairness_key="f"),
    )
    await s.advance(anew(s))
    await s.take()
    await s.show_history(run_id=run_id, first=5)
    await s.show_history()
    await s.describe()


@scenario(rules=THROTTLED)
async def continuation_inherits_upserts(s: Session) -> None:
    """Memo and search attributes as they are at the end, not as they were at the start."""
    run_id = await s.start_quietly(memo=memo(a="1", b="1"), search_attributes=search_attributes(CustomKeywordField="k"))
    await s.advance(
        modify_properties(memo(a="2")), upsert_search_attributes(search_attributes(CustomKeywordField="l")), anew(s)
    )
    await s.take()
    await s.show_history(run_id=run_id, first=5)
    await s.show_history()
    await s.describe()


@scenario(rules=THROTTLED)
async def continuation_replaces_memo(s: Session) -> None:
    """A memo in the command takes the place of the one before."""
    await s.start_quietly(memo=memo(a="1", b="1"), search_attributes=search_attributes(CustomKeywordField="k"))
    await s.advance(anew(s, memo=memo(a="2"), search_attributes=search_attributes(CustomKeywordField="l")))
    await s.take()
    await s.show_history()
    await s.describe()


@scenario(rules=THROTTLED)
async def continuation_without_type_or_queue(s: Session) -> None:
    """Type and queue are the same if they aren't named; timeouts and input aren't."""
    run_id = await s.start_quietly(input=payloads("in"))
    await s.complete(await s.take(), continue_as_new())
    await s.take()
    await s.show_history(run_id=run_id, first=5)
    await s.show_history()


@scenario(rules=THROTTLED)
async def continuation_over_buffered_signal(s: Session) -> None:
    """A signal that the workflow hasn't seen comes first."""
    await s.start_quietly()
    task = await s.take()
    await s.signal("late")
    await s.complete(task, anew(s))
    await s.show_history(first=3)
    await s.advance(anew(s))
    await s.take()
    await s.show_history()


@scenario(rules=THROTTLED)
async def continuation_with_pending_work(s: Session) -> None:
    """Activities and timers of the first run end with it."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue), start_timer(seconds=100))
    work = await s.take_activity()
    await s.signal("wake")
    await s.advance(anew(s))
    await s.complete_activity(work.task_token)
    await s.take()
    await s.show_history()
    await s.describe()


@scenario(rules=THROTTLED)
async def continuation_in_one_task_with_other_commands(s: Session) -> None:
    """Other commands before it are done; an activity of the same completion is not."""
    run_id = await s.start_quietly()
    await s.advance(record_marker(), schedule_activity(s.queue), anew(s))
    await s.show_history(run_id=run_id, first=5)


@scenario()
async def continuation_signalled(s: Session) -> None:
    """Signals without a run go to the new run; a signal to the old run finds it closed."""
    run_id = await s.start_quietly()
    await s.advance(anew(s, backoff_start_interval=duration(25)))
    await s.signal("new")
    await s.signal("old", run_id=run_id)
    await s.show_history()


@scenario()
async def continuation_cancel_requested(s: Session) -> None:
    """A request to cancel doesn't wait for the backoff."""
    await s.start_quietly()
    await s.advance(anew(s, backoff_start_interval=duration(25)))
    await s.request_cancel()
    await s.take()
    await s.show_history()
    await s.describe()


@scenario()
async def continuation_terminated(s: Session) -> None:
    """A termination, guarded by the first run's id."""
    run_id = await s.start_quietly()
    await s.advance(anew(s, backoff_start_interval=duration(25)))
    await s.terminate(run_id=run_id)
    await s.terminate(first_execution_run_id=run_id)
    await s.show_history()
    await s.describe()


@scenario()
async def continuation_and_start(s: Session) -> None:
    """Starts while the second run is open."""
    await s.start()
    await s.advance(anew(s, backoff_start_interval=duration(25)))
    await s.attempt(s.start_request(request_id=s.unique("other")))
    use = enums.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    await s.attempt(s.start_request(request_id=s.unique("use"), workflow_id_conflict_policy=use))
    await s.describe()


@scenario(differs="the reference has forgotten the start that began the chain, and refuses its repetition")
async def continuation_and_repeated_start(s: Session) -> None:
    """The start comes again while the second run is open."""
    await s.start()
    await s.advance(anew(s, backoff_start_interval=duration(25)))
    await s.attempt(s.start_request())


@scenario(rules=THROTTLED)
async def continuation_is_followed(s: Session) -> None:
    """The close event of the first run, and of the whole, as clients ask for them."""
    run_id = await s.start_quietly()
    await s.advance(anew(s))
    request = ws.GetWorkflowExecutionHistoryRequest(
        namespace=NAMESPACE,
        execution=s.execution("wf", run_id),
        wait_new_event=True,
        history_event_filter_type=enums.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
    )
    await s.call(request)
    await s.advance(complete_workflow())
    request.execution.run_id = ""
    await s.call(request)


@scenario(rules=THROTTLED)
async def continues_twice(s: Session) -> None:
    """The third run: first run, run before."""
    await s.start_quietly(workflow_run_timeout=duration(100))
    await s.advance(anew(s))
    await s.advance(anew(s, workflow_run_timeout=duration(50)))
    await s.take()
    await s.show_history()
    await s.describe()


@scenario(rules=THROTTLED)
async def continuation_of_cancelled(s: Session) -> None:
    """A request to cancel the first run is none of the second."""
    await s.start_quietly()
    await s.request_cancel()
    await s.advance(anew(s))
    await s.take()
    await s.show_history()
    await s.describe()


@scenario()
async def continuation_after_a_second(s: Session) -> None:
    """A run that lasted a second isn't held back."""
    run_id = await s.start_quietly()
    await s.advance(start_timer(seconds=2))
    await s.advance(anew(s))
    await s.show_history(run_id=run_id, first=5)
    await s.show_history()


@scenario()
async def continuation_backoff(s: Session) -> None:
    """A continuation that is to wait waits; a signal doesn't wake it."""
    run_id = await s.start_quietly()
    await s.advance(start_timer(seconds=1))
    await s.advance(anew(s, backoff_start_interval=duration(4)))
    await s.signal("early")
    await s.show_history()
    await s.take()
    await s.show_history(first=2)
    await s.show_history(run_id=run_id, first=10)


@scenario(rules=THROTTLED)
async def continuation_times_out(s: Session) -> None:
    """The execution timeout is that of the whole chain; the run timeout begins anew."""
    await s.start_quietly(workflow_execution_timeout=duration(6), workflow_run_timeout=duration(5))
    await s.advance(anew(s))
    await s.closed()
    await s.show_history()


@scenario()
async def continuation_type_too_long(s: Session) -> None:
    """A workflow type over the limit."""
    await not_taken(s, workflow_type=common.WorkflowType(name="x" * 1001))


@scenario()
async def continuation_timeout_negative(s: Session) -> None:
    """A negative run timeout."""
    await not_taken(s, workflow_run_timeout=duration(-1))


@scenario()
async def continuation_task_timeout_negative(s: Session) -> None:
    """A negative task timeout."""
    await not_taken(s, workflow_task_timeout=duration(-1))


@scenario()
async def continuation_backoff_negative(s: Session) -> None:
    """A negative backoff."""
    await not_taken(s, backoff_start_interval=duration(-1))


@scenario()
async def continuation_retry_policy_refused(s: Session) -> None:
    """A retry policy that makes no sense."""
    await not_taken(s, retry_policy=retry_policy(coefficient=0.5))


@scenario(rules=THROTTLED)
async def continuation_with_no_schedule(s: Session) -> None:
    """A cron schedule that is none is taken, and brings no further run."""
    await s.start_quietly()
    await s.complete(await s.take(), anew(s, cron_schedule="no schedule"))
    await s.advance(complete_workflow())
    await s.show_history()


@scenario()
async def continuation_attribute_unknown(s: Session) -> None:
    """A search attribute nobody registered."""
    await not_taken(s, search_attributes=search_attributes(NoSuchAttribute="x"))


@scenario(rules=THROTTLED)
async def continuation_with_child(s: Session) -> None:
    """A child that the second run starts with an id of the first run's child, which was abandoned."""
    await s.start_quietly()
    abandon = enums.PARENT_CLOSE_POLICY_ABANDON
    await s.advance(start_child(s.children, s.unique("child"), parent_close_policy=abandon))
    await s.wait_for_event(kinds.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED)
    await s.advance(anew(s))
    await s.advance(start_child(s.children, s.unique("child")))
    await s.wait_for_event(kinds.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED)
    await s.show_history(first=5)
