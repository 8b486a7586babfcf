"""How to reach a Cassandra cluster, and how to ask it. Parses `cassandra://` addresses."""

import math
import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import msgspec

from perdure.base.errors import InvalidArgument

# The levels that go together: a quorum of the datacenter or of all.
LEVELS = {"LOCAL_QUORUM": "LOCAL_SERIAL", "QUORUM": "SERIAL"}
_KEYSPACE = re.compile(r"[a-z][a-z0-9_]{0,47}")
_TIMES_S = ("connect_timeout_s", "request_timeout_s", "conditional_timeout_s", "reconnect_max_s")
_TIME_MIN_S, _TIME_MAX_S = 0.1, 60.0
_WAIT_MAX_S = 24 * 3600.0
_REPLICATION_MAX = 100
# A name, or an address of IPv4 or IPv6.
_POINT = re.compile(r"[A-Za-z0-9._-]+|(?=(?:[^:]*:){2})[0-9a-fA-F:.]+(?:%[A-Za-z0-9._-]+)?")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM. `verify` False takes any certificate. `server_name`: what the certificate has to be for, "" = the
    node's address.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    verify: bool = True
    server_name: str = ""


class CassandraOptions(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster, a keyspace in it, and how to ask. Times in seconds.

    `datacenter` "": that of the first node which answers. `replication`: copies per row when the keyspace is made, and
    what it has to have; None = what it has, 3 when it is made (`dev`: as many as there are nodes, up to 3).
    `simple_strategy`: make the keyspace without naming a datacenter. `connect_wait_s`: how long to wait at start for a
    cluster that is away.
    """

    contact_points: tuple[str, ...]
    keyspace: str = "perdure"
    port: int = 9042
    user: str = ""
    password: str = ""
    tls: Tls | None = None
    datacenter: str = ""
    replication: int | None = None
    simple_strategy: bool = False
    consistency: str = "LOCAL_QUORUM"
    serial_consistency: str = "LOCAL_SERIAL"
    connect_timeout_s: float = 5.0
    request_timeout_s: float = 5.0
    conditional_timeout_s: float = 1.0
    reconnect_max_s: float = 4.0
    compression: str = "none"
    connect_wait_s: float = 60.0

    def __repr__(self) -> str:
        # Tracebacks and logs show values of variables.
        fields = ((name, getattr(self, name)) for name in self.__struct_fields__ if name != "password")
        return f"CassandraOptions({', '.join(f'{name}={value!r}' for name, value in fields)})"


def check(options: CassandraOptions) -> None:
    """Raises InvalidArgument, which names the option, for a value that can't be meant."""
    if not options.contact_points or not all(options.contact_points):
        raise InvalidArgument("contact_points: expected at least one name or address")
    if not all(_POINT.fullmatch(point) for point in options.contact_points):
        # It isn't shown: somebody may have put a user and a password there.
        raise InvalidArgument("contact_points: expected names or addresses alone; user, password and port are options")
    if not _KEYSPACE.fullmatch(options.keyspace):
        raise InvalidArgument(
            f"keyspace: {options.keyspace!r} is none; expected up to 48 of a-z, 0-9 and _, a letter first"
        )
    if not 1 <= options.port <= 65535:
        raise InvalidArgument(f"port: {options.port} is none")
    if options.replication is not None and not 1 <= options.replication <= _REPLICATION_MAX:
        raise InvalidArgument(f"replication: expected 1 to {_REPLICATION_MAX} copies, got {options.replication}")
    if LEVELS.get(options.consistency) != options.serial_consistency:
        raise InvalidArgument(
            f"consistency: {options.consistency} with {options.serial_consistency}; expected LOCAL_QUORUM with "
            "LOCAL_SERIAL, or QUORUM with SERIAL"
        )
    if bool(options.user) != bool(options.password):
        raise InvalidArgument("user and password belong together: expected both or neither")
    if options.compression not in ("none", "lz4"):
        raise InvalidArgument(f"compression: {options.compression!r} is none; expected none or lz4")
    if options.compression == "lz4" and find_spec("lz4") is None:
        raise InvalidArgument("compression: lz4 needs the Python package lz4, which is not installed")
    for name in _TIMES_S:
        value = getattr(options, name)
        if not _TIME_MIN_S <= value <= _TIME_MAX_S:
            raise InvalidArgument(f"{name[:-2]}: expected {_TIME_MIN_S} to {_TIME_MAX_S} seconds, got {value}")
    if not 0 <= options.connect_wait_s <= _WAIT_MAX_S:
        raise InvalidArgument(f"connect_wait: expected 0 to {_WAIT_MAX_S:.0f} seconds, got {options.connect_wait_s}")
    if options.tls is not None:
        _check_tls(options.tls)


def _check_tls(tls: Tls) -> None:
    for name, path in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        if path and not Path(path).is_file():
            raise InvalidArgument(f"tls_{name}: there is no file {path}")
    if bool(tls.cert) != bool(tls.key):
        raise InvalidArgument("tls_cert and tls_key belong together: expected both or neither")


def parse_url(url: str) -> CassandraOptions:
    """`cassandra://user:password@host1,host2:9042/keyspace?datacenter=dc1&replication=3`, as options.

    A user, a password and values are percent-encoded where they have to be. In the query: `datacenter`, `replication`,
    `simple_strategy`, `consistency`, `serial_consistency`, `compression`; in seconds `connect_timeout`,
    `request_timeout`, `conditional_timeout`, `reconnect_max`, `connect_wait`; `tls=true`, or any of `tls_ca`,
    `tls_cert`, `tls_key`, `tls_verify`, `tls_server_name`. Raises InvalidArgument, naming the part.
    """
    scheme, separator, rest = url.partition("://")
    if scheme != "cassandra" or not separator:
        raise InvalidArgument("A store's address begins with cassandra://")
    rest, _, query = rest.partition("?")
    address, _, keyspace = rest.partition("/")
    login, at, hosts = address.rpartition("@")
    if not at and "@" in url:
        # What stands behind the / or ? is the rest of a password: no error may show any of it.
        raise InvalidArgument("user and password: / and ? in them are written %2F and %3F, elsewhere @ is written %40")
    values: dict[str, Any] = {}
    if at:
        user, _, password = login.partition(":")
        values |= {"user": unquote(user), "password": unquote(password)}
    values["contact_points"], port = _hosts(hosts)
    if port is not None:
        values["port"] = port
    if keyspace:
        values["keyspace"] = unquote(keyspace)
    options = CassandraOptions(**values, **_query(query))
    check(options)
    return options


def _hosts(text: str) -> tuple[tuple[str, ...], int | None]:
    """Names or addresses, IPv6 in brackets; and the port, which all have in common."""
    names: list[str] = []
    ports: set[str] = set()
    for part in text.split(","):
        found = _HOST.fullmatch(part)
        if found is None:
            # It isn't shown: a user and a password without a host look like this too.
            raise InvalidArgument("contact_points: expected host1,host2:9042")
        names.append(found["v6"] or found["name"])
        if found["port"]:
            ports.add(found["port"])
    if len(ports) > 1:
        raise InvalidArgument(f"port: all nodes have the same, got {', '.join(sorted(ports))}")
    return tuple(names), int(ports.pop()) if ports else None


def _query(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    tls: dict[str, Any] = {}
    has_tls: bool | None = None
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, max_num_fields=64) if text else []
    except ValueError:
        raise InvalidArgument("The part after ? is not name=value&name=value") from None
    if repeated := [name for name, times in Counter(name for name, _ in pairs).items() if times > 1]:
        raise InvalidArgument(f"{repeated[0]}: given more than once")
    for name, value in pairs:
        if name in ("datacenter", "consistency", "serial_consistency", "compression"):
            values[name] = value
        elif name == "replication":
            values[name] = int(_number(name, value))
        elif name == "simple_strategy":
            values[name] = _truth(name, value)
        elif f"{name}_s" in _TIMES_S or name == "connect_wait":
            values[f"{name}_s"] = _number(name, value)
        elif name == "tls":
            has_tls = _truth(name, value)
        elif name == "tls_verify":
            tls["verify"] = _truth(name, value)
        elif name in ("tls_ca", "tls_cert", "tls_key", "tls_server_name"):
            tls[name.removeprefix("tls_")] = value
        else:
            raise InvalidArgument(f"{name}: there is no such option of a store's address")
    if has_tls is False and tls:
        raise InvalidArgument(f"tls: false, but tls_{next(iter(tls))} is given")
    if has_tls or tls:
        values["tls"] = Tls(**tls)
    return values


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or (name == "replication" and not number.is_integer()):
        raise InvalidArgument(f"{name}: {text!r} is no number")
    return number


def _truth(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise InvalidArgument(f"{name}: expected true or false, got {text!r}")
    return text == "true"
