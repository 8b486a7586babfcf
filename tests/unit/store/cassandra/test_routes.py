"""Who was late comes last, for a while; nobody is left out."""

from types import SimpleNamespace
from typing import Any

from cassandra.policies import HostDistance

from perdure.store.cassandra.routes import LATE_NS, Routes

_QUERY = SimpleNamespace(keyspace="ks", routing_key=b"key")


class _Child:
    """All nodes are near, in this order."""

    def __init__(self, hosts: list[Any]) -> None:
        self._hosts = hosts

    def distance(self, host: Any) -> Any:
        return HostDistance.LOCAL

    def make_query_plan(self, keyspace: str | None, query: Any) -> list[Any]:
        return self._hosts


class _Clock:
    def __init__(self) -> None:
        self.ns = 0

    def monotonic_ns(self) -> int:
        return self.ns


def _routes() -> tuple[Any, _Clock, list[Any]]:
    hosts = [_Host(name) for name in ("first", "second", "third", "no copy")]
    clock = _Clock()
    routes = Routes(_Child(hosts), clock.monotonic_ns)
    routes._cluster_metadata = SimpleNamespace(get_replicas=lambda keyspace, key: hosts[:3])
    return routes, clock, hosts


class _Host:
    is_up = True

    def __init__(self, name: str) -> None:
        self.name = name


def _names(routes: Any, query: Any = _QUERY) -> list[str]:
    return [host.name for host in routes.make_query_plan("ks", query)]


def test_a_partitions_own_nodes_come_first() -> None:
    assert _names(_routes()[0]) == ["first", "second", "third", "no copy"]


def test_who_was_late_is_asked_last_until_it_is_forgotten() -> None:
    routes, clock, hosts = _routes()
    routes.was_late(hosts[0])
    assert _names(routes) == ["second", "third", "no copy", "first"]
    clock.ns = LATE_NS - 1
    routes.was_late(hosts[1])
    assert _names(routes, None) == ["third", "no copy", "first", "second"]
    clock.ns = LATE_NS
    assert _names(routes) == ["first", "third", "no copy", "second"]


def test_where_all_are_late_the_order_stays() -> None:
    routes, _, hosts = _routes()
    for host in hosts:
        routes.was_late(host)
    assert _names(routes) == ["first", "second", "third", "no copy"]
