"""Everything a decision may know besides the chain and the request: one frozen value, built outside.

`evolve` and `apply` never see it. What replay needs of it is written into an event or a delta by the decision.
"""

from collections.abc import Mapping

import msgspec

from perdure.base.entropy import derive_id, derive_timed_id
from perdure.base.limits import Limits


class NamespaceView(msgspec.Struct, frozen=True):
    """The namespace as decisions see it. `retention_ns` is how long closed runs stay."""

    id: str
    name: str
    retention_ns: int


class Caller(msgspec.Struct, frozen=True):
    """Who calls: the SDK's name and version headers, the authenticated principal, "" where unknown."""

    client_name: str = ""
    client_version: str = ""
    principal: str = ""

    @property
    def is_sdk(self) -> bool:
        """True for workers' SDKs, which understand the unwritten tail of a history; false for the CLI and the Web
        UI.
        """
        return self.client_name not in ("temporal-cli", "temporal-ui")


class Context(msgspec.Struct, frozen=True):
    """`now_ns`: the time, the shard's in a request's context and the run's own in a draft's. `seed`: 16 bytes for ids.
    `position`: the log position this decision will get.

    `namespace_ids`: name -> id of the other namespaces that the request's commands name, as far as they exist.
    `state_bytes`: run id -> what its state took at its last checkpoint, 0 or missing before the first.
    """

    now_ns: int
    seed: bytes
    position: int
    namespace: NamespaceView
    limits: Limits
    caller: Caller = Caller()
    search_attribute_types: Mapping[str, int] = {}
    namespace_ids: Mapping[str, str] = {}
    state_bytes: Mapping[str, int] = {}

    def ahead(self, skipped_ns: int) -> "Context":
        """The same for a run whose time is so far ahead."""
        return msgspec.structs.replace(self, now_ns=self.now_ns + skipped_ns) if skipped_ns else self

    def new_id(self, *parts: str | int) -> str:
        """A UUID that is unique to this decision and `parts`."""
        return derive_id(self.seed, *parts)

    def new_run_id(self) -> str:
        """The id of the run that this decision creates; it tells when, as clients expect."""
        return derive_timed_id(self.now_ns, self.seed, "run")
