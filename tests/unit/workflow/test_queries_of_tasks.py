"""Which queries a workflow task carries: those that waited when it began."""

from perdure.base.limits import Limits
from perdure.workflow.requests import WorkflowTaskStarted
from tests.transcripts.scenarios import signal, start
from tests.transcripts.stage import Stage


def test_a_task_whose_answer_is_repeated_carries_no_query_that_came_after_its_start() -> None:
    stage = Stage(limits=Limits(buffered_queries_max=2))
    stage.do(start())
    stage.query("before")
    (offer,) = stage.offers()
    request = stage.poll_request(offer, request_id="poll")
    first: WorkflowTaskStarted = stage.do(request)
    stage.do(signal())
    stage.query("after")
    again: WorkflowTaskStarted = stage.do(request)
    assert list(first.queries) == list(again.queries) == ["before"]
    stage.last = again
    following = stage.complete(return_new_workflow_task=True).reply.next_task
    assert list(following.queries) == ["before", "after"]
