"""Namespaces: documents in the store, cached in every process.

Invariant: a namespace's id never changes and is never used again. A cache entry is at most `REFRESH_NS` old when it
is used; what this process writes it sees at once.
"""

from collections.abc import Callable

import msgspec
from temporalio.api.enums.v1 import NamespaceState

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import Aborted, NamespaceAlreadyExists, NamespaceNotFound
from perdure.base.metrics import UNKNOWN
from perdure.store.contract import Document, Documents

KIND = "namespace"
REFRESH_NS = 10 * SECOND_NS
_CHANGE_ATTEMPTS = 5


class Namespace(msgspec.Struct, frozen=True):
    """A namespace. `retention_ns`: how long closed runs stay. `search_attributes`: custom name -> IndexedValueType.
    `aliases`: a field as other servers lay them out -> the custom name that was given to it by that field.
    """

    id: str
    name: str
    retention_ns: int
    description: str = ""
    owner_email: str = ""
    state: int = NamespaceState.NAMESPACE_STATE_REGISTERED
    data: dict[str, str] = {}
    search_attributes: dict[str, int] = {}
    aliases: dict[str, str] = {}
    version: int = 0


class Namespaces:
    """Look-up by name and by id, and registration."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self._documents = documents
        self._clock = clock
        self._by_name: dict[str, tuple[Namespace, int]] = {}
        self._names: dict[str, str] = {}

    async def by_name(self, name: str) -> Namespace:
        """The namespace called `name`. Raises NamespaceNotFound."""
        return self._fresh(name) or await self._read(name)

    async def _read(self, name: str) -> Namespace:
        now = self._clock.monotonic_ns()
        document = await self._documents.read_document(KIND, name)
        if document is None:
            kept = self._by_name.get(name)
            if kept is not None and kept[1] >= now:
                return kept[0]  # it was registered here meanwhile
            self._by_name.pop(name, None)
            raise NamespaceNotFound(name)
        return self._keep(_decode(document), now)

    def _fresh(self, name: str) -> Namespace | None:
        cached = self._by_name.get(name)
        if cached is None or self._clock.monotonic_ns() - cached[1] >= REFRESH_NS:
            return None
        return cached[0]

    async def by_id(self, namespace_id: str, version: int = 0) -> Namespace:
        """The namespace with this id, not older than `version`. Raises NamespaceNotFound."""
        name = self._names.get(namespace_id)
        if name is None:
            await self.list()
            name = self._names.get(namespace_id)
            if name is None:
                raise NamespaceNotFound(namespace_id)
        namespace = self._fresh(name)
        if namespace is None or namespace.version < version:
            namespace = await self._read(name)
        if namespace.id != namespace_id:
            raise NamespaceNotFound(namespace_id)
        return namespace

    def name_of(self, namespace_id: str) -> str:
        """The name of a namespace that this process has seen; `UNKNOWN` of one that it hasn't."""
        return self._names.get(namespace_id, UNKNOWN)

    def knows(self, name: str) -> bool:
        """Whether this process has seen a namespace of this name."""
        return name in self._by_name

    def __len__(self) -> int:
        return len(self._by_name)

    async def list(self) -> list[Namespace]:
        """All namespaces by name."""
        now = self._clock.monotonic_ns()
        return [self._keep(_decode(document), now) for document in await self._documents.list_documents(KIND)]

    async def register(self, namespace: Namespace) -> None:
        """Create a namespace. Raises NamespaceAlreadyExists."""
        if not await self._documents.replace_document(_document(namespace, 0)):
            raise NamespaceAlreadyExists("Namespace already exists.")
        self._keep(namespace, self._clock.monotonic_ns())

    async def replace(self, namespace: Namespace) -> Namespace:
        """Write a changed namespace over the version it was read at. Raises Aborted if another change came between."""
        changed = msgspec.structs.replace(namespace, version=namespace.version + 1)
        if not await self._documents.replace_document(_document(changed, changed.version)):
            self._by_name.pop(namespace.name, None)
            raise Aborted("The namespace was changed by another call; read it again.")
        return self._keep(changed, self._clock.monotonic_ns())

    async def change(self, name: str, change: Callable[[Namespace], Namespace]) -> Namespace:
        """Write the namespace as `change` makes it, and return that; another writer in between is met by doing it
        again. Raises NamespaceNotFound, Aborted after several such writers, and what `change` raises.
        """
        for attempt in range(1, _CHANGE_ATTEMPTS + 1):
            namespace = await self.by_name(name)
            changed = change(namespace)
            if changed == namespace:
                return namespace
            try:
                return await self.replace(changed)
            except Aborted:
                if attempt == _CHANGE_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _keep(self, namespace: Namespace, now: int) -> Namespace:
        cached = self._by_name.get(namespace.name)
        if cached is not None and cached[0].id == namespace.id and cached[0].version > namespace.version:
            return cached[0]
        self._by_name[namespace.name] = (namespace, now)
        self._names[namespace.id] = namespace.name
        return namespace


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Namespace)


def _document(namespace: Namespace, version: int) -> Document:
    return Document(KIND, namespace.name, version, _encoder.encode(namespace))


def _decode(document: Document) -> Namespace:
    return msgspec.structs.replace(_decoder.decode(document.body), version=document.version)
