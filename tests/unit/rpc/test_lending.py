"""What a task queue's root and its branches say to each other, between hosts."""

import math

import pytest

from perdure.base.errors import QueueSpread
from perdure.base.slots import ChainKey
from perdure.cluster.roles import Call, Demand, Loan, Outcome, Poll, Return, Supply
from perdure.rpc.role_methods import MATCHING, write_failure
from perdure.workflow.tasks import Offer, QueueKey, QueueKind

QUEUE = QueueKey("ns", "q", QueueKind.ACTIVITY)


def test_demands_and_supplies_travel() -> None:
    lend = MATCHING["lend"]
    returns = [Return("root", 7, Outcome.LATER, "request", 3), Return("root", 8, Outcome.STARTED)]
    for limit in (None, 2.5, math.inf):
        demand = Demand(1, "life", 2, 3, 4, returns, [1], limit)
        assert lend.read(lend.write(QUEUE, demand, Call(timeout_ns=5))) == [QUEUE, demand, Call(timeout_ns=5)]
    offer = Offer(ChainKey("ns", "wf"), "run", QUEUE, 5, 1, 0, 9, priority=2, fairness_key="k")
    supply = Supply("root", 3, [Loan(1, offer, True, "request", 1)], 5, 6, 0.5, 0.25, True)
    assert lend.read_reply(lend.write_reply(supply)) == supply


def test_a_poll_of_an_older_release_knows_nothing_of_partitions() -> None:
    poll = MATCHING["poll"]
    sent = poll.write(Poll(QUEUE, "w", 1, partitions=3), Call())
    assert poll.read(sent)[0].partitions == 3
    assert Poll(QUEUE, "w", 1).partitions == 0


def test_where_a_queue_is_now_travels_as_an_error() -> None:
    with pytest.raises(QueueSpread) as caught:
        MATCHING["poll"].read_reply(write_failure(QueueSpread("elsewhere", 5)))
    assert caught.value.partitions == 5
