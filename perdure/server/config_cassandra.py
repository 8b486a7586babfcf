"""The configuration's part on Cassandra: every option of the adapter by a key, secrets by a file if wished.

Invariant: each field of `CassandraOptions` has its key here (a test compares them); defaults are the adapter's own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import model_validator

from perdure.base.errors import InvalidArgument
from perdure.server.config_fields import File, Flag, Port, Secret, Section, Text, Texts, seconds, whole
from perdure.server.stores import driver_needed

if TYPE_CHECKING:
    from perdure.store.cassandra.options import CassandraOptions

_SECRET_BYTES_MAX = 64 * 1024


class TlsSection(Section):
    """Files in PEM. `verify` false takes any certificate. `server_name`: whom the nodes' certificates are for."""

    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    verify: Flag = True
    server_name: Text | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> "TlsSection":
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together: expected both or neither")
        return self


class CassandraSection(Section):
    """A cluster, and a keyspace in it. `replication`: copies per row, 3 when the keyspace is made; one that is there
    has to have as many, if it is given. `connect_timeout`: of one attempt to connect.
    """

    contact_points: Texts
    port: Port = 9042
    keyspace: Text = "perdure"
    user: Text | None = None
    password: Secret | None = None
    password_file: File | None = None
    tls: TlsSection | None = None
    datacenter: Text | None = None
    replication: Annotated[int, whole(1, 100)] | None = None
    simple_strategy: Flag = False
    consistency: Literal["LOCAL_QUORUM", "QUORUM"] = "LOCAL_QUORUM"
    serial_consistency: Literal["LOCAL_SERIAL", "SERIAL"] = "LOCAL_SERIAL"
    connect_timeout: Annotated[float, seconds(0.1, 60)] = 5.0
    request_timeout: Annotated[float, seconds(0.1, 60)] = 5.0
    conditional_timeout: Annotated[float, seconds(0.1, 60)] = 1.0
    reconnect_max: Annotated[float, seconds(0.1, 60)] = 4.0
    compression: Literal["none", "lz4"] = "none"

    @model_validator(mode="after")
    def _has_one_password(self) -> "CassandraSection":
        if self.password is not None and self.password_file is not None:
            raise ValueError("expected password or password_file, not both")
        has_password = self.password is not None or self.password_file is not None
        if has_password != (self.user is not None):
            raise ValueError("user and password belong together: expected both or neither")
        return self

    def options(self, connect_wait_s: float) -> "CassandraOptions":
        """What the adapter takes. Raises InvalidArgument, also if the password's file can't be read, and
        FailedPrecondition if the driver isn't installed.
        """
        with driver_needed():
            from perdure.store.cassandra.options import CassandraOptions, Tls, check  # noqa: PLC0415 - an extra

        tls = None
        if self.tls is not None:
            tls = Tls(
                ca=self.tls.ca or "",
                cert=self.tls.cert or "",
                key=self.tls.key or "",
                verify=self.tls.verify,
                server_name=self.tls.server_name or "",
            )
        options = CassandraOptions(
            contact_points=tuple(self.contact_points),
            port=self.port,
            keyspace=self.keyspace,
            user=self.user or "",
            password=self._password(),
            tls=tls,
            datacenter=self.datacenter or "",
            replication=self.replication,
            simple_strategy=self.simple_strategy,
            consistency=self.consistency,
            serial_consistency=self.serial_consistency,
            connect_timeout_s=self.connect_timeout,
            request_timeout_s=self.request_timeout,
            conditional_timeout_s=self.conditional_timeout,
            reconnect_max_s=self.reconnect_max,
            compression=self.compression,
            connect_wait_s=connect_wait_s,
        )
        try:
            check(options)
        except InvalidArgument as error:
            raise InvalidArgument(f"store.cassandra.{error.message}") from None
        return options

    def _password(self) -> str:
        if self.password is not None:
            return self.password.get_secret_value()
        if self.password_file is None:
            return ""
        fault = f"store.cassandra.password_file ({self.password_file})"
        try:
            with Path(self.password_file).open("rb") as file:
                body = file.read(_SECRET_BYTES_MAX + 1)
            # Files of secrets end in a newline more often than passwords do.
            password = body.decode().rstrip("\r\n")
        except OSError as error:
            raise InvalidArgument(f"{fault}: {error.strerror or error}") from error
        except UnicodeDecodeError:
            raise InvalidArgument(f"{fault}: expected a text in UTF-8") from None
        if not password or len(body) > _SECRET_BYTES_MAX:
            raise InvalidArgument(f"{fault}: expected a password of 1 to {_SECRET_BYTES_MAX} bytes")
        return password
