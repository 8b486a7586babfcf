"""A network of a test's own, with nothing but a loopback: every port in it is free.

It is a network namespace that one process holds open, and it is gone with the process, however the test ends.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

# SIOCSIFFLAGS with IFF_UP: no program that configures networks need be installed.
_HOLD = """
import fcntl, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))
print("up", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def network() -> Iterator[list[str]]:
    """The beginning of a command line that runs the rest in it. As root, or as a user who may make namespaces."""
    as_user = os.geteuid() != 0
    holder = subprocess.Popen(
        ["unshare", "--net", *(["--map-root-user"] if as_user else []), sys.executable, "-c", _HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n", "no network of its own can be made here"
        user = ["--user", "--preserve-credentials"] if as_user else []
        yield ["nsenter", "--target", str(holder.pid), "--net", *user, "--"]
    finally:
        holder.kill()
        holder.communicate()
