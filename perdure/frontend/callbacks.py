"""Checks of completion callbacks that a request attaches. Messages are the reference's; all raise InvalidArgument.

Invariant: what passes is called over http or https at an address that the operator allows, or means this cluster.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from temporalio.api.common.v1 import Callback, Link
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from perdure.base.errors import InvalidArgument, Unimplemented
from perdure.base.limits import AddressRule, Limits
from perdure.frontend.checks import check_links, too_long

# Addresses that mean this cluster itself.
INTERNAL = ("temporal://system", "temporal://internal")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}")
_GO_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def check_callbacks(callbacks: Sequence[Callback], limits: Limits) -> None:
    """How many there are, and each one's address and headers, whose names become lower case."""
    if len(callbacks) > limits.callbacks_max:
        raise InvalidArgument(f"cannot attach more than {limits.callbacks_max} callbacks to an execution")
    for callback in callbacks:
        kind = callback.WhichOneof("variant")
        if kind is None:
            raise Unimplemented("unknown callback variant: <nil>")
        if kind == "nexus":
            _check_url(callback.nexus.url, limits)
            _check_header(callback, limits)


def check_links_of_start(request: StartWorkflowExecutionRequest, limits: Limits) -> None:
    """The request's links, without those that its callbacks carry, and the callbacks' own."""
    callbacks = request.completion_callbacks
    # By their bytes, in one pass: how many there are is not known to be bounded yet.
    carried = {_bytes(link) for callback in callbacks if callback.HasField("nexus") for link in callback.links}
    if carried:
        kept = [link for link in request.links if _bytes(link) not in carried]
        del request.links[:]
        request.links.extend(kept)
    check_links([*request.links, *(link for callback in callbacks for link in callback.links)], limits)


def _bytes(link: Link) -> bytes:
    return link.SerializeToString(deterministic=True)


def refuse_internal(callbacks: Iterable[Callback]) -> None:
    """Raises for callbacks that only the server itself may attach; the last of a start's checks."""
    if any(callback.HasField("internal") for callback in callbacks):
        raise InvalidArgument("unsupported callback variant: *common.Callback_Internal_")


def _check_header(callback: Callback, limits: Limits) -> None:
    header = callback.nexus.header
    size = sum(len(name.encode()) + len(value.encode()) for name, value in header.items())
    if size > limits.callback_header_bytes_max:
        limit = limits.callback_header_bytes_max
        raise InvalidArgument(f"invalid header: header size longer than max allowed size of {limit}")
    lowered = {name.lower(): value for name, value in header.items()}
    header.clear()
    header.update(lowered)


def _check_url(url: str, limits: Limits) -> None:
    if too_long(url, limits.callback_url_bytes_max):
        limit = limits.callback_url_bytes_max
        raise InvalidArgument(f"invalid url: url length longer than max length allowed of {limit}")
    if url in INTERNAL:
        return
    if _CONTROL.search(url):
        raise _unreadable(url, "net/url: invalid control character in URL")
    bad = _BAD_ESCAPE.search(url)
    if bad is not None:
        raise _unreadable(url, f'invalid URL escape "{bad[0]}"')
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        _ = parts.port
    except ValueError as error:
        raise _unreadable(url, str(error)) from error
    if parts.scheme not in ("http", "https"):
        raise InvalidArgument(f"invalid url: unknown scheme: {url}")
    if not host:
        raise InvalidArgument("invalid url: missing host")
    for rule in limits.callback_addresses:
        if _matcher(rule).fullmatch(host):
            if not rule.insecure and parts.scheme != "https":
                raise InvalidArgument(f"invalid url: callback address does not allow insecure connections: {url}")
            return
    raise InvalidArgument(f"invalid url: url does not match any configured callback address: {url}")


@lru_cache
def _matcher(rule: AddressRule) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, rule.pattern.split("*"))), re.DOTALL)


def _unreadable(url: str, why: str) -> InvalidArgument:
    return InvalidArgument(f'invalid callback url: parse "{_quoted(url)}": {why}')


def _quoted(text: str) -> str:
    return "".join(_GO_ESCAPES.get(c) or (c if c.isprintable() else f"\\x{ord(c):02x}") for c in text)
