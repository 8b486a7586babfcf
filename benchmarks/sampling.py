"""A server that measures itself: `python -m benchmarks.sampling FILE server start-dev ...`.

SIGUSR1 begins, SIGUSR2 ends and writes what was found to FILE as JSON. Every step of a call's or a background task's
coroutine is timed, so that the CPU time of each call is exact, and what is left of the main thread's is that of grpc
and the loop. Within steps a timer of CPU time interrupts the thread and says where it was; native code shows as the
Python code that called it.
"""

import json
import linecache
import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any

from perdure.base import tasks
from perdure.rpc import server as rpc
from perdure.server.main import main

_INTERVAL_S = 0.001
_LOOP = "grpc and loop"
_PROTOBUF = re.compile(
    r"FromString|SerializeToString|SerializePartial|MergeFrom|CopyFrom|ByteSize|HasField|WhichOneof|ListFields"
)
_LIBRARIES = {"google": "protobuf", "asyncio": "asyncio", "grpc": _LOOP}
_TICKS = os.sysconf("SC_CLK_TCK")


def threads() -> dict[str, float]:
    """CPU seconds by kind of thread: the loop's, Python's others by name, and those of native code."""
    python = {thread.native_id: thread.name for thread in threading.enumerate()}
    used: defaultdict[str, float] = defaultdict(float)
    for task in Path("/proc/self/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        used[python.get(int(task.name), "native threads of grpc")] += (int(fields[11]) + int(fields[12])) / _TICKS
    return dict(used)


class Sampler:
    """CPU seconds of the main thread: `calls` by what the steps belong to, exact; `rooms` and `places` by samples."""

    def __init__(self) -> None:
        self.calls: defaultdict[str, float] = defaultdict(float)
        self.rooms: defaultdict[str, float] = defaultdict(float)
        self.places: defaultdict[str, float] = defaultdict(float)
        self._threads: dict[str, float] = {}
        self._begun = 0.0
        self._since: float | None = None  # the begin of the step under way, or the last sample in it
        self._is_on = False

    def begin(self) -> None:
        """Start to measure."""
        self._threads, self._begun, self._is_on = threads(), time.thread_time(), True
        self._since = None
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)

    def end(self, file: Path) -> None:
        """Stop, and write what was found."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        self._is_on = False
        whole = time.thread_time() - self._begun
        within = sum(self.calls.values())
        share = within / (sum(self.rooms.values()) or 1.0)
        rest = {_LOOP: whole - within}
        found = {
            "threads": {name: seconds - self._threads.get(name, 0.0) for name, seconds in threads().items()},
            "calls": self.calls | rest,
            "rooms": {name: seconds * share for name, seconds in self.rooms.items()} | rest,
            "places": {name: seconds * share for name, seconds in self.places.items()} | rest,
        }
        file.with_suffix(".part").write_text(json.dumps(found))
        file.with_suffix(".part").rename(file)

    def step(self, name: str, advance: Callable[..., Any], *arguments: Any) -> Any:
        """Time one step of a coroutine."""
        if not self._is_on:
            return advance(*arguments)
        begun = self._since = time.thread_time()
        try:
            return advance(*arguments)
        finally:
            self._since = None
            self.calls[name] += time.thread_time() - begun

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        if self._since is None:
            return
        now = time.thread_time()
        weight, self._since = now - self._since, now
        room, place = described(frame)
        self.rooms[room] += weight
        self.places[place] += weight


class Timed(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are timed under a name."""

    def __init__(self, sampler: Sampler, name: str, inner: Coroutine[Any, Any, Any]) -> None:
        self._sampler = sampler
        self._name = name
        self._inner = inner

    def send(self, value: Any) -> Any:
        return self._sampler.step(self._name, self._inner.send, value)

    def throw(self, *error: Any) -> Any:
        return self._sampler.step(self._name, self._inner.throw, *error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> "Timed":
        return self

    def __iter__(self) -> "Timed":
        return self

    def __next__(self) -> Any:
        return self.send(None)


def described(frame: FrameType | None) -> tuple[str, str]:
    """(room, function) that a stack is counted under: those of the innermost frame that says something."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("perdure."):
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0)
            room = "protobuf" if _PROTOBUF.search(line) else ".".join(name.split(".")[:2])
            return room, f"{name}.{frame.f_code.co_name}"
        library = name.partition(".")[0]
        if library in _LIBRARIES:
            return _LIBRARIES[library], f"{name}.{frame.f_code.co_name}"
        frame = frame.f_back
    return _LOOP, _LOOP


def install(sampler: Sampler) -> None:
    """Have the steps of all calls and background tasks timed."""
    serve, spawn = rpc._serve, tasks.Background.spawn

    def timed_serve(name: str, *arguments: Any) -> Callable[[bytes, Any], Awaitable[bytes]]:
        inner: Any = serve(name, *arguments)
        short = name.rpartition("/")[2]

        async def call(body: bytes, context: Any) -> bytes:
            reply: bytes = await Timed(sampler, short, inner(body, context))
            return reply

        return call

    def timed_spawn(self: Any, coroutine: Coroutine[Any, Any, Any], *arguments: Any, **more: Any) -> Any:
        name = f"background: {getattr(coroutine, '__qualname__', coroutine)}"
        return spawn(self, Timed(sampler, name, coroutine), *arguments, **more)

    setattr(rpc, "_serve", timed_serve)  # noqa: B010 - another's attribute
    setattr(tasks.Background, "spawn", timed_spawn)  # noqa: B010 - another's attribute


def run() -> None:
    """The command line."""
    file = Path(sys.argv.pop(1))
    sampler = Sampler()
    install(sampler)
    signal.signal(signal.SIGUSR1, lambda *_: sampler.begin())
    signal.signal(signal.SIGUSR2, lambda *_: sampler.end(file))
    main()


if __name__ == "__main__":
    run()
