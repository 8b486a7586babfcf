"""The API's TestService: a clock that tests of workflows lock, unlock and sleep by.

Served by development servers that are told to, and by nobody else: it moves the time of all namespaces.
"""

from collections.abc import Callable
from typing import Any, Protocol

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from temporalio.api.testservice.v1 import (
    GetCurrentTimeResponse,
    LockTimeSkippingRequest,
    LockTimeSkippingResponse,
    SleepRequest,
    SleepResponse,
    SleepUntilRequest,
    UnlockTimeSkippingRequest,
    UnlockTimeSkippingResponse,
)
from temporalio.api.testservice.v1.service_pb2 import DESCRIPTOR

from perdure.base.clock import from_duration, from_timestamp, to_timestamp
from perdure.rpc.call import CallMeta, Method

_SERVICE = DESCRIPTOR.services_by_name["TestService"].full_name


class SkippableTime(Protocol):
    """What the calls do."""

    def now_ns(self) -> int:
        """The server's time."""
        ...

    def lock(self) -> None:
        """One lock more."""
        ...

    def unlock(self) -> None:
        """One less. Raises FailedPrecondition if there is none."""
        ...

    async def sleep_until(self, time_ns: int) -> None:
        """Wait for the server's time."""
        ...

    async def unlock_and_sleep(self, duration_ns: int) -> None:
        """One lock less meanwhile. Raises FailedPrecondition if there is none."""
        ...


def test_methods(time: SkippableTime) -> dict[str, Method]:
    """The methods of the TestService, as a transport serves them."""

    async def lock(request: Any, meta: CallMeta) -> Message:
        time.lock()
        return LockTimeSkippingResponse()

    async def unlock(request: Any, meta: CallMeta) -> Message:
        time.unlock()
        return UnlockTimeSkippingResponse()

    async def sleep(request: SleepRequest, meta: CallMeta) -> Message:
        await time.sleep_until(time.now_ns() + from_duration(request.duration))
        return SleepResponse()

    async def sleep_until(request: SleepUntilRequest, meta: CallMeta) -> Message:
        await time.sleep_until(from_timestamp(request.timestamp))
        return SleepResponse()

    async def unlock_and_sleep(request: SleepRequest, meta: CallMeta) -> Message:
        await time.unlock_and_sleep(from_duration(request.duration))
        return SleepResponse()

    async def now(request: Any, meta: CallMeta) -> Message:
        return GetCurrentTimeResponse(time=to_timestamp(time.now_ns()))

    served: dict[str, tuple[type[Message], Callable[..., Any]]] = {
        "LockTimeSkipping": (LockTimeSkippingRequest, lock),
        "UnlockTimeSkipping": (UnlockTimeSkippingRequest, unlock),
        "Sleep": (SleepRequest, sleep),
        "SleepUntil": (SleepUntilRequest, sleep_until),
        "UnlockTimeSkippingWithSleep": (SleepRequest, unlock_and_sleep),
        "GetCurrentTime": (Empty, now),
    }
    return {f"/{_SERVICE}/{name}": Method(request, handler) for name, (request, handler) in served.items()}
