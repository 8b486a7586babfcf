"""Every scenario happens as its transcript says."""

import pytest

from tests.transcripts.rewrite import EXPECTED, transcript
from tests.transcripts.scenarios import SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_scenario_happens_as_expected(name: str) -> None:
    assert transcript(name) == (EXPECTED / f"{name}.txt").read_text()


def test_every_transcript_has_its_scenario() -> None:
    assert {path.stem for path in EXPECTED.glob("*.txt")} == set(SCENARIOS)
