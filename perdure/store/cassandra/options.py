"""How to reach a Cassandra cluster, and how to ask it. Parses `cassandra://` addresses."""

import msgspec


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
