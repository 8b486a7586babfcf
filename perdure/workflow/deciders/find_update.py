"""FindUpdate: what became of an update. Changes nothing."""

from perdure.base.errors import NotFound
from perdure.workflow.decide import Work, decides
from perdure.workflow.lookup import find_run
from perdure.workflow.update_requests import FindUpdate, UpdateSeen
from perdure.workflow.updates import check_aborted, seen


@decides(FindUpdate)
def find_update(work: Work, request: FindUpdate) -> UpdateSeen:
    """How far the update is in the run that the request names. Raises NotFound, also of one that was rejected."""
    run = find_run(work, request.run_id)
    found = seen(run, request.update_id)
    if found is None:
        check_aborted(run, request.update_id)
        quoted = request.update_id.replace("\\", "\\\\").replace('"', '\\"')
        raise NotFound(f'update "{quoted}" not found')
    return found
