"""What a server tells of a task queue: who polls, what waits, how fast it may go."""

from __future__ import annotations

from typing import Any

from google.protobuf.wrappers_pb2 import DoubleValue
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import task_queue_pb2 as enums
from temporalio.api.taskqueue.v1 import message_pb2 as taskqueue
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import schedule_activity
from tests.conformance.harness.render import Rule
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import NAMESPACE, Session
from tests.conformance.harness.waiting import until

WORKFLOW = enums.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITY = enums.TASK_QUEUE_TYPE_ACTIVITY
ENHANCED = enums.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
# For where no limit was set.
UNLIMITED = (
    Rule("EffectiveRateLimit.requests_per_second", "a server's own limit", "<rate>"),
    Rule("TaskQueueStatus.rate_per_second", "a server's own limit", "<rate>"),
)
RULES = (
    Rule("TaskQueueStats.approximate_backlog_age", "depends on the moment of the call", "<age>"),
    Rule("TaskQueueStats.tasks_add_rate", "depends on the moment of the call"),
    Rule("TaskQueueStats.tasks_dispatch_rate", "depends on the moment of the call"),
    Rule("TaskQueueStatus.read_level", "a number of the server's own queue"),
    Rule("TaskQueueStatus.ack_level", "a number of the server's own queue"),
    Rule("TaskQueueStatus.task_id_block", "numbers of the server's own queue"),
    Rule("RateLimitConfig.update_time", "a wall-clock time", "<time>"),
    Rule("ConfigMetadata.update_time", "a wall-clock time", "<time>"),
    Rule("owner_host_name", "a host's own name"),
)


def describe(s: Session, **fields: Any) -> ws.DescribeTaskQueueRequest:
    """A description of the scenario's queue."""
    return ws.DescribeTaskQueueRequest(**{"namespace": NAMESPACE, "task_queue": s.queue, **fields})


async def _waiting(s: Session, count: int, kind: enums.TaskQueueType.ValueType = WORKFLOW) -> None:
    request = describe(s, report_stats=True, task_queue_type=kind)

    async def so_many() -> bool:
        reply: ws.DescribeTaskQueueResponse = await s.quiet(request)
        return reply.stats.approximate_backlog_count == count

    await until(f"{count} to wait", so_many)


@scenario(rules=RULES + UNLIMITED)
async def queue_unused(s: Session) -> None:
    """A queue that nobody has used."""
    await s.attempt(describe(s))
    await s.attempt(describe(s, report_stats=True, task_queue_type=ACTIVITY))
    await s.attempt(describe(s, report_config=True, task_queue_type=ACTIVITY))
    await s.attempt(describe(s, include_task_queue_status=True))
    await s.attempt(describe(s, task_queue_type=enums.TASK_QUEUE_TYPE_NEXUS, report_stats=True))


@scenario(rules=RULES + UNLIMITED)
async def queue_with_backlog(s: Session) -> None:
    """Workflow tasks wait, at several priorities."""
    await s.start_quietly("a")
    await s.start_quietly("b")
    await s.start_quietly("c", priority=common.Priority(priority_key=1))
    await s.start_quietly("d", priority=common.Priority(priority_key=5))
    await _waiting(s, 4)
    await s.attempt(describe(s, report_stats=True))
    await s.attempt(describe(s, include_task_queue_status=True))
    await s.attempt(describe(s, report_stats=True, task_queue_type=ACTIVITY))


@scenario(rules=RULES + UNLIMITED)
async def queue_pollers(s: Session) -> None:
    """Pollers of both kinds, with what they said of themselves."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue), identity="first")
    metadata = taskqueue.TaskQueueMetadata(max_tasks_per_second=DoubleValue(value=7.5))
    capabilities = common.WorkerVersionCapabilities(build_id="b1")
    await s.take_activity(identity="second", task_queue_metadata=metadata, worker_version_capabilities=capabilities)
    await s.attempt(describe(s, task_queue_type=WORKFLOW))
    await s.attempt(describe(s, task_queue_type=ACTIVITY, report_pollers=True))
    await s.attempt(describe(s, task_queue_type=ACTIVITY, report_stats=True, include_task_queue_status=True))


@scenario(rules=RULES + UNLIMITED)
async def queue_sticky(s: Session) -> None:
    """A worker's own queue."""
    await s.attempt(s.poll_request(task_queue=s.sticky), seconds=3)
    await s.attempt(describe(s, task_queue=s.sticky))
    await s.attempt(describe(s, task_queue=s.sticky, report_stats=True))
    await s.attempt(describe(s, task_queue=s.sticky, api_mode=ENHANCED))
    unnamed = taskqueue.TaskQueue(name=s.sticky.name, kind=enums.TASK_QUEUE_KIND_STICKY)
    await s.attempt(describe(s, task_queue=unnamed))


@scenario(rules=RULES)
async def queue_enhanced(s: Session) -> None:
    """The older way to ask, by version: everything is of no version."""
    await s.start_quietly()
    await s.advance(schedule_activity(s.queue))
    await _waiting(s, 1, ACTIVITY)
    # The reference answers the next seconds' calls from what it found for the first, whatever they ask for.
    await s.attempt(describe(s, api_mode=ENHANCED, report_stats=True, report_pollers=True))


@scenario(rules=RULES)
async def queue_enhanced_by_kind(s: Session) -> None:
    """One kind, and of the queue nothing but itself."""
    await s.attempt(s.poll_activity_request(), seconds=3)
    await s.attempt(describe(s, api_mode=ENHANCED, task_queue_types=[ACTIVITY], report_pollers=True))
    everything = taskqueue.TaskQueueVersionSelection(unversioned=True, all_active=True)
    await s.attempt(describe(s, api_mode=ENHANCED, versions=everything, task_queue_types=[WORKFLOW]))
    await s.attempt(
        describe(
            s,
            task_queue=s.children,
            api_mode=ENHANCED,
            report_task_reachability=True,
            task_queue_types=[WORKFLOW],
        )
    )


@scenario(rules=RULES)
async def queue_descriptions_refused(s: Session) -> None:
    """What can't be described."""
    await s.attempt(describe(s, task_queue=None))
    await s.attempt(describe(s, task_queue=taskqueue.TaskQueue()))
    await s.attempt(describe(s, task_queue=taskqueue.TaskQueue(name="q" * 1001)))
    await s.attempt(describe(s, task_queue=taskqueue.TaskQueue(name="/_sys/other/1"), api_mode=ENHANCED))
    await s.attempt(describe(s, namespace="no-such-namespace"))
    await s.attempt(describe(s, namespace=""))


@scenario(rules=RULES)
async def queue_partitions(s: Session) -> None:
    """The partitions of a queue."""
    request = ws.ListTaskQueuePartitionsRequest(namespace=NAMESPACE, task_queue=s.queue)
    reply: ws.ListTaskQueuePartitionsResponse = await s.quiet(request)
    assert len(reply.workflow_task_queue_partitions) >= 1
    s.show("the first partition of workflow tasks", reply.workflow_task_queue_partitions[0])
    s.show("the first partition of activities", reply.activity_task_queue_partitions[0])
    await s.attempt(ws.ListTaskQueuePartitionsRequest(namespace=NAMESPACE))
    await s.attempt(ws.ListTaskQueuePartitionsRequest(namespace="no-such-namespace", task_queue=s.queue))
