"""What the judge of orders finds that is lost, doubled, made up or stuck; and what the rules of histories find."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.history.v1 import HistoryEvent

from tests.chaos.shop import Shop
from tests.e2e.histories import broken_chains, broken_rules
from tests.e2e.orders import Order, Receipt
from tests.unit.testing.story import event, first_run

ORDER = Order(7, failures=1, signals=2, cancelled=False)
RECEIPT = Receipt(7, 2, ["7-0", "7-1"], packed=["packed 7"], parcel="parcel 7")


def _shop(receipt: Receipt | None) -> Shop:
    shop = Shop([], 1, 1)
    shop.orders[7] = ORDER
    shop.acknowledged[7] = {"7-0", "7-1"}
    if receipt is not None:
        shop.receipts[7] = receipt
    return shop


def test_an_order_as_it_should_be() -> None:
    shop = _shop(RECEIPT)
    assert not shop.judge(ORDER)
    assert not shop.missing()
    shop.uncertain[7] = {"7-2"}
    assert not shop.judge(ORDER), "what may have been done needn't be there"
    shop.receipts[7] = replace(RECEIPT, signals=["7-0", "7-1", "7-2"])
    assert not shop.judge(ORDER), "and may be"


@pytest.mark.parametrize(
    "wrong",
    [
        replace(RECEIPT, signals=["7-0"]),
        replace(RECEIPT, signals=["7-0", "7-0", "7-1"]),
        replace(RECEIPT, signals=["7-0", "7-1", "7-9"]),
        replace(RECEIPT, packed=["packed 7", "packed 7"]),
        replace(RECEIPT, packed=[]),
        replace(RECEIPT, parcel=""),
        replace(RECEIPT, attempts=1),
        replace(RECEIPT, number=8),
        replace(RECEIPT, ended="refunded 7"),
    ],
    ids=["lost", "doubled", "made up", "child twice", "child lost", "no parcel", "too soon", "another's", "cancelled"],
)
def test_what_is_planted_in_a_receipt_is_found(wrong: Receipt) -> None:
    assert len(_shop(wrong).judge(ORDER)) == 1


def test_an_order_that_is_stuck_is_found() -> None:
    assert _shop(None).missing() == ["order 7 has no end"]


def test_tasks_that_were_lost_on_their_way_are_counted() -> None:
    shop = _shop(None)
    events = first_run()
    shop.runs["r"] = events
    assert not shop.unanswered().total()
    late = HistoryEvent()
    late.workflow_task_timed_out_event_attributes.timeout_type = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
    sticky = HistoryEvent()
    sticky.workflow_task_timed_out_event_attributes.timeout_type = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
    again = HistoryEvent()
    again.activity_task_started_event_attributes.last_failure.timeout_failure_info.SetInParent()
    failed = HistoryEvent()
    failed.activity_task_started_event_attributes.last_failure.application_failure_info.SetInParent()
    shop.runs["s"] = [late, sticky, again, failed, again]
    assert shop.unanswered() == {"workflow tasks": 1, "activities": 2}


def _lost(events: list[HistoryEvent]) -> None:
    del events[6]


def _doubled(events: list[HistoryEvent]) -> None:
    events.insert(7, events[6])


def _goes_on(events: list[HistoryEvent]) -> None:
    events.append(event(20, 9, "WORKFLOW_TASK_SCHEDULED"))


def _without_start(events: list[HistoryEvent]) -> None:
    events[0] = event(1, 0, "WORKFLOW_TASK_SCHEDULED")


def _activity_twice(events: list[HistoryEvent]) -> None:
    events[11] = event(12, 4, "ACTIVITY_TASK_FAILED", scheduled_event_id=5, started_event_id=13)


def _early_timer(events: list[HistoryEvent]) -> None:
    events[15] = event(16, 6, "TIMER_FIRED", timer_id="t", started_event_id=6)


def _timer_twice(events: list[HistoryEvent]) -> None:
    events[16] = event(17, 7.5, "TIMER_FIRED", timer_id="t", started_event_id=6)


def _signal_twice(events: list[HistoryEvent]) -> None:
    for at in (6, 8):
        events[at].workflow_execution_signaled_event_attributes.request_id = "same"


def _child_without_beginning(events: list[HistoryEvent]) -> None:
    events[11] = event(12, 4, "START_CHILD_WORKFLOW_EXECUTION_INITIATED")


@pytest.mark.parametrize(
    "plant",
    [
        _lost, _doubled, _goes_on, _without_start, _activity_twice, _early_timer, _timer_twice, _signal_twice,
        _child_without_beginning,
    ],
)  # fmt: skip
def test_what_is_planted_in_a_history_is_found(plant: Callable[[list[HistoryEvent]], None]) -> None:
    events = first_run()
    for number, at in enumerate((6, 8)):
        events[at].workflow_execution_signaled_event_attributes.request_id = f"g{number}"
    assert not broken_rules(events)
    plant(events)
    assert broken_rules(events)


def test_what_is_planted_in_a_chain_is_found() -> None:
    begun = event(1, 0, "WORKFLOW_EXECUTION_STARTED", continued_execution_run_id="one")
    goes_on = event(2, 1, "WORKFLOW_EXECUTION_CONTINUED_AS_NEW", new_execution_run_id="two")
    end = event(2, 2, "WORKFLOW_EXECUTION_COMPLETED")
    good = {"one": [event(1, 0, "WORKFLOW_EXECUTION_STARTED"), goes_on], "two": [begun, end]}
    assert not broken_chains(good)
    assert broken_chains({"one": good["one"]}), "the successor is lost"
    assert broken_chains({**good, "three": [begun, end]}), "there are two"
    assert broken_chains({"one": [good["one"][0], end], "two": good["two"]}), "it isn't named"
