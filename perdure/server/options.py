"""What a development server is told on its command line, checked before anything is opened."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
import orjson
from temporalio.api.enums.v1 import IndexedValueType

from perdure.base.errors import InvalidArgument
from perdure.base.limits import Limits
from perdure.rpc.server import ServerOptions
from perdure.server.cluster import CACHE_BYTES_MAX
from perdure.visibility.attributes import is_reserved

MEMORY = ":memory:"

_TYPES = {
    name.removeprefix("INDEXED_VALUE_TYPE_").replace("_", "").lower(): number
    for name, number in IndexedValueType.items()
    if number
}


class DevOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`database`: a file's path, or ":memory:". `retention_ns`: of namespaces made at start.

    `time_locks`: the locks that the clock of the API's TestService begins with; None = there is no such service.
    """

    ip: str = "127.0.0.1"
    port: int = 7233
    metrics_port: int = 0
    database: str = MEMORY
    namespaces: tuple[str, ...] = ("default",)
    search_attributes: dict[str, int] = {}
    retention_ns: int = 24 * 3600 * 1_000_000_000
    limits: Limits = Limits()
    listener: ServerOptions = ServerOptions()
    cache_bytes_max: int = CACHE_BYTES_MAX
    shards: int = 1
    time_locks: int | None = None

    @property
    def database_name(self) -> str:
        """The database as people read it."""
        return "in memory, gone when the server stops" if self.database == MEMORY else str(Path(self.database))


def parse_search_attribute(text: str) -> tuple[str, int]:
    """`Name=Type` with a type of the API (Text, Keyword, Int, Double, Bool, Datetime, KeywordList). Raises
    InvalidArgument.
    """
    name, separator, type_name = text.partition("=")
    number = _TYPES.get(type_name.strip().lower())
    if not separator or not name.strip() or number is None:
        raise InvalidArgument(
            f"--search-attribute {text!r}: expected NAME=TYPE with TYPE one of "
            "Text, Keyword, Int, Double, Bool, Datetime, KeywordList"
        )
    if is_reserved(name.strip()):
        raise InvalidArgument(f"--search-attribute {text!r}: {name.strip()} is one of the server's own")
    return name.strip(), number


def check_namespaces(names: Iterable[str], limits: Limits) -> None:
    """Raises InvalidArgument for a name that no namespace can have."""
    for name in names:
        if not name or len(name.encode()) > limits.id_bytes_max:
            raise InvalidArgument(f"--namespace {name[:50]!r}: expected 1 to {limits.id_bytes_max} bytes")


def parse_dynamic_value(text: str) -> tuple[str, object]:
    """`key=JSON`. Raises InvalidArgument."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise InvalidArgument(f"--dynamic-config-value {text!r}: expected KEY=JSON_VALUE")
    try:
        return key.strip(), orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"--dynamic-config-value {key}: {value!r} is no JSON value: {error}") from error
