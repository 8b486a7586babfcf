"""TLS from files: what a listener shows and asks for, and what a channel shows and accepts.

Invariant: files that change are read again without a restart, at most once a second; what can't be used, as a
certificate whose key has not been written yet, leaves the former contents in force and is logged. Nothing older than
TLS 1.2 is spoken, which is gRPC's own rule. Refuses to know which listener is for whom.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from pathlib import Path

import grpc
import grpc.aio
import msgspec
import structlog

from perdure.base.clock import SECOND_NS, Clock
from perdure.base.errors import InvalidArgument
from perdure.base.files import read_file

log = structlog.get_logger(__name__)
CHECK_NS = SECOND_NS
# Who a certificate is for: gRPC's name of a property -> how a rule names its kind.
_KINDS = {"x509_common_name": "cn", "peer_dns": "dns", "peer_uri": "uri"}
_OTHER_SIDE = "a certificate of another name"


class ServerFiles(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files of a listener. `certificate`: with its chain. `client_authority`: whoever connects must have a
    certificate of these authorities; "" = nobody is asked for one. `client_names`: one of these, if there are any, must
    be among the names of the client's certificate, as `dns:history.internal`, `cn:...` or `uri:...`.
    """

    certificate: str
    key: str
    client_authority: str = ""
    client_names: tuple[str, ...] = ()


class ChannelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """PEM files of a channel. `authority`: the server's certificate must be of these authorities. `server_name`: the
    name that the server's certificate must have; "" = that of the address. `certificate`, `key`: shown to a server
    that asks; "" = none.
    """

    authority: str
    server_name: str = ""
    certificate: str = ""
    key: str = ""


class _Pems(msgspec.Struct, frozen=True):
    certificate: bytes
    key: bytes
    authority: bytes


class ServerTls:
    """The credentials of listeners. Files are read when it is made: raises InvalidArgument, which names the file."""

    def __init__(self, files: ServerFiles, clock: Clock) -> None:
        self.files = files
        self._clock = clock
        _Watched(files.certificate, files.key, files.client_authority, clock)

    @property
    def knows_clients(self) -> bool:
        """Whether every client has shown a certificate."""
        return bool(self.files.client_authority)

    def credentials(self) -> grpc.ServerCredentials:
        """For one listener; each new connection gets what the files hold then. Raises InvalidArgument."""
        watched = _Watched(self.files.certificate, self.files.key, self.files.client_authority, self._clock)

        def changed() -> grpc.ServerCertificateConfiguration | None:
            found = watched.changed()  # on a thread of gRPC, before a handshake; None = as before
            return None if found is None else _configuration(found)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(watched.pems),
            changed,  # type: ignore[arg-type]  # the stubs leave out that it may say that nothing changed
            require_client_authentication=self.knows_clients,
        )

    def refuses(self, names: Sequence[str]) -> str:
        """Why a client with these names is refused; "" if it isn't."""
        wanted = self.files.client_names
        return _OTHER_SIDE if wanted and not set(wanted).intersection(names) else ""


class ChannelTls:
    """The credentials of channels. Files are read when it is made: raises InvalidArgument, which names the file."""

    def __init__(self, files: ChannelFiles, clock: Clock) -> None:
        self._files = files
        self._watched = _Watched(files.certificate, files.key, files.authority, clock)
        self._generation = 1

    @property
    def generation(self) -> int:
        """Rises when the files have changed: a channel that was opened before goes on with what it had, so that its
        owner opens another one and closes it.
        """
        if self._watched.changed() is not None:
            self._generation += 1
        return self._generation

    def open(self, address: str, options: Sequence[tuple[str, str | int]] = ()) -> grpc.aio.Channel:
        """A channel to `host:port` with what the files hold now."""
        pems = self._watched.pems
        credentials = grpc.ssl_channel_credentials(pems.authority or None, pems.key or None, pems.certificate or None)
        named = list(options)
        if self._files.server_name:
            named.append(("grpc.ssl_target_name_override", self._files.server_name))
        return grpc.aio.secure_channel(address, credentials, options=named)


def names_of(context: grpc.aio.ServicerContext[object, object]) -> tuple[str, ...]:
    """The names in a client's certificate, as `dns:worker.example`, `cn:...`, `uri:...`; () without one."""
    properties = context.auth_context()
    return tuple(
        f"{kind}:{name.decode(errors='replace')}"
        for key, kind in _KINDS.items()
        for name in properties.get(key, ())
        if name  # a certificate without a common name has an empty one here
    )


class _Watched:
    """The contents of a certificate, its key, and the authorities that the other side's must be of."""

    def __init__(self, certificate: str, key: str, authority: str, clock: Clock) -> None:
        self._paths = (certificate, key, authority)
        self._clock = clock
        self._lock = threading.Lock()
        self._seen = self._stamps()
        self.pems = self._read()
        self._then_ns = clock.monotonic_ns()

    def changed(self) -> _Pems | None:
        """The contents, if they are others than last time. Called from any thread; raises nothing."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            now_ns = self._clock.monotonic_ns()
            if now_ns - self._then_ns < CHECK_NS:
                return None
            self._then_ns = now_ns
            stamps = self._stamps()
            if stamps == self._seen:
                return None
            pems = self._read()
            if stamps != self._stamps():
                return None  # they are being written
        except InvalidArgument as error:
            log.warning("changed certificates can't be used; the former ones stay", error=error.message)
            return None
        finally:
            self._lock.release()
        self._seen, self.pems = stamps, pems
        log.info("certificates were changed", files=[path for path in self._paths if path])
        return pems

    def _stamps(self) -> tuple[object, ...]:
        return tuple(_stamp(path) for path in self._paths if path)

    def _read(self) -> _Pems:
        certificate, key, authority = self._paths
        pems = _Pems(_contents(certificate), _contents(key), _contents(authority))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if authority:
            try:
                context.load_verify_locations(cadata=pems.authority.decode("ascii", "replace"))
            except (ssl.SSLError, ValueError) as error:
                raise InvalidArgument(f"{authority}: expected certificates in PEM: {_reason(error)}") from error
        if certificate:
            try:
                context.load_cert_chain(certificate, key, password=lambda: b"")
            except (OSError, ValueError) as error:
                raise InvalidArgument(
                    f"{certificate}, {key}: expected a certificate and its key, in PEM and without a password: "
                    f"{_reason(error)}"
                ) from error
        return pems


def _reason(error: Exception) -> str:
    """Of an error of OpenSSL its short name: the rest says where in its source that was."""
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)


def _stamp(path: str) -> tuple[int, int, int]:
    try:
        found = Path(path).stat()
    except OSError as error:
        raise InvalidArgument(f"{path}: {error.strerror or error}") from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _contents(path: str) -> bytes:
    return read_file(path, "certificate") if path else b""


def _configuration(pems: _Pems) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], pems.authority or None)
