"""A server that samples itself: `python -m benchmarks.sampling FILE server start-dev ...`.

SIGUSR1 begins, SIGUSR2 ends and writes the samples to FILE as JSON. A timer of CPU time interrupts the main thread; a
sample weighs the CPU time that the thread has used since the one before, so that the sums are exact. The interpreter
delivers a signal between two instructions only: what native code took shows at the instruction that called it, or, if
the loop called it, at the entry of the Python function that comes next, and is then put down to the loop.
"""

import dis
import json
import linecache
import os
import re
import signal
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType

from perdure.server.main import main

_INTERVAL_S = 0.001
_RESUME = dis.opmap["RESUME"]
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
    """Seconds of the main thread's CPU time, by what it did."""

    def __init__(self) -> None:
        self.rooms: defaultdict[str, float] = defaultdict(float)
        self.calls: defaultdict[str, float] = defaultdict(float)
        self.places: defaultdict[str, float] = defaultdict(float)
        self._threads: dict[str, float] = {}
        self._then = 0.0

    def begin(self) -> None:
        """Start to sample."""
        self._threads, self._then = threads(), time.thread_time()
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, _INTERVAL_S, _INTERVAL_S)

    def end(self, file: Path) -> None:
        """Stop, and write what was found."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        used = {name: seconds - self._threads.get(name, 0.0) for name, seconds in threads().items()}
        found = {"threads": used, "rooms": self.rooms, "calls": self.calls, "places": self.places}
        file.with_suffix(".part").write_text(json.dumps(found))
        file.with_suffix(".part").rename(file)

    def _sample(self, _number: int, frame: FrameType | None) -> None:
        now = time.thread_time()
        weight, self._then = now - self._then, now
        if frame is not None and frame.f_code.co_code[frame.f_lasti] == _RESUME:
            frame = frame.f_back
        room, place, call = described(frame)
        self.rooms[room] += weight
        self.places[place] += weight
        self.calls[call] += weight


def described(frame: FrameType | None) -> tuple[str, str, str]:
    """(room, function, call) that a stack is counted under."""
    place, call = _LOOP, _LOOP
    room = ""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        function = frame.f_code.co_name
        if name.startswith("perdure.") and not name.startswith("perdure.server.main"):
            here = ".".join(name.split(".")[:2])
            if not room:
                line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0)
                room = "protobuf" if _PROTOBUF.search(line) else here
            if place == _LOOP:
                place = f"{name}.{function}"
            call = f"background: {name}.{function}"
            if name == "perdure.rpc.server" and function == "serve":
                return room, place, frame.f_locals["name"].rpartition("/")[2]
        elif not room and name.partition(".")[0] in _LIBRARIES and name != "asyncio.runners":
            room = _LIBRARIES[name.partition(".")[0]]
            place = f"{name}.{function}"
        frame = frame.f_back
    return room or _LOOP, place, call


def run() -> None:
    """The command line."""
    file = Path(sys.argv.pop(1))
    sampler = Sampler()
    signal.signal(signal.SIGUSR1, lambda *_: sampler.begin())
    signal.signal(signal.SIGUSR2, lambda *_: sampler.end(file))
    main()


if __name__ == "__main__":
    run()
