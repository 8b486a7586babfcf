"""At which address other hosts reach this one."""

import ipaddress

import pytest

from perdure.base.errors import InvalidArgument
from perdure.server.addresses import advertised, is_loopback


async def test_what_is_wanted_wins_and_where_it_listens_is_next() -> None:
    assert await advertised("10.0.0.7", "0.0.0.0") == "10.0.0.7"
    assert await advertised("perdure-0.perdure", "127.0.0.1") == "perdure-0.perdure"
    assert await advertised("", "10.0.0.8") == "10.0.0.8"
    assert await advertised("fd00::1", "::") == "[fd00::1]"
    assert await advertised("[fd00::1]", "::") == "[fd00::1]"


@pytest.mark.parametrize("listens", ["0.0.0.0", "::"])
async def test_one_that_listens_everywhere_has_the_address_of_its_name(listens: str) -> None:
    """Or says that there is none, by the key that helps."""
    try:
        found = await advertised("", listens)
    except InvalidArgument as error:
        told = error.message
    else:
        told = "" if ipaddress.ip_address(found.strip("[]")).is_loopback else "cluster.advertise: expected nothing"
    assert told.startswith("cluster.advertise: expected")


def test_what_only_the_machine_itself_can_reach() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.70.1.2", "localhost", "::1", "[::1]")))
    assert not any(map(is_loopback, ("10.0.0.1", "0.0.0.0", "host.localhost.example")))
