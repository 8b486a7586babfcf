"""The recorder: what a scenario asked and what the server answered, as lines of text.

A request is one line `> Method field: value, ...`; its reply follows, one field a line, or `! CODE "message"` with the
details of the error.
"""

from __future__ import annotations

import difflib

from google.protobuf.message import Message
from temporalio.api.history.v1 import message_pb2 as history

from tests.conformance.harness.render import Names, event_lines, message_lines, quoted
from tests.conformance.harness.rpc import CallFailed, method_of


class Transcript:
    """The growing text of one run of one scenario."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """A line of the scenario's own, to divide its steps."""
        self.lines += ["", f"# {self.names.clean(text)}"]

    def request(self, request: Message) -> None:
        """The request about to be sent, on one line."""
        fields = ", ".join(line.strip() for line in message_lines(request, self.names))
        self.lines += ["", f"> {method_of(request).name} {fields}".rstrip()]

    def message(self, message: Message) -> None:
        """A reply, or a part of one."""
        self.lines += [f"  {line}" for line in message_lines(message, self.names)] or ["  (empty)"]

    def failure(self, failure: CallFailed) -> None:
        """An error: code, message, and each detail with its fields."""
        self.lines.append(f"! {failure.code} {quoted(self.names.error(failure.text))}")
        for detail in failure.details:
            if isinstance(detail, Message):
                self.lines.append(f"  detail {detail.DESCRIPTOR.name}")
                self.lines += [f"    {line}" for line in message_lines(detail, self.names)]
            else:
                self.lines.append(f"  detail {detail}")

    def events(self, events: list[history.HistoryEvent]) -> None:
        """A history, event by event."""
        for event in events:
            self.lines += [f"  {line}" for line in event_lines(event, self.names)]

    def text(self) -> str:
        """The whole transcript, with a line feed at its end."""
        return "\n".join(self.lines).strip("\n") + "\n"


def difference(reference: str, other: str, reference_name: str, other_name: str) -> str:
    """A unified diff of two transcripts; empty if they are equal."""
    lines = difflib.unified_diff(
        reference.splitlines(), other.splitlines(), reference_name, other_name, lineterm="", n=6
    )
    return "\n".join(lines)
