"""Messages about updates that make no sense, and far too many of them."""

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.protocol.v1 import message_pb2 as protocol
from temporalio.api.update.v1 import message_pb2 as update

from tests.conformance.harness.updates import accept, carry, reject, respond
from tests.e2e.siege import Siege

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _strange_messages() -> dict[str, protocol.Message]:
    """Messages about updates that nobody asked for, or that are none."""
    asked = protocol.Message(id="y/request", protocol_instance_id="y")
    asked.body.Pack(update.Request(meta=update.Meta(update_id="y"), input=update.Input(name="n")))
    unknown = protocol.Message(id="x", protocol_instance_id="y")
    unknown.body.Pack(Duration(seconds=1))
    garbled = accept(asked)
    garbled.body.value = b"\xff\xff"
    nameless = accept(asked)
    nameless.protocol_instance_id = ""
    bare = accept(asked)
    bare.body.Pack(update.Acceptance())
    return {
        "no body": protocol.Message(id="x", protocol_instance_id="y"),
        "another body": unknown,
        "a body that is none": garbled,
        "no update": nameless,
        "nothing accepted": bare,
        "an outcome of nothing": respond(asked),
    }


@pytest.mark.parametrize("what", _strange_messages())
@pytest.mark.parametrize("carried", [True, False])
async def test_a_message_that_makes_no_sense_is_the_workers_fault(siege: Siege, what: str, carried: bool) -> None:
    message = _strange_messages()[what]
    commands = [carry(message)] if carried else []
    request = siege.completion(await siege.started_task(), *commands)
    request.messages.append(message)
    await siege.refused(request, "INVALID_ARGUMENT")


async def test_a_command_that_names_no_message_is_the_workers_fault(siege: Siege) -> None:
    nothing = carry(protocol.Message(id="nothing"))
    await siege.refused(siege.completion(await siege.started_task(), nothing), "INVALID_ARGUMENT")


async def test_a_thousand_messages_of_one_completion_are_carried_out_or_refused(siege: Siege) -> None:
    request = siege.completion(await siege.started_task())
    for number in range(1_000):
        asked = protocol.Message(id=f"u{number}/request", protocol_instance_id=f"u{number}")
        asked.body.Pack(update.Request(meta=update.Meta(update_id=f"u{number}"), input=update.Input(name="n")))
        request.messages.append(reject(asked))
    await siege.client.call(request)
    await siege.unharmed()
