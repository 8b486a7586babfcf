"""The committed page on compatibility is what the code says."""

from perdure.server.compatibility import PAGE, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == page(), "run `make compat`"


def test_the_page_tells_what_is_there_from_what_is_not() -> None:
    lines = page().splitlines()
    assert "| StartWorkflowExecution | there |" in lines
    assert "| CreateSchedule | not there |" in lines
    assert "| ScheduleActivityTask | there |" in lines
    assert "| WorkflowExecutionStarted | there |" in lines
    assert "| NexusOperationStarted | not there |" in lines
