"""How a listener ends its connections, so that what clients send after that comes back to them as UNAVAILABLE.

A gRPC server that shuts down says so to its clients, but cancels the calls that arrive before they have heard, and
CANCELLED is no status that anybody repeats. So its sockets are ended underneath it, which it has no means for itself.
"""

import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

_DESCRIPTORS = Path("/proc/self/fd")


def hang_up(port: int) -> int:
    """End all TCP connections that were accepted on this port by this process; how many there were. What was written to
    them before still goes out. Where the system doesn't list a process's descriptors (all but Linux), it does nothing.
    """
    ended = 0
    if port and _DESCRIPTORS.is_dir():
        for name in os.listdir(_DESCRIPTORS):
            with suppress(OSError):  # it was closed meanwhile, or it is no connection
                ended += _end(int(name), port)
    return ended


def _end(descriptor: int, port: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as found:
        if found.family not in (socket.AF_INET, socket.AF_INET6) or found.getsockname()[1] != port:
            return False
        found.getpeername()  # raises for what only listens
        found.shutdown(socket.SHUT_RDWR)
    return True
