"""A frontend whose other roles are scripted: they keep what they were asked and answer what the test says."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest, QueryWorkflowResponse

from perdure.base.errors import PerdureError
from perdure.base.limits import Limits
from perdure.base.slots import ChainKey
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.cluster.roles import (
    Call,
    HistoryPage,
    HistoryRead,
    PartitionView,
    Poll,
    WorkerSearch,
    WorkersFound,
)
from perdure.frontend.frontend import Frontend
from perdure.frontend.guards import Guards
from perdure.frontend.methods import full_name
from perdure.frontend.services import FrontendOptions
from perdure.rpc.call import CallMeta
from perdure.store.contract import Document
from perdure.visibility.rows import VisibilityPage, VisibilityQuery
from perdure.workflow.requests import CompleteWorkflowTask
from perdure.workflow.tasks import QueueKey

DAY_NS = 86_400_000_000_000
HOME = Namespace(
    id="0a0a0a0a-0000-4000-8000-000000000001",
    name="default",
    retention_ns=DAY_NS,
    search_attributes={"K1": 2, "T1": 1, "I1": 3, "D1": 4, "B1": 5, "DT": 6, "KL": 7},
)
AWAY = Namespace(id="0a0a0a0a-0000-4000-8000-000000000002", name="away", retention_ns=DAY_NS)


class FakeClock:
    def __init__(self) -> None:
        self.time_ns = 1_000_000_000

    def now_ns(self) -> int:
        return self.time_ns

    def monotonic_ns(self) -> int:
        return self.time_ns


class FakeEntropy:
    def __init__(self, fraction: float = 0.0) -> None:
        self.value = fraction
        self._count = 0

    def seed(self) -> bytes:
        self._count += 1
        return self._count.to_bytes(16, "big")

    def fraction(self) -> float:
        return self.value


class FakeDocuments:
    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], Document] = {}
        self.reads: list[str] = []  # the keys of documents that were asked for
        self.before_write: Callable[[], None] = lambda: None

    async def read_document(self, kind: str, key: str) -> Document | None:
        self.reads.append(key)
        return self.rows.get((kind, key))

    async def list_documents(self, kind: str) -> list[Document]:
        self.reads.append("")
        return [row for (of, _), row in sorted(self.rows.items()) if of == kind]

    async def replace_document(self, document: Document) -> bool:
        self.before_write()
        present = self.rows.get((document.kind, document.key))
        if document.version != (present.version + 1 if present else 0):
            return False
        self.rows[document.kind, document.key] = document
        return True


class FakeHistory:
    """`reply`: what the next calls answer; an error is raised."""

    def __init__(self) -> None:
        self.asked: list[tuple[ChainKey, Any]] = []
        self.calls: list[Call] = []
        self.reply: Any = None

    def _answer(self, key: ChainKey, request: Any, call: Call) -> Any:
        self.asked.append((key, request))
        self.calls.append(call)
        if isinstance(self.reply, PerdureError):
            raise self.reply
        return self.reply

    async def transact(self, key: ChainKey, request: Any, call: Call) -> Any:
        return self._answer(key, request, call)

    async def complete_workflow_task(self, key: ChainKey, request: CompleteWorkflowTask, call: Call) -> bytes:
        answer: bytes = self._answer(key, request, call)
        return answer

    async def read_history(self, key: ChainKey, read: HistoryRead, call: Call) -> HistoryPage:
        answer: HistoryPage = self._answer(key, read, call)
        return answer

    async def query(self, key: ChainKey, request: QueryWorkflowRequest, call: Call) -> QueryWorkflowResponse:
        answer: QueryWorkflowResponse = self._answer(key, request, call)
        return answer

    async def update(self, key: ChainKey, request: Any, call: Call) -> Any:
        return self._answer(key, request, call)

    async def poll_update(self, key: ChainKey, request: Any, call: Call) -> Any:
        return self._answer(key, request, call)

    async def start_with_update(self, key: ChainKey, request: Any, call: Call) -> Any:
        return self._answer(key, request, call)


class FakeMatching:
    def __init__(self) -> None:
        self.polls: list[Poll] = []
        self.answers: list[Any] = []
        self.ended: list[tuple[str, str, str]] = []
        self.poll_with: Callable[[], Awaitable[bytes]] = self._empty
        self.released: list[tuple[QueueKey, list[str]]] = []
        self.release_with: Callable[[], Awaitable[object]] = self._empty
        self.view = PartitionView([], 0, 0)
        self.described: list[QueueKey] = []
        self.config = b""
        self.configured: list[tuple[QueueKey, Any]] = []
        self.heartbeats: list[tuple[str, list[WorkerHeartbeat]]] = []
        self.workers_error: PerdureError | None = None
        self.searches: list[WorkerSearch] = []
        self.found = WorkersFound([], 0)

    async def _empty(self) -> bytes:
        return b""

    async def poll(self, poll: Poll, call: Call) -> bytes:
        self.polls.append(poll)
        return await self.poll_with()

    async def answer_query(self, token: Any, answer: Any) -> None:
        self.answers.append((token, answer))

    async def end_polls(self, namespace_id: str, worker_instance_key: str, sticky_queue: str) -> None:
        self.ended.append((namespace_id, worker_instance_key, sticky_queue))

    async def release_polls(self, partition: QueueKey, ids: Sequence[str]) -> None:
        self.released.append((partition, list(ids)))
        await self.release_with()

    async def describe(self, partition: QueueKey) -> PartitionView:
        self.described.append(partition)
        return self.view

    async def configure(self, partition: QueueKey, update: Any) -> bytes:
        self.configured.append((partition, update))
        return self.config

    async def record_workers(self, namespace_id: str, heartbeats: Sequence[WorkerHeartbeat]) -> None:
        if self.workers_error is not None:
            raise self.workers_error
        self.heartbeats.append((namespace_id, list(heartbeats)))

    async def find_workers(self, namespace_id: str, search: WorkerSearch) -> WorkersFound:
        self.searches.append(search)
        return self.found


class FakeDirectory:
    """`refusals`: how many look-ups of history fail before one succeeds."""

    def __init__(self) -> None:
        self.roles: dict[str, FakeMatching] = {}
        self.only = FakeMatching()
        self.role = FakeHistory()
        self.refusals: list[PerdureError] = []

    def history(self, slot: int) -> FakeHistory:
        if self.refusals:
            raise self.refusals.pop(0)
        return self.role

    def matching(self, partition: QueueKey) -> FakeMatching:
        return self.roles.get(partition.name, self.only)


class FakeVisibility:
    def __init__(self) -> None:
        self.queries: list[VisibilityQuery] = []
        self.page = VisibilityPage([], b"")

    async def list(self, query: VisibilityQuery) -> VisibilityPage:
        self.queries.append(query)
        return self.page

    async def count(self, query: VisibilityQuery) -> int:
        self.queries.append(query)
        return len(self.page.rows)

    async def count_by_status(self, query: VisibilityQuery) -> dict[int, int]:
        self.queries.append(query)
        return Counter(row.status for row in self.page.rows)


class Desk:
    """A frontend and everything around it."""

    def __init__(self, options: FrontendOptions | None = None, guards: Guards | None = None) -> None:
        self.clock = FakeClock()
        self.entropy = FakeEntropy()
        self.documents = FakeDocuments()
        self.directory = FakeDirectory()
        self.visibility = FakeVisibility()
        self.namespaces = Namespaces(self.documents, self.clock)
        self.frontend = Frontend(
            self.namespaces,
            self.directory,  # type: ignore[arg-type]  # a fake has what the test needs
            self.visibility,  # type: ignore[arg-type]  # as above
            self.clock,
            self.entropy,
            options or FrontendOptions(),
            guards or Guards(),
        )

    @property
    def history(self) -> FakeHistory:
        return self.directory.role

    @property
    def matching(self) -> FakeMatching:
        return self.directory.only

    async def call(self, request: Any, meta: CallMeta | None = None) -> Any:
        """Call the method that takes this request."""
        name = type(request).__name__.removesuffix("Request")
        method = self.frontend.methods[full_name(name)]
        return await method.handler(request, meta or CallMeta(timeout_ns=10_000_000_000, client_name="test"))


async def open_desk(options: FrontendOptions | None = None, guards: Guards | None = None) -> Desk:
    """A desk with the namespaces HOME and AWAY."""
    desk = Desk(options, guards)
    for namespace in (HOME, AWAY):
        await desk.namespaces.register(namespace)
    return desk


def asked(desk: Desk) -> Any:
    """The one request that history got."""
    ((_, request),) = desk.history.asked
    return request


def with_limits(**limits: Any) -> FrontendOptions:
    """Options with other limits."""
    return msgspec.structs.replace(FrontendOptions(), limits=msgspec.structs.replace(Limits(), **limits))
