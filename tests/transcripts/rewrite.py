"""`python -m tests.transcripts.rewrite [NAME...]`: write the expected transcripts anew. Review the difference."""

import sys
from pathlib import Path

from tests.transcripts import (
    activity_scenarios,
    child_scenarios,
    operation_scenarios,
    successor_scenarios,
    time_scenarios,
    update_scenarios,
)
from tests.transcripts.rendering import Renderer
from tests.transcripts.scenarios import SCENARIOS
from tests.transcripts.stage import Stage

__all__ = [
    "activity_scenarios",
    "child_scenarios",
    "main",
    "operation_scenarios",
    "successor_scenarios",
    "time_scenarios",
    "transcript",
    "update_scenarios",
]

EXPECTED = Path(__file__).parent / "expected"


def transcript(name: str) -> str:
    """What the core does in the scenario `name` now."""
    renderer = Renderer()
    stage = Stage(lambda request, decision: renderer.decision(request, decision, stage.now_ns))
    SCENARIOS[name](stage, renderer.note)
    return "\n".join(renderer.lines).lstrip("\n") + "\n"


def main() -> None:
    for name in sys.argv[1:] or SCENARIOS:
        (EXPECTED / f"{name}.txt").write_text(transcript(name))


if __name__ == "__main__":
    main()
