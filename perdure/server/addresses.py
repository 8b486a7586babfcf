"""At which address other hosts reach this one."""

import asyncio
import ipaddress
import socket

from perdure.base.errors import InvalidArgument

WILDCARDS = frozenset({"0.0.0.0", "::", ""})


async def advertised(wanted: str, listens: str) -> str:
    """`wanted` if it is set; else where it listens, or, if that is every address, the one that this machine's name
    stands for. In brackets if it is one of IPv6. Raises InvalidArgument if that can't be found.
    """
    found = wanted or (listens if listens not in WILDCARDS else await _own(is_v6=":" in listens))
    return f"[{found}]" if ":" in found and not found.startswith("[") else found


def is_loopback(host: str) -> bool:
    """Whether this names the machine itself, to itself."""
    return host.startswith("127.") or host.strip("[]") in ("localhost", "::1")


async def _own(*, is_v6: bool) -> str:
    name = socket.gethostname()
    try:
        entries = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        entries = []
    found = [str(place[0]) for _, _, _, _, place in entries]
    for address in sorted(found, key=lambda each: (":" in each) != is_v6):
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            return address
    raise InvalidArgument(
        f"cluster.advertise: expected the address at which other hosts reach this one: it listens on every address, "
        f"and its name {name} stands for none of them"
    )
