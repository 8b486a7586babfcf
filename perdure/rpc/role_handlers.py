"""Roles as tables of methods that a listener serves to other hosts.

Invariants: every error of a role reaches the caller as it is; an exception that is none of the tree is logged here, and
the caller learns no more than that it was ours; a caller that goes away or is out of time cancels its method and no
more. Refuses to know what a method does.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog

from perdure.base.errors import Bug, PerdureError
from perdure.base.limits import MIB
from perdure.cluster.roles import Call, HistoryRole, MatchingRole
from perdure.cluster.shard_host import ShardHost
from perdure.rpc.call import CallMeta, RawHandler, RawMethod
from perdure.rpc.role_methods import HISTORY, MATCHING, MESSAGE_BYTES_MAX, SHARD_HOST, RoleMethod, write_failure
from perdure.rpc.server import ServerOptions
from perdure.rpc.status import INTERNAL_MESSAGE

log = structlog.get_logger(__name__)
_NEVER_MS = 2**31 - 1  # as gRPC has it
# The name of a role's method, and its arguments. Raises what refuses the call.
Admit = Callable[[str, Sequence[Any]], None]

# Of a listener for other hosts. Hosts know when to leave each other, so no connection is ended for its age; they ping
# each other every few seconds.
INTERNAL_OPTIONS = ServerOptions(
    receive_bytes_max=MESSAGE_BYTES_MAX,
    transport_bytes_max=MESSAGE_BYTES_MAX + MIB,
    ping_interval_ms_min=500,
    keepalive_ms=5_000,
    keepalive_timeout_ms=5_000,
    connection_idle_ms=_NEVER_MS,
    connection_age_ms=_NEVER_MS,
    reflection=False,
)


def _admit_all(method: str, arguments: Sequence[Any]) -> None:
    """There is no limit."""


def history_methods(role: HistoryRole, host: ShardHost, admit: Admit = _admit_all) -> dict[str, RawMethod]:
    """What a history host serves. `admit` is for the role: a shard's moves are never refused."""
    return {**_served(HISTORY, role, admit), **_served(SHARD_HOST, host, _admit_all)}


def matching_methods(role: MatchingRole, admit: Admit = _admit_all) -> dict[str, RawMethod]:
    """What a matching host serves."""
    return _served(MATCHING, role, admit)


def _served(methods: Mapping[str, RoleMethod], role: Any, admit: Admit) -> dict[str, RawMethod]:
    return {
        method.path: RawMethod(_handler(method, getattr(role, name), partial(admit, name)))
        for name, method in methods.items()
    }


def _handler(method: RoleMethod, act: Callable[..., Any], admit: Callable[[Sequence[Any]], None]) -> RawHandler:
    async def handle(body: bytes, meta: CallMeta) -> bytes:
        try:
            arguments = method.read(body)
            admit(arguments)
            if method.call_at >= 0 and meta.timeout_ns:
                arguments[method.call_at] = _hurried(arguments[method.call_at], meta.timeout_ns)
            reply = method.write_reply(await act(*arguments))
            if len(reply) > MESSAGE_BYTES_MAX:
                raise Bug(f"a reply of {len(reply)} bytes is larger than hosts take from each other")
            return reply
        except PerdureError as error:
            if isinstance(error, Bug):
                log.exception("call of another host failed", operation=method.path)
            return write_failure(error)
        except Exception:
            # One failed call must not take anything else down.
            log.exception("call of another host failed unexpectedly", operation=method.path)
            return write_failure(Bug(INTERNAL_MESSAGE))

    return handle


def _hurried(call: Call, left_ns: int) -> Call:
    """The call with what is left of its time now; one that has no deadline keeps none."""
    return msgspec.structs.replace(call, timeout_ns=left_ns) if call.timeout_ns > left_ns else call
