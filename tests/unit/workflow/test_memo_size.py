"""What a memo may weigh, however many commands change it."""

import pytest
from temporalio.api.common.v1 import Memo, Payload

from perdure.base.limits import Limits
from tests.transcripts.scenarios import command, start
from tests.transcripts.stage import Stage

CHANGES = [
    {"a": b"x" * 10, "b": b"y" * 126},
    {"": b"z" * 200, "\u00e4" * 70: b"1"},
    {"a": b"x" * 20_000, "b": b""},  # the second is taken away
    {"c": b"", "a": b"x"},
    {"d": b"w" * 16_370},
]


def memo(fields: dict[str, bytes]) -> Memo:
    return Memo(fields={name: Payload(metadata={"encoding": b"e"}, data=data) for name, data in fields.items()})


def largest() -> int:
    """The size of the largest memo on the way, as a message."""
    sizes = []
    kept: dict[str, bytes] = {}
    for change in CHANGES:
        kept = {name: data for name, data in {**kept, **change}.items() if data}
        sizes.append(memo(kept).ByteSize())
    return max(sizes)


@pytest.mark.parametrize("is_apart", [False, True])
@pytest.mark.parametrize("spare", [0, -1])
def test_a_memo_weighs_what_its_message_does(spare: int, is_apart: bool) -> None:
    stage = Stage(limits=Limits(memo_bytes_max=largest() + spare))
    stage.do(start())
    commands = [command("MODIFY_WORKFLOW_PROPERTIES", upserted_memo=memo(change)) for change in CHANGES]
    refusals = []
    for together in [[each] for each in commands] if is_apart else [commands]:
        stage.poll()
        refusals.append(stage.complete(*together, force_create_new_workflow_task=True).refusal)
        if refusals[-1] is not None:
            break
    assert (refusals[-1] is None) is (spare == 0)
    if refusals[-1] is not None:
        assert "Memo exceeds size limit" in str(refusals[-1])
