"""Which task queue names callers may use. Source: the reference (`common/tqid`, `common/primitives`)."""

from perdure.base.errors import InvalidArgument

RESERVED_PREFIX = "/_sys/"
_INTERNAL_PREFIX = "temporal-sys-per-ns-"
_INTERNAL_NAME = "temporal-sys-worker-controller-per-ns-tq"


def check_task_queue(name: str, bytes_max: int, *, parent: str = "") -> None:
    """Raises InvalidArgument unless a caller may name a queue so.

    `parent`: the queue of the workflow that names it, "" if none; what runs on an internal queue may use internal ones.
    """
    if not name:
        raise InvalidArgument("missing task queue name")
    if len(name.encode()) > bytes_max:
        raise InvalidArgument("taskQueue length exceeds limit")
    if name.startswith(RESERVED_PREFIX):
        raise InvalidArgument(f"task queue name cannot start with reserved prefix {RESERVED_PREFIX}")
    if _is_internal(name) and not _is_internal(parent):
        within = f" (in parent component task queue: {parent})" if parent else ""
        raise InvalidArgument(f"cannot use internal per-namespace task queue:{name}{within}")


def _is_internal(name: str) -> bool:
    return name.startswith(_INTERNAL_PREFIX) or name == _INTERNAL_NAME
