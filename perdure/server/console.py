"""What `perdure dev` tells a person: how the start goes, where things are, how to connect, how it ends.

On a terminal it is a page with colours (none with NO_COLOR set); elsewhere plain lines, of which the first says where
it serves: scripts and tests wait for that one. Logs are another matter, and go to standard error.
"""

import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click
import msgspec

MARGIN = 12


class Facts(msgspec.Struct, frozen=True):
    """What a started server has to say of itself. `address`: of the frontend, "" if it isn't
    one. `metrics`: the page's URL.
    """

    version: str
    address: str
    namespaces: tuple[str, ...]
    data: str
    metrics: str
    roles: tuple[str, ...] = ()


class Console:
    """Writes to `stream`; as for a person if `terminal`."""

    def __init__(self, stream: TextIO, *, terminal: bool, colour: bool) -> None:
        self._stream = stream
        self._terminal = terminal
        self._colour = terminal and colour

    def step(self, done: str) -> None:
        """A step of the start is done; nobody but a person wants to know."""
        if self._terminal:
            self._line(f"  {self._styled('✓', fg='green')} {done}")

    def ready(self, facts: Facts) -> None:
        """It serves."""
        names = ", ".join(facts.namespaces)
        if not self._terminal:
            self._line(f"Perdure {facts.version} serves {facts.address or ', '.join(facts.roles)}")
            self._line(f"Namespaces {names}; data {facts.data}; metrics {facts.metrics}")
            return
        self._line("")
        self._line(f"  {self._styled(f'Perdure {facts.version}', bold=True)} serves {facts.address}")
        self._line("")
        for name, value in (
            ("gRPC", self._styled(facts.address, fg="cyan")),
            ("Metrics", self._styled(facts.metrics, fg="cyan")),
            ("Namespaces", names),
            ("Data", facts.data),
        ):
            self._line(f"  {name:<{MARGIN}}{value}")
        self._line("")
        connect = f'await Client.connect("{facts.address}", namespace="{facts.namespaces[0]}")'
        self._line(f"  {'Connect':<{MARGIN}}{connect}")
        self._line(f"  {'':<{MARGIN}}temporal workflow list --address {facts.address}")
        self._line("")
        self._line(self._styled("  Ctrl-C stops it.", dim=True))

    def waiting(self, facts: Facts, roles: Sequence[str]) -> None:
        """It is up, and doesn't serve yet as these roles: what they need isn't there."""
        self._line(f"Perdure {facts.version} is up; it waits for other roles or for shards as {', '.join(roles)}")

    def stopping(self) -> None:
        """It was told to stop."""
        self._line("Stopping.")

    def stopped(self, data: str) -> None:
        """It is over."""
        if self._terminal:
            self._line(f"Stopped. Data: {data}.")

    def _styled(self, text: str, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
        # None leaves a style out; False would write its end.
        return click.style(text, fg=fg, bold=bold or None, dim=dim or None) if self._colour else text

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def standard_console() -> Console:
    """The console on standard output."""
    return Console(sys.stdout, terminal=sys.stdout.isatty(), colour=wants_colour())


def wants_colour() -> bool:
    """False if NO_COLOR is set to anything but "" (no-color.org), or the terminal can't."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
