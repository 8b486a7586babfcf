"""How state follows from workflow-task events.

Started, Failed and TimedOut change nothing here: the outstanding task, its attempt and its ids are durable deltas,
since most of it is never in an event. That there was a task, and what a completion says for good, is.
"""

from typing import Any

import msgspec
from temporalio.api.common.v1 import Payload, WorkerVersionStamp
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from perdure.workflow.evolve import numbers
from perdure.workflow.state import Run

BUILD_IDS = "BuildIds"
BINARY_CHECKSUMS = "BinaryChecksums"
_UNVERSIONED = "unversioned"
# Constants and no limits of the context: replay must not depend on configuration.
_BUILD_IDS_BYTES_MAX = 2048
_CHECKSUMS_MAX = 20


@numbers(EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)
def task_scheduled(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """A delay of the first task is over, whatever becomes of the task."""
    run.facts.first_task_scheduled = True


@numbers(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
def task_completed(run: Run, event: HistoryEvent, attributes: Any) -> None:
    """The worker has seen everything up to the completed task's Started event."""
    facts = run.facts
    facts.last_completed_started_event_id = attributes.started_event_id
    facts.completed_workflow_tasks += 1
    stamp = attributes.worker_version
    if not attributes.versioning_behavior and not stamp.use_versioning and not facts.versioning:
        _note_build_id(run, stamp)
    if attributes.binary_checksum:
        _note_checksum(run, attributes.binary_checksum)


def _note_build_id(run: Run, stamp: WorkerVersionStamp) -> None:
    """Keep the search attribute that says which builds have worked on the run."""
    build = f"{_UNVERSIONED}:{stamp.build_id}" if stamp.build_id else _UNVERSIONED
    known = _keywords(run, BUILD_IDS)
    builds = known or [_UNVERSIONED]
    if build not in builds:
        builds = [*builds, build]
    if builds != known:
        # The first one is the mark that lists of unversioned runs ask for; the next oldest goes.
        while len(msgspec.json.encode(builds)) > _BUILD_IDS_BYTES_MAX and len(builds) > 1:
            del builds[1]
        _put_keywords(run, BUILD_IDS, builds)


def note_unversioned(run: Run) -> None:
    """The run is, from now on, for workers of no version."""
    _put_keywords(run, BUILD_IDS, [_UNVERSIONED])


def _note_checksum(run: Run, checksum: str) -> None:
    """The same for workers that say which build they are by a checksum."""
    known = _keywords(run, BINARY_CHECKSUMS)
    if checksum not in known:
        _put_keywords(run, BINARY_CHECKSUMS, [*known, checksum][-_CHECKSUMS_MAX:])


def _keywords(run: Run, name: str) -> list[str]:
    encoded = run.facts.search_attributes.get(name)
    return msgspec.json.decode(Payload.FromString(encoded).data, type=list[str]) if encoded else []


def _put_keywords(run: Run, name: str, words: list[str]) -> None:
    metadata = {"encoding": b"json/plain", "type": b"KeywordList"}
    payload = Payload(metadata=metadata, data=msgspec.json.encode(words))
    run.put("search_attributes", name, payload.SerializeToString(deterministic=True))
