"""What a person sees, and what a script does."""

import io

import pytest

from perdure.server.console import Console, Facts, wants_colour

FACTS = Facts("1.2.3", "127.0.0.1:7233", ("default", "other"), "perdure.db", "http://127.0.0.1:9090/metrics")


def _told(*, terminal: bool, colour: bool) -> str:
    stream = io.StringIO()
    console = Console(stream, terminal=terminal, colour=colour)
    console.step("shards: 1")
    console.ready(FACTS)
    console.stopping()
    console.stopped("perdure.db")
    return stream.getvalue()


def test_a_script_gets_plain_lines_the_first_of_which_says_where_it_serves() -> None:
    assert _told(terminal=False, colour=True).splitlines() == [
        "Perdure 1.2.3 serves 127.0.0.1:7233",
        "Namespaces default, other; data perdure.db; metrics http://127.0.0.1:9090/metrics",
        "Stopping.",
    ]


def test_who_waits_for_others_says_as_what_and_not_that_it_serves() -> None:
    stream = io.StringIO()
    Console(stream, terminal=False, colour=False).waiting(FACTS, ["frontend", "history"])
    assert stream.getvalue() == "Perdure 1.2.3 is up; it waits for other roles or for shards as frontend, history\n"


def test_a_person_sees_how_it_goes_and_how_to_connect() -> None:
    told = _told(terminal=True, colour=False)
    assert "\x1b" not in told
    for text in (
        "✓ shards: 1",
        "Perdure 1.2.3 serves 127.0.0.1:7233",
        "http://127.0.0.1:9090/metrics",
        "default, other",
        "perdure.db",
        'Client.connect("127.0.0.1:7233", namespace="default")',
        "temporal workflow list --address 127.0.0.1:7233",
        "Stopping.",
        "Stopped. Data: perdure.db.",
    ):
        assert text in told


def test_a_terminal_has_colours() -> None:
    plain, coloured = _told(terminal=True, colour=False), _told(terminal=True, colour=True)
    assert "\x1b[36m127.0.0.1:7233\x1b[0m" in coloured
    assert len(coloured) > len(plain)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_who_wants_no_colours_gets_none(
    environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_colour() is wanted
