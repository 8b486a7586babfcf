"""Small documents in Cassandra: a partition a kind, changed by a condition on the version.

Invariant: conditional writes only. Knows no kind.
"""

from perdure.base.errors import StoreUnavailable
from perdure.store.cassandra.session import Session
from perdure.store.cassandra.statements import conditional, read
from perdure.store.contract import Document

# A larger one is no small document: a page of them has to fit into an answer.
BODY_BYTES_MAX = 1 << 20
_DOCUMENTS_A_PAGE = 100

_CREATE = conditional("INSERT INTO document (kind, key, version, body) VALUES (?, ?, 0, ?) IF NOT EXISTS")
_REPLACE = conditional("UPDATE document SET version = ?, body = ? WHERE kind = ? AND key = ? IF version = ?")
# A change in doubt is settled by the next conditional write, whose refusal then lets an ordinary read see it.
_READ = read("SELECT kind, key, version, body FROM document WHERE kind = ? AND key = ?")
_LIST = read("SELECT kind, key, version, body FROM document WHERE kind = ?")


class CassandraDocuments:
    """`perdure.store.contract.Documents`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def read_document(self, kind: str, key: str) -> Document | None:
        rows = await self._session.run(_READ, (kind, key))
        return Document(*rows[0]) if rows else None

    async def list_documents(self, kind: str) -> list[Document]:
        documents: list[Document] = []
        page: bytes | None = None
        while True:
            rows = await self._session.run(_LIST, (kind,), page=page, fetch=_DOCUMENTS_A_PAGE)
            documents += (Document(*row) for row in rows)
            page = rows.next_page
            if page is None:
                return documents

    async def replace_document(self, document: Document) -> bool:
        kind, key, version, body = document.kind, document.key, document.version, document.body
        if len(body) > BODY_BYTES_MAX:
            raise StoreUnavailable(f"A document of {len(body)} bytes is over the store's limit of {BODY_BYTES_MAX}.")
        if version == 0:
            applied, _ = await self._session.compare(_CREATE, (kind, key, body))
        else:
            applied, _ = await self._session.compare(_REPLACE, (version, body, kind, key, version - 1))
        return applied
