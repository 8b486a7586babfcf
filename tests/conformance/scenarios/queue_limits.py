"""Rate limits of task queues: set by an operator, and which limit is in force."""

from __future__ import annotations

from typing import Any

from google.protobuf.wrappers_pb2 import DoubleValue
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import schedule_activity
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.scenarios.queue_descriptions import ACTIVITY, RULES, WORKFLOW, describe

Limit = ws.UpdateTaskQueueConfigRequest.RateLimitUpdate


def limit(rate: float | None, reason: str = "") -> Limit:
    """A rate in tasks a second; None takes the limit away."""
    found = Limit(reason=reason)
    if rate is not None:
        found.rate_limit.requests_per_second = rate
        found.rate_limit.SetInParent()
    return found


def configure(s: Session, **fields: Any) -> ws.UpdateTaskQueueConfigRequest:
    """A change of the scenario's queue, as an operator."""
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "task_queue": s.queue.name,
        "task_queue_type": ACTIVITY,
        "identity": "operator",
    }
    return ws.UpdateTaskQueueConfigRequest(**{**plain, **fields})


@scenario(rules=RULES)
async def limit_of_a_queue(s: Session) -> None:
    """A limit is set, shown, changed and taken away; each kind of tasks has its own."""
    await s.attempt(configure(s, update_queue_rate_limit=limit(12.5, "busy database")))
    await s.attempt(describe(s, task_queue_type=ACTIVITY, report_config=True))
    await s.attempt(configure(s, update_queue_rate_limit=limit(0), identity="other"))
    await s.attempt(describe(s, task_queue_type=ACTIVITY))
    await s.attempt(configure(s))
    await s.attempt(configure(s, update_queue_rate_limit=limit(None, "calm again")))
    described: ws.DescribeTaskQueueResponse = await s.quiet(describe(s, task_queue_type=ACTIVITY, report_config=True))
    s.show("the configuration", described.config)
    s.note(f"source {described.effective_rate_limit.rate_limit_source}")


@scenario(rules=RULES)
async def limit_before_the_workers(s: Session) -> None:
    """An operator's limit goes before the one that workers ask for, whichever is lower."""
    await s.start_quietly()
    await s.advance(*(schedule_activity(s.queue, f"act-{number}") for number in range(3)))
    metadata = taskqueue.TaskQueueMetadata(max_tasks_per_second=DoubleValue(value=20))
    await s.take_activity(task_queue_metadata=metadata)
    await s.attempt(describe(s, task_queue_type=ACTIVITY))
    await s.quiet(configure(s, update_queue_rate_limit=limit(50)))
    await s.attempt(describe(s, task_queue_type=ACTIVITY))
    await s.quiet(configure(s, update_queue_rate_limit=limit(5)))
    await s.attempt(describe(s, task_queue_type=ACTIVITY))
    await s.take_activity(task_queue_metadata=metadata)
    await s.quiet(configure(s, update_queue_rate_limit=limit(0)))
    await s.attempt(s.poll_activity_request(), seconds=3)
    await s.quiet(configure(s, update_queue_rate_limit=limit(None)))
    await s.take_activity(task_queue_metadata=metadata)


@scenario(rules=RULES)
async def limits_refused(s: Session) -> None:
    """What can't be set."""
    await s.attempt(configure(s, task_queue_type=WORKFLOW, update_queue_rate_limit=limit(5)))
    await s.attempt(configure(s, task_queue_type=WORKFLOW, update_fairness_key_rate_limit_default=limit(5)))
    await s.attempt(configure(s, update_queue_rate_limit=limit(-1)))
    await s.attempt(configure(s, update_queue_rate_limit=limit(1, "r" * 1001)))
    await s.attempt(configure(s, update_queue_rate_limit=limit(1), identity="i" * 1001))
    await s.attempt(configure(s, task_queue="/_sys/other/1"))
    await s.attempt(configure(s, namespace="no-such-namespace"))
    await s.attempt(configure(s, set_fairness_weight_overrides={"": 1}))
    await s.attempt(configure(s, set_fairness_weight_overrides={"k" * 65: 1}))
    await s.attempt(configure(s, set_fairness_weight_overrides={"k": -1}))
    await s.attempt(configure(s, set_fairness_weight_overrides={"k": 1}, unset_fairness_weight_overrides=["k"]))


@scenario(rules=RULES)
async def fairness_of_a_queue(s: Session) -> None:
    """Weights and a rate of fairness keys are set, shown, changed and taken away; each kind of tasks has its own."""
    await s.attempt(configure(s, set_fairness_weight_overrides={"a": 2}))
    await s.attempt(configure(s, set_fairness_weight_overrides={"b": 0.5}, unset_fairness_weight_overrides=["a", "c"]))
    await s.attempt(configure(s, update_fairness_key_rate_limit_default=limit(7.5, "each his own"), identity="other"))
    await s.attempt(configure(s, unset_fairness_weight_overrides=["b"]))
    await s.attempt(configure(s, update_fairness_key_rate_limit_default=limit(None)))
    await s.attempt(configure(s, task_queue_type=WORKFLOW, set_fairness_weight_overrides={"w": 3}))
    for kind in (ACTIVITY, WORKFLOW):
        described: ws.DescribeTaskQueueResponse = await s.quiet(describe(s, task_queue_type=kind, report_config=True))
        s.show("the configuration", described.config)
    everything = {str(number): 1.0 for number in range(1000)}
    await s.quiet(configure(s, set_fairness_weight_overrides=everything))
    await s.attempt(configure(s, set_fairness_weight_overrides={"more": 1}))
