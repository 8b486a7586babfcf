"""StartChild: a run that another run started. It gets no workflow task before that one has recorded it and wakes it."""

from perdure.workflow.decide import Work, decides
from perdure.workflow.deciders.start import make_room
from perdure.workflow.new_run import create_run
from perdure.workflow.requests import StartChild
from perdure.workflow.state import Unclaimed


@decides(StartChild)
def start_child(work: Work, request: StartChild) -> None:
    """Start the child, unless it was started before, whatever became of it."""
    if request.origin.run_id in work.chain.runs:
        return
    if work.current is not None:
        make_room(work, work.current, request.request, request.origin.run_id)
    draft = create_run(work, request.request, request.origin)
    draft.assign("unclaimed", Unclaimed(draft.context.now_ns, request.parent_close_policy))
