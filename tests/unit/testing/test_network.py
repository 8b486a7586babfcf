"""Each trouble does to a call what it says, and a calm network does nothing to it."""

import asyncio

import pytest

from perdure.base.errors import NotFound, ShardElsewhere, Unavailable
from perdure.testing.entropy import SeededEntropy
from perdure.testing.loop import run_virtual, running_loop
from perdure.testing.network import CALM, Network, NetworkPlan, Trouble


class Party:
    """Counts its calls and the times at which they came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def call(self) -> str:
        self.times.append(running_loop().time())
        return "answer"


async def _called(plan: NetworkPlan, wait_s: float = 10.0) -> tuple[str, list[float], float, Network]:
    """What one call came to: its answer or error, when it was made, when it returned."""
    network = Network(SeededEntropy(1), running_loop().clock, plan)
    party = Party()
    try:
        answer = await network.call("call", party.call, "wf")
    except Unavailable:
        answer = "unavailable"
    returned = running_loop().time()
    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=wait_s)
    return answer, party.times, returned, network


def test_calm() -> None:
    answer, times, returned, network = run_virtual(_called(CALM))
    assert (answer, times, returned) == ("answer", [0.0], 0.0)
    assert not network.fired


def test_delayed() -> None:
    answer, times, returned, _ = run_virtual(_called(NetworkPlan(delayed=1.0)))
    assert answer == "answer"
    assert times[0] > 0
    assert returned == times[0]


def test_late_reply() -> None:
    answer, times, returned, _ = run_virtual(_called(NetworkPlan(late_reply=1.0)))
    assert (answer, times) == ("answer", [0.0])
    assert returned > 0


def test_lost_request() -> None:
    answer, times, _, network = run_virtual(_called(NetworkPlan(lost_request=1.0)))
    assert (answer, times) == ("unavailable", [])
    assert network.replies_lost == []


def test_lost_reply() -> None:
    answer, times, _, network = run_virtual(_called(NetworkPlan(lost_reply=1.0)))
    assert (answer, times) == ("unavailable", [0.0])
    assert [workflow_id for workflow_id, _ in network.replies_lost] == ["wf"]


def test_twice() -> None:
    answer, times, returned, network = run_virtual(_called(NetworkPlan(twice=1.0)))
    assert (answer, len(times), returned) == ("answer", 2, 0.0)
    assert times[1] > times[0]
    assert network.repeated == {"wf"}


def test_healed() -> None:
    async def play() -> list[float]:
        network = Network(SeededEntropy(1), running_loop().clock, NetworkPlan(lost_request=1.0))
        network.heal()
        party = Party()
        await network.call("call", party.call)
        return party.times

    assert run_virtual(play()) == [0.0]


def test_an_error_of_the_callee_goes_through() -> None:
    async def refused() -> None:
        raise NotFound("no")

    async def play() -> None:
        network = Network(SeededEntropy(1), running_loop().clock, NetworkPlan(late_reply=1.0))
        await network.call("call", refused)

    with pytest.raises(NotFound):
        run_virtual(play())


def test_troubles_come_as_often_as_planned() -> None:
    async def play() -> Network:
        plan = NetworkPlan(delayed=0.1, late_reply=0.1, lost_request=0.1, lost_reply=0.1, twice=0.1)
        network = Network(SeededEntropy(5), running_loop().clock, plan)
        party = Party()
        for _ in range(2_000):
            try:
                await network.call("call", party.call)
            except Unavailable:
                continue
        return network

    network = run_virtual(play())
    assert set(network.fired) == set(Trouble)
    assert all(150 < count < 250 for count in network.fired.values()), network.fired


def test_marks_stand_around_each_call() -> None:
    async def play() -> list[str]:
        network = Network(SeededEntropy(1), running_loop().clock)
        marks: list[str] = []
        network.at_mark = marks.append
        await network.call("offer", Party().call)
        return marks

    assert run_virtual(play()) == ["before offer", "after offer"]


@pytest.mark.parametrize(("error", "noted"), [(Unavailable("?"), True), (ShardElsewhere("no"), False)])
def test_an_answer_that_leaves_it_open_is_as_a_lost_reply(error: Unavailable, noted: bool) -> None:
    async def fail() -> None:
        raise error

    async def work() -> Network:
        network = Network(SeededEntropy(1), running_loop().clock)
        for workflow_id in ("wf", ""):
            with pytest.raises(Unavailable):
                await network.call("call", fail, workflow_id)
        return network

    found = [workflow_id for workflow_id, _ in run_virtual(work()).replies_lost]
    assert found == (["wf"] if noted else [])
