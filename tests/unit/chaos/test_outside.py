"""Callbacks over HTTP come to the simulator's receiver, with the addresses that it knows."""

import socket

import aiohttp

from perdure.testing.entropy import SeededEntropy
from perdure.testing.receiver import HOST
from tests.chaos.outside import Outside


def _address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


async def test_a_call_that_comes_counts_as_the_one_that_is_owed() -> None:
    outside = Outside(_address(), SeededEntropy(1))
    outside.world.calm()
    owed = f"http://{HOST}/a-b"
    outside.world.owed.add(owed)
    async with outside.serving(), aiohttp.ClientSession() as session:
        headers = {"Nexus-Operation-State": "succeeded"}
        async with session.post(outside.url(owed), data=b"{}", headers=headers) as answer:
            assert answer.status == 200
    assert not outside.world.uncalled()
    ((url, told),) = outside.told
    assert (url, told["Nexus-Operation-State"]) == (owed, "succeeded")


async def test_calls_fail_in_every_way_and_count_when_they_came() -> None:
    outside = Outside(_address(), SeededEntropy(3))
    seen = set[int]()
    async with outside.serving(), aiohttp.ClientSession() as session:
        for number in range(60):
            try:
                async with session.post(outside.url(f"http://{HOST}/{number}")) as answer:
                    seen.add(answer.status)
            except aiohttp.ClientError:
                seen.add(0)
            if seen == {0, 200, 503}:
                break
    assert seen == {0, 200, 503}
    assert {call.is_taken for calls in outside.world.calls.values() for call in calls} == {True, False}
