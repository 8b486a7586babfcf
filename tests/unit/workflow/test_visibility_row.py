"""A run's row in lists follows its state, with a version that rises with every change that lists show."""

from temporalio.api.common.v1 import Memo, Payload, SearchAttributes

from perdure.workflow.core import visibility_row
from perdure.workflow.tasks import Effect, EffectKind
from tests.transcripts.scenarios import command, done, signal, start
from tests.transcripts.stage import T0, Stage


def test_the_row_of_a_life() -> None:
    stage = Stage(types={"Word": 2})
    stage.do(start(memo=Memo(fields={"note": Payload(data=b"1"), "gone": Payload()})))
    row = visibility_row(stage.run)
    assert (row.version, row.workflow_type, row.task_queue, row.status) == (1, "flow", "queue", 1)
    assert (row.start_time_ns, row.execution_time_ns, row.close_time_ns) == (T0, T0, 0)
    assert (row.root_workflow_id, row.root_run_id) == ("wf", stage.run.run_id)
    assert set(Memo.FromString(row.memo).fields) == {"note"}

    stage.do(signal())
    assert visibility_row(stage.run).version == 1, "lists do not show signals"

    stage.poll()
    words = SearchAttributes(indexed_fields={"Word": Payload(data=b'"w"')})
    decision = stage.complete(
        command("UPSERT_WORKFLOW_SEARCH_ATTRIBUTES", search_attributes=words),
        command("MODIFY_WORKFLOW_PROPERTIES", upserted_memo=Memo(fields={"note": Payload(data=b"null")})),
        done(),
    )
    row = visibility_row(stage.run)
    assert row.version == stage.run.durable.transition_count == 4
    assert (row.status, row.close_time_ns, row.history_length) == (2, T0, len(stage.history))
    assert (row.memo, set(row.search_attributes)) == (b"", {"Word", "BuildIds"})
    effects = [task for task in decision.added if isinstance(task, Effect)]
    assert [(effect.kind, effect.version) for effect in effects] == [(EffectKind.VISIBILITY, 4)]
