"""That replay gives the live state, for what random histories don't have. `Stage` compares the two itself."""

from temporalio.api.common.v1 import Payload
from temporalio.api.sdk.v1 import UserMetadata

from tests.transcripts.scenarios import start
from tests.transcripts.stage import Stage


def test_the_order_of_a_map_s_entries_is_no_matter() -> None:
    for number in range(50):
        stage = Stage()
        metadata = {f"key {number} {index}": b"value" for index in range(5)}
        stage.do(start(user_metadata=UserMetadata(summary=Payload(metadata=metadata))))
        kept = UserMetadata.FromString(stage.run.facts.user_metadata)
        assert dict(kept.summary.metadata) == metadata
