"""Addresses of this machine that nobody listens on: a node's ports are fixed, so each node gets an address of its own.

All of 127.0.0.0/8 is this machine on Linux. 127.0.0.x is left to whoever runs a Cassandra of their own.
"""

import os
import socket
from collections.abc import Sequence

CQL_PORT = 9042
STORAGE_PORT = 7000


def free_addresses(count: int) -> list[str]:
    """So many addresses on which both ports of a node are free; other processes try others first."""
    found: list[str] = []
    begin = os.getpid() % 200
    for net in [*range(begin, 200), *range(begin)]:
        for host in range(1, 251):
            address = f"127.70.{net}.{host}"
            if _is_free(address, (CQL_PORT, STORAGE_PORT)):
                found.append(address)
            if len(found) == count:
                return found
    raise AssertionError("127.70.0.0/16 has no free address")


def _is_free(address: str, ports: Sequence[int]) -> bool:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
