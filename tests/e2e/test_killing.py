"""A server killed at random moments loses nothing; `python -m tests.e2e.killing` runs the large campaign."""

import pytest

from tests.e2e.killing import campaign


@pytest.mark.timeout(400)
async def test_workflows_outlive_a_server_that_is_killed() -> None:
    run, wrong = await campaign(count=60, kills=6, seed=7, in_flight=30, patience_seconds=240)
    assert not wrong, "\n".join(wrong)
    assert run.server.kills == 6
    assert len(run.receipts) == 60
    assert sum(len(texts) for texts in run.acknowledged.values()) > 30
