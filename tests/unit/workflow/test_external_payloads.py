"""Payloads that are kept elsewhere are counted as their events are numbered."""

from temporalio.api.common.v1 import Memo, Payload, Payloads
from temporalio.api.history.v1 import HistoryEvent

from perdure.workflow.core import visibility_row
from perdure.workflow.external_payloads import external_payloads
from tests.transcripts.scenarios import start, terminate
from tests.transcripts.stage import Stage

_KEPT = Payload(data=b"1", external_payloads=[Payload.ExternalPayloadDetails(size_bytes=size) for size in (1 << 40, 0)])


def test_those_of_a_start_are_counted_and_listed_when_the_run_is_closed() -> None:
    stage = Stage()
    stage.do(start(input=Payloads(payloads=[_KEPT, Payload(data=b"2")]), memo=Memo(fields={"m": _KEPT})))
    durable = stage.run.durable
    assert (durable.external_payload_count, durable.external_payload_bytes) == (4, 2 << 40)
    assert visibility_row(stage.run).search_attributes == {}
    stage.do(terminate())
    row = visibility_row(stage.run)
    listed = {name: Payload.FromString(value).data for name, value in row.search_attributes.items()}
    assert listed == {"TemporalExternalPayloadCount": b"4", "TemporalExternalPayloadSizeBytes": str(2 << 40).encode()}


def test_those_of_search_attributes_are_not_counted() -> None:
    event = HistoryEvent()
    attributes = event.upsert_workflow_search_attributes_event_attributes
    attributes.search_attributes.indexed_fields["a"].CopyFrom(_KEPT)
    assert external_payloads(event, event.SerializeToString()) == (0, 0)
