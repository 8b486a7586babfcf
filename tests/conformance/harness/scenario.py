"""The registry of scenarios: a small async function, its topic (the module it stands in) and its intended differences.

A difference between the two servers is either declared here with its reason or a failure; there is no third way.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from tests.conformance import scenarios
from tests.conformance.harness.render import Names, Rule, Wording
from tests.conformance.harness.rpc import CallFailed, Client
from tests.conformance.harness.session import Session
from tests.conformance.harness.transcript import Transcript

SCENARIO_SECONDS = 30.0
# The reference gives a task away, and then forgets to whom, when it needs more than a second to write that down.
AT_ONCE = 16
# Opens the last line of a transcript whose scenario did not reach its end.
STOPPED = "stopped:"

Body = Callable[[Session], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario: `rules` change how fields are shown on both sides, `differs` says why its transcripts differ.

    `alone`: it is too heavy to run beside others of its topic.
    """

    name: str
    topic: str
    body: Body
    rules: tuple[Rule | Wording, ...] = ()
    differs: str = ""
    alone: bool = False


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *, rules: tuple[Rule | Wording, ...] = (), differs: str = "", alone: bool = False
) -> Callable[[Body], Body]:
    """Register the decorated function under its own name; its module is its topic."""

    def register(body: Body) -> Body:
        name, topic = body.__name__, body.__module__.rpartition(".")[2]
        assert name not in SCENARIOS, f"two scenarios are called {name}"
        SCENARIOS[name] = Scenario(name, topic, body, rules, differs, alone)
        return body

    return register


def load() -> dict[str, Scenario]:
    """Import every module of scenarios, and return them all by name."""
    for module in pkgutil.iter_modules(scenarios.__path__):
        importlib.import_module(f"{scenarios.__name__}.{module.name}")
    return SCENARIOS


async def run(one: Scenario, client: Client) -> str:
    """Run a scenario on a server and return its transcript; what goes wrong ends it with a line that says so."""
    nonce = os.urandom(5).hex()
    transcript = Transcript(Names(nonce, one.rules))
    session = Session(client, transcript, nonce)
    try:
        async with asyncio.timeout(SCENARIO_SECONDS):
            await one.body(session)
    except CallFailed as failure:
        transcript.lines.append(f"{STOPPED} {failure.method} failed")
    except TimeoutError as late:
        transcript.lines.append(f"{STOPPED} {str(late) or f'no end after {SCENARIO_SECONDS:g} s'}")
    except (AssertionError, LookupError) as wrong:
        transcript.lines.append(f"{STOPPED} {type(wrong).__name__}: {wrong}")
    finally:
        await session.end()
    return transcript.text()


async def run_all(chosen: Iterable[Scenario], client: Client) -> dict[str, str]:
    """Run scenarios concurrently on one server, then those that run alone; each has ids and task queues of its own."""
    listed = list(chosen)
    together = [one for one in listed if not one.alone]
    free = asyncio.Semaphore(AT_ONCE)

    async def in_turn(one: Scenario) -> str:
        async with free:
            return await run(one, client)

    texts = await asyncio.gather(*(in_turn(one) for one in together))
    found = {one.name: text for one, text in zip(together, texts, strict=True)}
    for one in listed:
        if one.alone:
            found[one.name] = await run(one, client)
    return found
