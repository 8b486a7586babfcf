"""What the frontend's methods work with: the collaborators, and the frontend's own settings."""

from dataclasses import dataclass

import msgspec

from perdure.base.clock import Clock
from perdure.base.entropy import Entropy
from perdure.base.limits import MIB, Limits, LimitsSource
from perdure.cluster.namespaces import Namespaces
from perdure.cluster.roles import Directory
from perdure.frontend.polls import Polls
from perdure.frontend.routing import Routing
from perdure.store.contract import VisibilityStore


class FrontendOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of itself, and how much it permits.

    `server_version` is what SDKs compare with the versions they know, so it is one of the reference's. `shards`,
    the stores' names and the cluster's are shown by GetClusterInfo. `list_throttled` False: list calls are not
    limited. `throttled` False: nothing is limited by rate. `receive_bytes_max`: the largest request that the
    listener takes, in bytes.
    """

    limits: LimitsSource = Limits()
    server_version: str = "1.32.0"
    cluster_name: str = "active"
    cluster_id: str = ""
    shards: int = 1
    persistence_store: str = ""
    visibility_store: str = ""
    throttled: bool = True
    list_throttled: bool = True
    receive_bytes_max: int = 4 * MIB


@dataclass(frozen=True, slots=True)
class Services:
    """The collaborators of every method."""

    namespaces: Namespaces
    directory: Directory
    visibility: VisibilityStore
    clock: Clock
    entropy: Entropy
    options: FrontendOptions
    routing: Routing
    polls: Polls
