"""The official Python SDK, client and worker, in a process of its own: what its client saw, and the history."""

from __future__ import annotations

import asyncio
import base64
import json
import sys

from temporalio.api.history.v1 import message_pb2 as history

from tests.conformance.harness.render import Rule
from tests.conformance.harness.scenario import scenario
from tests.conformance.harness.session import Session

SDK_RULES = (
    Rule("WorkerVersionStamp.build_id", "a digest of the worker's code", "<build>"),
    Rule("Failure.stack_trace", "where the program is installed", "<stack>"),
)


async def _run(s: Session, case: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.conformance.sdk.program", s.client.address, case, s.nonce),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"the program ended with {process.returncode}: {errors.decode()[-1500:]}"
    told = json.loads(output.splitlines()[-1])
    s.note(f"result {json.dumps(told['result'])}")
    events = history.History.FromString(base64.b64decode(told["history"])).events
    for event in events:
        # A set, sent in any order.
        event.workflow_task_completed_event_attributes.sdk_metadata.core_used_flags.sort()
    s.transcript.events(list(events))


@scenario(rules=SDK_RULES, alone=True)
async def sdk_timer_and_activity(s: Session) -> None:
    """A timer and a retried activity."""
    await _run(s, "timer_and_activity")


@scenario(rules=SDK_RULES, alone=True)
async def sdk_signal_and_query(s: Session) -> None:
    """Queries between signals, an unknown one, and one after the close."""
    await _run(s, "signal_and_query")


@scenario(rules=SDK_RULES, alone=True)
async def sdk_cancelled_timer(s: Session) -> None:
    """A cancellation during a timer."""
    await _run(s, "cancelled_timer")


@scenario(rules=SDK_RULES, alone=True)
async def sdk_cancelled_activity(s: Session) -> None:
    """A cancellation of an activity that heartbeats."""
    await _run(s, "cancelled_activity")


@scenario(rules=SDK_RULES, alone=True)
async def sdk_failing_activity(s: Session) -> None:
    """A failure that goes to the client."""
    await _run(s, "failing_activity")


@scenario(rules=SDK_RULES, alone=True)
async def sdk_attributes(s: Session) -> None:
    """Search attributes, memo and patches, and an id that is in use."""
    await _run(s, "attributes")


@scenario(rules=SDK_RULES, alone=True)
async def sdk_children(s: Session) -> None:
    """Children that end in every way, and one that ends with its parent."""
    await _run(s, "children")
