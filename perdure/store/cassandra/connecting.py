"""From options to a session: waiting for a cluster that is away, and saying why it can't be had.

Invariant: what waiting can't mend (a wrong password, no such datacenter, TLS that does not fit) is told at once.
"""

import asyncio

import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import FailedPrecondition, StoreUnavailable
from perdure.store.cassandra import driver
from perdure.store.cassandra.errors import Away, Denied, Misfit
from perdure.store.cassandra.options import CassandraOptions, check
from perdure.store.cassandra.reactor import on_this_loop
from perdure.store.cassandra.session import Session

_FIRST_PAUSE_S = 0.5
_PAUSE_MAX_S = 5.0

log = structlog.get_logger(__name__)


async def connected(options: CassandraOptions, clock: Clock) -> Session:
    """A session with the cluster, no keyspace chosen; waits up to `connect_wait_s` for one that is away.

    Raises InvalidArgument (an option), StoreUnavailable (away for too long), FailedPrecondition (a cause that waiting
    does not mend).
    """
    check(options)
    until_ns = clock.monotonic_ns() + int(options.connect_wait_s * SECOND_NS)
    pause_s = _FIRST_PAUSE_S
    was_away = False
    while True:
        try:
            return Session(await asyncio.to_thread(driver.connect, options, on_this_loop()))
        except Misfit as error:
            raise FailedPrecondition(f"Cassandra can't be used with these options: {error}.") from error
        except Denied as error:
            # A cluster that has just come up makes its first user some seconds after it begins to listen.
            if not was_away or clock.monotonic_ns() >= until_ns:
                raise FailedPrecondition(f"Cassandra refuses {_user(options)}: {error}.") from error
            cause = str(error)
        except Away as error:
            if clock.monotonic_ns() >= until_ns:
                raise StoreUnavailable(f"Cassandra can't be reached: {error}.") from error
            was_away = True
            cause = str(error)
        left_s = (until_ns - clock.monotonic_ns()) / SECOND_NS
        log.warning("waiting for Cassandra", cause=cause, seconds_left=max(0, round(left_s)))
        await asyncio.sleep(max(0.0, min(pause_s, left_s)))
        pause_s = min(pause_s * 2, _PAUSE_MAX_S)


def _user(options: CassandraOptions) -> str:
    return f"the user {options.user} or its password" if options.user else "to work without a user and a password"
