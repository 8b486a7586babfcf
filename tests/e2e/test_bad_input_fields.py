"""Every RPC with one field wrong at a time: whatever is sent, it is done or it is refused as the caller's fault."""

import pytest

from perdure.frontend.frontend import TOPICS
from perdure.frontend.methods import Mark
from tests.conformance.harness.rpc import CallFailed
from tests.e2e.good_requests import GOOD
from tests.e2e.mutations import Change, changes
from tests.e2e.siege import Siege, in_turns

pytestmark = pytest.mark.asyncio(loop_scope="session")

_CALLERS_FAULT = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
# These wait, and nobody answers them; only one query may wait for a task, and ten updates.
_WAITING = {
    "UpdateWorkflowExecution": {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "PERMISSION_DENIED"},
    "ExecuteMultiOperation": {"DEADLINE_EXCEEDED", "PERMISSION_DENIED"},
    "GetWorkflowExecutionHistory": {"DEADLINE_EXCEEDED"},
    "QueryWorkflow": {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"},
}
# A poll that finds nothing answers a second before its deadline, which may not be nearer than two.
_SECONDS = 2.2


async def _fate(siege: Siege, method: str, label: str, change: Change) -> str:
    """What is wrong with what became of a call; "" if nothing is."""
    request = await GOOD[method](siege)
    spoiled = type(request)()
    spoiled.CopyFrom(request)
    change(spoiled)
    try:
        await siege.client.call(spoiled, _SECONDS)
    except CallFailed as failed:
        allowed = failed.code in _CALLERS_FAULT | _WAITING.get(method, set())
        return "" if allowed and failed.text else f"{label}: {failed.code} {failed.text}"
    return ""


@pytest.mark.parametrize("method", GOOD)
async def test_a_field_spoiled_is_the_callers_fault(siege: Siege, method: str) -> None:
    await siege.target()
    spoiled = changes(await GOOD[method](siege))
    fates = await in_turns([_fate(siege, method, label, change) for label, change in spoiled], at_once=64)
    assert not (wrong := [fate for fate in fates if fate]), "\n".join(wrong)
    await siege.unharmed()


async def test_every_method_that_is_served_is_spoiled() -> None:
    served = {
        name
        for topic in TOPICS
        for name in dir(topic)
        if isinstance(getattr(getattr(topic, name), "_mark", None), Mark)
    }
    assert set(GOOD) == served
