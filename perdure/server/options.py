"""What a server process is told by its command line or its configuration, checked before anything is opened."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import msgspec
import orjson
from temporalio.api.enums.v1 import IndexedValueType

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.cluster.members import Role
from perdure.server.dynamic import Settings
from perdure.server.stores import Choice, InMemory
from perdure.server.telemetry import TraceOptions
from perdure.visibility.attributes import is_reserved

if TYPE_CHECKING:
    from perdure.base.clock import Clock
    from perdure.base.metrics import Metrics
    from perdure.server.security import Security

# Of a process with this clock and these metrics; the last says how many frontends serve now.
SecurityMaker: TypeAlias = "Callable[[Clock, Metrics, Callable[[], int]], Security]"

_TYPES = {
    name.removeprefix("INDEXED_VALUE_TYPE_").replace("_", "").lower(): number
    for name, number in IndexedValueType.items()
    if number
}
_TYPE_NAMES = "Text, Keyword, Int, Double, Bool, Datetime, KeywordList"


class WantedNamespace(msgspec.Struct, frozen=True):
    """A namespace that is made if it isn't there. `search_attributes`: custom name -> IndexedValueType; what is there
    lacks of them is added.
    """

    name: str
    retention_ns: int
    search_attributes: dict[str, int] = {}


class Listener(msgspec.Struct, frozen=True):
    """Where a role listens to other hosts; port 0 = any free one."""

    ip: str = "127.0.0.1"
    port: int = 0


class ServingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a server process needs to know. Times in seconds.

    `roles`: what this process is; `ip`, `port`: the frontend's listener. `advertise`: where other hosts reach this one,
    "" = to be found out. `settings`: what dynamic configuration begins with; its values, and a file with more.
    `shards`: how many are made in an empty store. `store_wait_s`: how long to ask a store again that can't be reached
    at start. `security` None: everything in plain text, and everybody may do everything. `traces`: where they are
    sent, None = there are none. `leave_s`, `drain_s`, `checkpoint_s`: for others to take over, for calls that have
    begun, and for the last checkpoint, when it stops.
    `time_locks`: the locks that the clock of the API's TestService begins with; None = there is no such service.
    """

    store: Choice = InMemory()
    roles: tuple[Role, ...] = tuple(Role)
    ip: str = "127.0.0.1"
    port: int = 7233
    history: Listener = Listener()
    matching: Listener = Listener()
    advertise: str = ""
    cluster_name: str = "active"
    security: "SecurityMaker | None" = None
    metrics_ip: str = "127.0.0.1"
    metrics_port: int = 0
    traces: TraceOptions | None = None
    namespaces: tuple[WantedNamespace, ...] = ()
    settings: Settings = Settings()
    dynamic: Mapping[str, object] = {}
    dynamic_file: str = ""
    shards: int = 1
    auto_split: bool = False
    auto_merge: bool = False
    store_wait_s: float = 0.0
    leave_s: float = 2.0
    drain_s: float = 2.0
    # It only shortens the next start: a person who stops a server doesn't wait for a full disk.
    checkpoint_s: float = 2.0
    time_locks: int | None = None


def parse_search_attribute(text: str) -> tuple[str, int]:
    """`Name=Type` with a type of the API (Text, Keyword, Int, Double, Bool, Datetime, KeywordList). Raises
    InvalidArgument.
    """
    name, separator, type_name = text.partition("=")
    if not separator:
        raise InvalidArgument(f"--search-attribute {text!r}: expected NAME=TYPE with TYPE one of {_TYPE_NAMES}")
    try:
        return name.strip(), search_attribute(name.strip(), type_name)
    except InvalidArgument as error:
        raise InvalidArgument(f"--search-attribute {text!r}: {error.message}") from error


def search_attribute(name: str, type_name: object) -> int:
    """The IndexedValueType of a custom search attribute by its type's name. Raises InvalidArgument."""
    number = _TYPES.get(str(type_name).strip().lower())
    if not name or number is None:
        raise InvalidArgument(f"expected a name, and a type, one of {_TYPE_NAMES}")
    if is_reserved(name):
        raise InvalidArgument(f"{name} is one of the server's own")
    return number


def check_namespace(name: str, limits: Limits) -> None:
    """Raises InvalidArgument for a name that no namespace can have."""
    if not name or len(name.encode()) > limits.id_bytes_max:
        raise InvalidArgument(f"{name[:50]!r}: expected 1 to {limits.id_bytes_max} bytes")


def parse_dynamic_value(text: str) -> tuple[str, object]:
    """`key=JSON`. Raises InvalidArgument."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise InvalidArgument(f"--dynamic-config-value {text!r}: expected KEY=JSON_VALUE")
    try:
        return key.strip(), orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"--dynamic-config-value {key}: {value!r} is no JSON value: {error}") from error
