"""What is stored before a server serves: the namespaces that its options want, and the id of the whole.

Whoever comes first makes it; each of several servers that start at once may try.
"""

from collections.abc import Mapping
from functools import partial

import msgspec

from perdure.base.entropy import Entropy, new_id
from perdure.base.errors import FailedPrecondition, NamespaceAlreadyExists
from perdure.cluster.namespaces import Namespace, Namespaces
from perdure.server.options import WantedNamespace
from perdure.store.contract import Document, Documents
from perdure.visibility.attributes import type_name

_CLUSTER = "cluster"
_CLUSTER_ID = "id"


async def make_namespaces(namespaces: Namespaces, wanted: tuple[WantedNamespace, ...], entropy: Entropy) -> None:
    """Register the namespaces that aren't there yet, and the search attributes that they lack."""
    for want in wanted:
        attributes = want.search_attributes
        try:
            await namespaces.register(
                Namespace(new_id(entropy), want.name, want.retention_ns, search_attributes=attributes)
            )
        except NamespaceAlreadyExists:
            await namespaces.change(want.name, partial(_merged, attributes))


def _merged(wanted: Mapping[str, int], namespace: Namespace) -> Namespace:
    """The namespace with these search attributes. Raises FailedPrecondition if one is there with another type."""
    for name, value_type in wanted.items():
        present = namespace.search_attributes.get(name, value_type)
        if present != value_type:
            raise FailedPrecondition(
                f"Search attribute {name} of namespace {namespace.name} is a {type_name(present)} already, "
                f"not a {type_name(value_type)}."
            )
    return msgspec.structs.replace(namespace, search_attributes={**namespace.search_attributes, **wanted})


async def cluster_id(documents: Documents, entropy: Entropy) -> str:
    """The store's id, drawn at its first use and kept."""
    fresh = new_id(entropy).encode()
    await documents.replace_document(Document(_CLUSTER, _CLUSTER_ID, 0, fresh))
    kept = await documents.read_document(_CLUSTER, _CLUSTER_ID)
    return (kept.body if kept is not None else fresh).decode()
