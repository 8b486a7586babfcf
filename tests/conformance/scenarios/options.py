"""Options of a running workflow: its versioning override and its priority, given at its start and changed later."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.deployment.v1 import message_pb2 as deployment
from temporalio.api.enums.v1 import workflow_pb2 as enums
from temporalio.api.workflow.v1 import message_pb2 as workflow
from temporalio.api.workflowservice.v1 import request_response_pb2 as ws

from tests.conformance.harness.commands import (
    continue_as_new,
    fail_workflow,
    schedule_activity,
    start_child,
    start_timer,
)
from tests.conformance.harness.payloads import retry_policy
from tests.conformance.harness.render import Rule, Wording
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import CLIENT, NAMESPACE, Session

NO_RUN = "01234567-89ab-4cde-8f01-23456789abcd"
_Override = workflow.VersioningOverride
VERSION = deployment.WorkerDeploymentVersion(deployment_name="ship", build_id="one")
AUTO = _Override(auto_upgrade=True)
PINNED = _Override(pinned=_Override.PinnedOverride(behavior=_Override.PINNED_OVERRIDE_BEHAVIOR_PINNED, version=VERSION))
OLD_AUTO = _Override(behavior=enums.VERSIONING_BEHAVIOR_AUTO_UPGRADE)
OLD_PINNED = _Override(
    behavior=enums.VERSIONING_BEHAVIOR_PINNED,
    deployment=deployment.Deployment(series_name="ship", build_id="one"),
)


async def _update(s: Session, *paths: str, name: str = "wf", **options: Any) -> None:
    await s.attempt(
        ws.UpdateWorkflowExecutionOptionsRequest(
            namespace=NAMESPACE,
            workflow_execution=s.execution(name),
            workflow_execution_options=workflow.WorkflowExecutionOptions(**options),
            update_mask=FieldMask(paths=paths),
            identity=CLIENT,
        )
    )


@scenario()
async def options_priority(s: Session) -> None:
    """Priority, as a whole and by parts; what changes nothing writes nothing."""
    await s.start_quietly(priority=common.Priority(priority_key=2))
    await s.advance(start_timer(seconds=100))
    await _update(s, "priority", priority=common.Priority(priority_key=4, fairness_key="k", fairness_weight=2))
    await s.describe()
    await _update(s, "priority", priority=common.Priority(priority_key=4, fairness_key="k", fairness_weight=2))
    await _update(s, "priority.priority_key", priority=common.Priority(priority_key=1, fairness_key="ignored"))
    await _update(s, "priority.fairness_key", "priority.fairness_weight", priority=common.Priority(fairness_weight=3))
    await _update(s, "priority")
    await s.describe()
    await _update(s)
    await _update(s, "priority.priority_key", priority=common.Priority(priority_key=5))
    await s.describe()
    await s.show_history(first=6)


@scenario()
async def options_override(s: Session) -> None:
    """An override that is set, set again, changed and taken away."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await _update(s, "versioning_override", versioning_override=AUTO)
    await s.describe()
    await _update(s, "versioning_override", versioning_override=AUTO)
    await _update(s, "versioning_override", versioning_override=OLD_AUTO)
    await _update(
        s, "versioning_override", "priority", versioning_override=AUTO, priority=common.Priority(priority_key=1)
    )
    await _update(s, "versioning_override")
    await s.describe()
    await _update(s, "versioning_override")
    await s.show_history(first=6)


@scenario()
async def options_override_old(s: Session) -> None:
    """An override in the words of older clients."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await _update(s, "versioning_override.behavior", "versioning_override.deployment", versioning_override=OLD_AUTO)
    await s.describe()
    await _update(s, "versioning_override.behavior", versioning_override=OLD_AUTO)
    await _update(s, "versioning_override.deployment", versioning_override=OLD_AUTO)
    await _update(s, "versioning_override.pinned", versioning_override=PINNED)
    await s.show_history(first=6)


@scenario()
async def options_pinned_to_nothing(s: Session) -> None:
    """There is no such version."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    await _update(s, "versioning_override", versioning_override=PINNED)
    one = _Override(one_time=_Override.OneTimeOverride(target_deployment_version=VERSION))
    await _update(s, "versioning_override", versioning_override=one)
    named = _Override(behavior=enums.VERSIONING_BEHAVIOR_PINNED, pinned_version="ship.one")
    await _update(s, "versioning_override", versioning_override=named)
    await s.attempt(s.start_request("other", versioning_override=PINNED))
    await s.attempt(s.start_request("other", versioning_override=one))
    await s.attempt(s.start_request("other", versioning_override=named))
    await s.describe()


@scenario(rules=(Wording("proto:[\u00a0 ]", "its library writes one space or the other", "proto: "),))
async def options_refused(s: Session) -> None:
    """Requests that can't be carried out, in the order of their faults."""
    await _update(s, "priority", name="missing")
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    plain: dict[str, Any] = {
        "namespace": NAMESPACE,
        "workflow_execution": s.execution("wf"),
        "workflow_execution_options": workflow.WorkflowExecutionOptions(),
        "update_mask": FieldMask(paths=["priority"]),
    }
    changes: tuple[dict[str, Any], ...] = (
        {"namespace": ""},
        {"namespace": "no-such-namespace"},
        {"workflow_execution": None},
        {"workflow_execution": common.WorkflowExecution(workflow_id="")},
        {"workflow_execution": s.execution("wf", "not-a-run-id")},
        {"workflow_execution": s.execution("wf", NO_RUN)},
        {"update_mask": None},
        {"workflow_execution_options": None},
        {"update_mask": FieldMask(paths=["nothing"])},
        {"update_mask": FieldMask(paths=["priority.nothing"])},
        {"update_mask": FieldMask(paths=["priority", ""])},
        {"update_mask": FieldMask(paths=["versioningOverride"])},
        {"workflow_execution_options": workflow.WorkflowExecutionOptions(priority=common.Priority(priority_key=-1))},
        {"workflow_execution_options": workflow.WorkflowExecutionOptions(priority=common.Priority(fairness_weight=-1))},
        {
            "workflow_execution_options": workflow.WorkflowExecutionOptions(
                priority=common.Priority(fairness_key="k" * 65)
            )
        },
    )
    for change in changes:
        await s.attempt(ws.UpdateWorkflowExecutionOptionsRequest(**{**plain, **change}))
    await s.terminate()
    await _update(s, "priority")


@scenario()
async def options_overrides_refused(s: Session) -> None:
    """Overrides that say too little or too much."""
    await s.start_quietly()
    await s.advance(start_timer(seconds=100))
    pinned = enums.VERSIONING_BEHAVIOR_PINNED
    behaves = _Override.PINNED_OVERRIDE_BEHAVIOR_PINNED
    long = deployment.WorkerDeploymentVersion(deployment_name="n" * 1001, build_id="b")
    overrides = (
        _Override(),
        _Override(auto_upgrade=False),
        _Override(pinned=_Override.PinnedOverride()),
        _Override(pinned=_Override.PinnedOverride(behavior=behaves)),
        _Override(pinned=_Override.PinnedOverride(version=VERSION)),
        _Override(
            pinned=_Override.PinnedOverride(behavior=behaves, version=deployment.WorkerDeploymentVersion(build_id="b"))
        ),
        _Override(pinned=_Override.PinnedOverride(behavior=behaves, version=long)),
        _Override(one_time=_Override.OneTimeOverride()),
        _Override(behavior=pinned),
        _Override(behavior=pinned, deployment=deployment.Deployment()),
        _Override(behavior=pinned, deployment=deployment.Deployment(series_name="s")),
        _Override(behavior=pinned, deployment=deployment.Deployment(build_id="b")),
        _Override(behavior=pinned, pinned_version="nodot"),
        _Override(behavior=enums.VERSIONING_BEHAVIOR_AUTO_UPGRADE, pinned_version="ship.one"),
        _Override(behavior=enums.VERSIONING_BEHAVIOR_AUTO_UPGRADE, deployment=deployment.Deployment(build_id="b")),
        _Override(behavior=7),  # type: ignore[arg-type]  # what a newer client may send
    )
    for override in overrides:
        await _update(s, "versioning_override", versioning_override=override)
    for number, override in enumerate(overrides):
        await s.attempt(s.start_request(f"w{number}", versioning_override=override))
        await s.attempt(
            ws.SignalWithStartWorkflowExecutionRequest(
                namespace=NAMESPACE,
                workflow_id=s.unique(f"v{number}"),
                workflow_type=common.WorkflowType(name="flow"),
                task_queue=s.queue,
                signal_name="go",
                request_id=s.unique(f"v{number}"),
                versioning_override=override,
            )
        )


@scenario()
async def options_during_task(s: Session) -> None:
    """While a worker has the task the change waits for its place in the history; it acts at once."""
    await s.start_quietly()
    task = await s.take()
    await _update(s, "priority", priority=common.Priority(priority_key=1))
    await s.describe()
    await s.complete(task, schedule_activity(s.queue))
    await s.show_history(first=4)
    await s.poll_activity()


@scenario()
async def options_with_scheduled_task(s: Session) -> None:
    """A task that waits in its queue moves to where its priority wants it."""
    await s.start_quietly()
    await _update(s, "priority", priority=common.Priority(priority_key=1))
    await s.describe()
    await s.poll()


@scenario()
async def start_with_override(s: Session) -> None:
    """The override of a start is in its event, and shown."""
    await s.start(versioning_override=AUTO)
    await s.describe()
    await s.advance(start_timer(seconds=100))
    await s.describe()
    await s.show_history()
    await s.start("old", versioning_override=OLD_AUTO)
    await s.describe("old")


@scenario(differs="no deployment exists here: a run can't be pinned in the words of older clients either")
async def start_pinned_in_old_words(s: Session) -> None:
    """The reference does not look whether the version exists."""
    await s.attempt(s.start_request(versioning_override=OLD_PINNED))


@scenario(rules=(Rule("first_workflow_task_backoff", "the rest of a second"),))
async def override_of_successors(s: Session) -> None:
    """What continues a run does not have its override, and a repeated run not the priority that it was given later."""
    await s.start_quietly(versioning_override=AUTO)
    await _update(s, "priority", priority=common.Priority(priority_key=1))
    await s.advance(continue_as_new())
    await s.describe()
    await s.show_history()
    await s.terminate()
    await s.start_quietly("retried", retry_policy=retry_policy(initial=0.1, attempts=3))
    changes: dict[str, Any] = {"versioning_override": AUTO, "priority": common.Priority(priority_key=1)}
    await _update(s, "versioning_override", "priority", name="retried", **changes)
    await s.advance(fail_workflow())
    await s.describe("retried")
    await s.show_history("retried")


@scenario()
async def override_of_children(s: Session) -> None:
    """A child's override."""
    await s.start_quietly(versioning_override=AUTO, priority=common.Priority(priority_key=2, fairness_key="k"))
    await s.advance(start_child(s.children, s.unique("child")))
    await s.take(task_queue=s.children)
    await s.describe("child")
    await s.show_history("child")
