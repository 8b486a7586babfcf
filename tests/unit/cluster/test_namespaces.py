import asyncio

import msgspec
import pytest

from perdure.base.clock import SECOND_NS
from perdure.base.errors import NamespaceNotFound
from perdure.cluster.namespaces import REFRESH_NS, Namespace, Namespaces
from perdure.store.contract import Document
from perdure.store.memory import MemoryStore
from tests.unit.frontend.fakes import FakeClock, FakeDocuments

ONE = Namespace("id-1", "one", 3600 * SECOND_NS)


async def two_processes() -> tuple[Namespaces, Namespaces, FakeClock]:
    store, clock = MemoryStore(), FakeClock()
    here, there = Namespaces(store.documents, clock), Namespaces(store.documents, clock)
    await here.register(ONE)
    await there.by_id(ONE.id)
    return here, there, clock


class Slow(FakeDocuments):
    """What a read finds is told after what is written meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    async def read_document(self, kind: str, key: str) -> Document | None:
        found = await super().read_document(kind, key)
        await self.written.wait()
        return found


def with_attribute(namespace: Namespace) -> Namespace:
    return msgspec.structs.replace(namespace, search_attributes={"Colour": 2})


async def test_another_process_sees_a_change_when_its_cache_is_old() -> None:
    here, there, clock = await two_processes()
    await here.change("one", with_attribute)
    assert not (await there.by_id(ONE.id)).search_attributes
    clock.time_ns += REFRESH_NS
    assert (await there.by_id(ONE.id)).search_attributes == {"Colour": 2}


async def test_a_process_that_is_told_of_a_newer_version_reads_it_at_once() -> None:
    here, there, _ = await two_processes()
    changed = await here.change("one", with_attribute)
    assert await there.by_id(ONE.id, changed.version) == changed
    assert await there.by_name("one") == changed


async def test_a_version_that_nobody_has_written_yet_is_no_reason_to_wait() -> None:
    _, there, _ = await two_processes()
    assert (await there.by_id(ONE.id, 99)).version == 0
    with pytest.raises(NamespaceNotFound):
        await there.by_id("id-2", 99)


async def test_what_is_registered_while_it_is_looked_for_is_found() -> None:
    documents = Slow()
    namespaces = Namespaces(documents, FakeClock())
    async with asyncio.TaskGroup() as group:
        looked = group.create_task(namespaces.by_name("one"))
        await group.create_task(namespaces.register(ONE))
        documents.written.set()
    assert looked.result() == ONE
    assert await namespaces.by_name("one") == ONE
