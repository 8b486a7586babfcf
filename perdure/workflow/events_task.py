"""How state follows from workflow-task events.

Scheduled, Started, Failed and TimedOut change nothing here: the outstanding task, its attempt and its ids are durable
deltas, since most of it is never in an event. What a completion says for good is.
"""

from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload, WorkerVersionStamp
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.workflow.evolve import numbers
from perdure.workflow.state import Run

BUILD_IDS = "BuildIds"
_UNVERSIONED = "unversioned"
# A constant and no limit of the context: replay must not depend on configuration.
_BUILD_IDS_BYTES_MAX = 2048


@numbers(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
def task_completed(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The worker has seen everything up to the completed task's Started event."""
    facts = run.facts
    facts.last_completed_started_event_id = attributes.started_event_id
    facts.completed_workflow_tasks += 1
    stamp = attributes.worker_version
    if not attributes.versioning_behavior and not stamp.use_versioning:
        _note_build_id(run, stamp)


def _note_build_id(run: Run, stamp: WorkerVersionStamp) -> None:
    """Keep the search attribute that says which builds have worked on the run."""
    build = f"{_UNVERSIONED}:{stamp.build_id}" if stamp.build_id else _UNVERSIONED
    known = run.facts.search_attributes.get(BUILD_IDS)
    if known is None:
        builds = [_UNVERSIONED]
    else:
        builds = msgspec.json.decode(Payload.FromString(known).data, type=list[str])
        if build in builds:
            return
    if build not in builds:
        builds.append(build)
    data = msgspec.json.encode(builds)
    while len(data) > _BUILD_IDS_BYTES_MAX and len(builds) > 1:
        del builds[1]
        data = msgspec.json.encode(builds)
    payload = Payload(metadata={"encoding": b"json/plain", "type": b"KeywordList"}, data=data)
    run.put("search_attributes", BUILD_IDS, payload.SerializeToString(deterministic=True))
