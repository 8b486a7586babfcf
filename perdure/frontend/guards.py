"""What stands between a transport and a method's own admission: who calls, whether it may, and the record of it.

Invariant: whoever may not do a call learns nothing by it, and nothing was changed for it, nor looked up or charged but
for a namespace that its id alone names; a call that has to be recorded is recorded once, however it ends. Without
guards a call costs nothing here.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message

from perdure.base.clock import Clock
from perdure.base.errors import PerdureError, Unauthorized
from perdure.frontend.audit import Audit, namespace_id_of
from perdure.frontend.authorization import Authorization
from perdure.frontend.lookups import Lookups
from perdure.frontend.measured import GuardMeter
from perdure.rpc.call import CallMeta, Handler

# Of google.rpc.Code.
_OK, _CANCELLED, _INTERNAL = 0, 1, 13


def _alone() -> int:
    return 1


@dataclass(frozen=True, slots=True)
class Guards:
    """What a frontend is given by whoever puts it together. `authorization` None: everybody may do everything. `audit`
    None: nothing is recorded. `frontends`: how many serve now, this one included; global limits are divided by it.
    """

    authorization: Authorization | None = None
    audit: Audit | None = None
    frontends: Callable[[], int] = _alone
    meter: GuardMeter = field(default_factory=GuardMeter)

    def handler(self, method: str, handler: Handler, lookups: Lookups, clock: Clock) -> Handler:
        """`handler` of a method, with the guards before it."""
        if self.authorization is None and (self.audit is None or not self.audit.covers(method)):
            return handler
        return _Guarded(self, method, handler, lookups, clock).serve


class _Guarded:
    """One method."""

    def __init__(self, guards: Guards, method: str, handler: Handler, lookups: Lookups, clock: Clock) -> None:
        self._guards = guards
        self._method = method
        self._handler = handler
        self._lookups = lookups
        self._clock = clock
        self._is_recorded = guards.audit is not None and guards.audit.covers(method)

    async def serve(self, request: Any, meta: CallMeta) -> Message | bytes:
        """The answer of the method, if it may be called. Raises Unauthorized."""
        outcome, is_recorded = _INTERNAL, self._is_recorded
        caller = [meta.certificate_names[0] if meta.certificate_names else ""]
        try:
            await self._allow(request, meta, caller)
            reply = await self._handler(request, meta)
            outcome = _OK
            return reply
        except Unauthorized as error:
            outcome, is_recorded = error.status, True
            raise
        except PerdureError as error:
            outcome = error.status
            raise
        except asyncio.CancelledError:
            outcome = _CANCELLED
            raise
        finally:
            if is_recorded and self._guards.audit is not None:
                self._guards.audit.record(self._method, request, meta, (caller[0], self._name(request)), outcome)

    async def _allow(self, request: Any, meta: CallMeta, caller: list[str]) -> None:
        """Raises Unauthorized. `caller` becomes who it is, also if it may not."""
        authorization = self._guards.authorization
        if authorization is None:
            return
        begun_ns = self._clock.monotonic_ns()
        try:
            claims = await authorization.identify(meta)
            caller[0] = claims.subject or caller[0]
            await authorization.check(claims, self._method, request, self._lookups)
        finally:
            self._guards.meter.decided(self._method, self._clock.monotonic_ns() - begun_ns)

    def _name(self, request: Any) -> str:
        if getattr(request, "namespace", ""):
            return ""
        namespace_id = namespace_id_of(request)
        return self._lookups.name_of(namespace_id) if namespace_id else ""
